"""Predictions that are read back from a real Kafka, as an explainer reads them."""

from __future__ import annotations

import json
import statistics
import time

from confluent_kafka import Producer

from agents.explainer.record_log import RecordLog
from agents.settings import KafkaSettings
from deploy.servers import KafkaServer
from schemas.explain_request import ExplainRequest, WhyAsked
from tests.support.services import create_topic, unique_name

COUNT = 20
LONG_POLL_SECONDS = 0.5
"""What a broker waits for something new once everything was fetched."""


async def test_no_prediction_at_the_end_of_the_log_waits_for_what_comes_after_it(kafka: KafkaServer) -> None:
    topic = create_topic(kafka.address, unique_name("predictions"))
    producer = Producer({"bootstrap.servers": kafka.address})
    for number in range(COUNT):
        record = {"request_id": f"r{number}", "model": "cards", "prediction": "ok", "features": {"amount": number}}
        producer.produce(topic, json.dumps(record))
    producer.flush()
    requests = [
        ExplainRequest(
            request_id=f"r{number}", model="cards", topic=topic, partition=0, offset=number, reason=WhyAsked.BASE
        )
        for number in range(COUNT)
    ]
    log = RecordLog(KafkaSettings(brokers=(kafka.address,)))
    await log.start()
    seconds: list[float] = []
    try:
        for request in requests:
            began = time.monotonic()
            assert request.request_id == (await log.prediction(request)).request_id
            seconds.append(time.monotonic() - began)
        background = await log.background(requests[-1], wanted=COUNT)
        assert [{"amount": number} for number in reversed(range(COUNT - 1))] == background
    finally:
        await log.stop()
    assert statistics.median(seconds) < LONG_POLL_SECONDS
