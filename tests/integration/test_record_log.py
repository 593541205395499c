"""Predictions that are read back from a real Kafka, as an explainer reads them."""

from __future__ import annotations

import json
import statistics
import time

import pytest
from aiokafka import TopicPartition
from confluent_kafka import Producer

from agents.explainer import headway, record_log
from agents.explainer.record_log import RecordLog
from agents.settings import KafkaSettings
from deploy.servers import KafkaServer
from schemas.explain_request import ExplainRequest, WhyAsked
from streams.errors import TemporaryFailure
from tests.support.services import create_topic, unique_name

COUNT = 20
LONG_POLL_SECONDS = 0.5
"""What a broker waits for something new once everything was fetched."""


def publish(kafka: KafkaServer, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": kafka.address})
    for number in range(count):
        record = {"request_id": f"r{number}", "model": "cards", "prediction": "ok", "features": {"amount": number}}
        producer.produce(topic, json.dumps(record))
    producer.flush()


def requests_about(topic: str, count: int) -> list[ExplainRequest]:
    return [
        ExplainRequest(
            request_id=f"r{number}", model="cards", topic=topic, partition=0, offset=number, reason=WhyAsked.BASE
        )
        for number in range(count)
    ]


async def test_no_prediction_at_the_end_of_the_log_waits_for_what_comes_after_it(kafka: KafkaServer) -> None:
    topic = create_topic(kafka.address, unique_name("predictions"))
    publish(kafka, topic, COUNT)
    requests = requests_about(topic, COUNT)
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


async def test_broker_that_falls_silent_is_an_outage_and_no_missing_record(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headway, "SILENT_POLLS", 1)
    topic = create_topic(kafka.address, unique_name("predictions"))
    publish(kafka, topic, 1)
    (request,) = requests_about(topic, 1)

    class Freezing(RecordLog):
        """The broker falls silent once it has told where the log ends."""

        async def _bounds(self, at: TopicPartition) -> record_log._Bounds:
            bounds = await super()._bounds(at)
            kafka.pause()
            return bounds

    settings = KafkaSettings(brokers=(kafka.address,))
    log, frozen = RecordLog(settings), Freezing(settings)
    await log.start()
    await frozen.start()
    try:
        with pytest.raises(TemporaryFailure, match="sends nothing"):
            await frozen.prediction(request)
        kafka.resume()
        assert "r0" == (await log.prediction(request)).request_id
    finally:
        kafka.resume()
        await log.stop()
        await frozen.stop()
