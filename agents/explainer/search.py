"""Finds a prediction and its labels by request id, by reading both topics from a moment on."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from agents.explainer.headway import POLL_MS, Headway
from agents.explainer.record_log import ANY_SKEW_MS, prediction_in
from agents.kafka_connection import connection_options, kafka_failures
from agents.kafka_consumer import Consumer
from agents.kafka_topics import KafkaTopics
from agents.settings import KafkaSettings
from schemas.codec import read_label
from schemas.errors import Rejected
from schemas.label import Label
from schemas.prediction import Prediction

__all__ = ["FoundPrediction", "find_labels", "find_predictions"]

NEVER_ESCAPED = re.compile(r"[\w.:@~ -]+", re.ASCII)
"""In JSON, whoever writes it: some write `<`, `=` or `+` with escapes too."""
FETCH_BYTES = 4 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class FoundPrediction:
    """A prediction and where it stands."""

    topic: str
    partition: int
    offset: int
    prediction: Prediction


async def find_predictions(
    kafka: KafkaSettings, topic: str, request_id: str, *, since_ms: int
) -> list[FoundPrediction]:
    """All predictions of a request, by partition and offset.

    Args:
        since_ms: only records whose Kafka timestamp is not before.

    Raises: TemporaryFailure, PermanentFailure as reading Kafka does.
    """
    return [
        FoundPrediction(record.topic, record.partition, record.offset, prediction)
        async for record in _with_id(kafka, topic, request_id, since_ms)
        if (prediction := prediction_in(record)) is not None and prediction.request_id == request_id
    ]


async def find_labels(kafka: KafkaSettings, topic: str, request_id: str, *, since_ms: int) -> list[Label]:
    """All labels of a request, in order of their event time."""
    found = []
    async for record in _with_id(kafka, topic, request_id, since_ms):
        try:
            label = read_label(
                record.value, timestamp_ms=record.timestamp, now_ms=ANY_SKEW_MS, max_future_skew_ms=ANY_SKEW_MS
            )
        except Rejected:
            continue
        if label.request_id == request_id:
            found.append(label)
    return sorted(found, key=lambda label: label.event_time_ms)


async def _with_id(kafka: KafkaSettings, topic: str, request_id: str, since_ms: int) -> AsyncIterator[ConsumerRecord]:
    """Records in whose value the id may stand."""
    # Where the id may be written with escapes, each record has to be read.
    needle = request_id.encode() if NEVER_ESCAPED.fullmatch(request_id) else b""
    async with KafkaTopics(kafka) as topics:
        partitions = [TopicPartition(topic, number) for number in range(await topics.partitions(topic))]
    consumer = Consumer(
        **connection_options(kafka),
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    try:
        async with kafka_failures(kafka.address):
            await consumer.start()
            ends = await consumer.end_offsets(partitions)
            starts = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
            unread = {at for at in partitions if starts[at] is not None and starts[at].offset < ends[at]}
            consumer.assign(list(unread))
            for at in unread:
                consumer.seek(at, starts[at].offset)
        headway = Headway(dict.fromkeys(unread, -1))
        while unread:
            fetched = await consumer.getmany(*unread, timeout_ms=POLL_MS)
            for records in fetched.values():
                for record in records:
                    if record.value is not None and needle in record.value:
                        yield record
            await asyncio.sleep(0)
            positions = {at: await consumer.position(at) for at in unread}
            headway.check(positions, silence=f"Kafka at {kafka.address} sends nothing more of topic {topic}")
            unread = {at for at in unread if positions[at] < ends[at]}
    finally:
        await consumer.stop()
