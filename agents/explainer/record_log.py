"""Reads predictions back from Kafka by their offsets: the log is the feature store.

Belongs to no consumer group and leaves no trace.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from agents.explainer.headway import POLL_MS, Headway
from agents.kafka_connection import connection_options, kafka_failures
from agents.kafka_consumer import Consumer
from agents.kafka_topics import KafkaTopics
from agents.settings import KafkaSettings
from schemas.codec import decode_features, decode_predictions, read_features, read_prediction
from schemas.errors import Rejected
from schemas.explain_request import ExplainRequest
from schemas.explanation import ExplainFailure
from schemas.prediction import Prediction
from streams.errors import TemporaryFailure
from streams.explanation.refusal import Refused

__all__ = ["RecordLog", "prediction_in"]

FETCH_BYTES = 128 * 1024
"""Of one partition: most reads are of one record."""
CHUNK_RECORDS = 4000
SEARCHED_FACTOR = 20
"""For each prediction of a model that is wanted, so many records are looked at: a topic has many models."""
ANY_SKEW_MS = 1 << 52
"""Times were judged when the record was counted."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Bounds:
    first: int
    end: int


class RecordLog:
    """Reads one thing at a time, also for several tasks.

    Every method raises `TemporaryFailure` when no broker answers, `PermanentFailure` when reading is not allowed.
    """

    def __init__(self, kafka: KafkaSettings, *, fetch_bytes: int = FETCH_BYTES) -> None:
        self._kafka = kafka
        self._address = kafka.address
        self._partitions: dict[str, int] = {}
        self._one_at_a_time = asyncio.Lock()
        self._consumer = Consumer(
            **connection_options(kafka),
            isolation_level="read_committed",
            enable_auto_commit=False,
            max_partition_fetch_bytes=fetch_bytes,
        )

    async def start(self) -> None:
        """Connect."""
        async with kafka_failures(self._address):
            await self._consumer.start()
            # A client that is stopped before its tasks have begun raises that they were cancelled.
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Let go of the connections."""
        await self._consumer.stop()

    async def prediction(self, request: ExplainRequest) -> Prediction:
        """The prediction that a request points at.

        Raises: Refused if it is not there any more, or something else is.
        """
        at = TopicPartition(request.topic, request.partition)
        async with self._one_at_a_time:
            bounds = await self._bounds(at)
            if request.offset < bounds.first:
                raise Refused(
                    ExplainFailure.RETENTION_PASSED,
                    f"Kafka keeps {at.topic}/{at.partition} from offset {bounds.first} on, the prediction stood at"
                    f" {request.offset}; raise the topic's retention.ms",
                )
            if request.offset >= bounds.end:
                raise Refused(
                    ExplainFailure.OFFSET_BEYOND_LOG,
                    f"{at.topic}/{at.partition} ends at offset {bounds.end}, the prediction should stand at"
                    f" {request.offset}; was the topic created anew?",
                )
            async for records in self._records(at, request.offset, request.offset + 1):
                prediction = prediction_in(records[0])
                if prediction is not None and _is_asked(prediction, request):
                    return prediction
        raise Refused(
            ExplainFailure.RECORD_CHANGED,
            f"{at.topic}/{at.partition}@{request.offset} does not hold the prediction {request.request_id!r} of"
            f" {request.model}",
        )

    async def background(self, request: ExplainRequest, *, wanted: int) -> list[Mapping[str, Any]]:
        """Features of other predictions of the same model version: those before the one asked about, newest first;
        if they are too few, also those after it."""
        at = TopicPartition(request.topic, request.partition)
        found: list[Mapping[str, Any]] = []
        async with self._one_at_a_time:
            bounds = await self._bounds(at)
            most = SEARCHED_FACTOR * wanted
            end, least = request.offset, max(bounds.first, request.offset - most)
            while len(found) < wanted and end > least:
                start = max(least, end - CHUNK_RECORDS)
                found += reversed(await self._features(at, start, end, request))
                end = start
            start, beyond = request.offset + 1, min(bounds.end, request.offset + most)
            while len(found) < wanted and start < beyond:
                end = min(beyond, start + CHUNK_RECORDS)
                found += await self._features(at, start, end, request)
                start = end
        return found[:wanted]

    async def _features(
        self, at: TopicPartition, start: int, end: int, request: ExplainRequest
    ) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        async for records in self._records(at, start, end):
            decoded = decode_predictions(
                [record.value for record in records],
                [record.timestamp for record in records],
                now_ms=ANY_SKEW_MS,
                max_future_skew_ms=ANY_SKEW_MS,
            )
            for sent in decoded.records:
                is_alike = (sent.model, sent.model_version or "") == (request.model, request.model_version)
                if is_alike and bytes(sent.features)[:1] == b"{":
                    with contextlib.suppress(Rejected):
                        found.append(decode_features(sent.features))
        return found

    async def _bounds(self, at: TopicPartition) -> _Bounds:
        await self._require(at)
        try:
            async with kafka_failures(self._address):
                first = await self._consumer.beginning_offsets([at])
                end = await self._consumer.end_offsets([at])
        except TemporaryFailure:
            # The topic may be gone, or a new one with fewer partitions.
            self._partitions.pop(at.topic, None)
            raise
        return _Bounds(first[at], end[at])

    async def _require(self, at: TopicPartition) -> None:
        """Raises: Refused if there is no such partition; the client would wait until there is one."""
        if at.partition < self._partitions.get(at.topic, 0):
            return
        async with KafkaTopics(self._kafka) as topics:
            self._partitions[at.topic] = count = await topics.partitions(at.topic) if await topics.has(at.topic) else 0
        if at.partition >= count:
            raise Refused(
                ExplainFailure.OFFSET_BEYOND_LOG,
                f"{at.topic} has {count} partitions that this user may see, the prediction should stand in partition"
                f" {at.partition}; was the topic created anew?",
            )

    async def _records(self, at: TopicPartition, start: int, end: int) -> AsyncIterator[list[ConsumerRecord]]:
        """Records of `[start, end)`, as far as there are any."""
        if start >= end:
            return
        self._consumer.assign([at])
        self._consumer.seek(at, start)
        position, headway = start, Headway(start)
        while position < end:
            async with kafka_failures(self._address):
                self._consumer.resume(at)
                fetched = await self._consumer.getmany(at, timeout_ms=POLL_MS)
                # At the log's end the broker would hold back the next answer for half a second, and whatever is
                # asked next over the same connection with it.
                self._consumer.pause(at)
                position = await self._consumer.position(at)
            place = f"{at.topic}/{at.partition} from offset {position} on"
            headway.check(position, silence=f"Kafka at {self._address} sends nothing of {place}")
            records = [record for record in fetched.get(at, ()) if record.offset < end]
            if records:
                yield records


def prediction_in(record: ConsumerRecord) -> Prediction | None:
    """The prediction that a record holds, if it is one; features that are no JSON numbers make it none."""
    try:
        prediction = read_prediction(
            record.value, timestamp_ms=record.timestamp, now_ms=ANY_SKEW_MS, max_future_skew_ms=ANY_SKEW_MS
        )
        read_features(prediction)
    except Rejected:
        return None
    return prediction


def _is_asked(prediction: Prediction, request: ExplainRequest) -> bool:
    return (prediction.request_id, prediction.instance, prediction.model, prediction.model_version) == (
        request.request_id,
        request.instance,
        request.model,
        request.model_version,
    )
