"""Reads the dead letters outside any consumer group, each of them once.

A letter can stand on the topic more than once, because it is written before the offset behind its record is
stored; copies have the same source topic, partition and offset, and only the first one found is given out.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

from aiokafka import TopicPartition

from agents.kafka_connection import connection_options, kafka_failures
from agents.kafka_consumer import Consumer
from agents.kafka_topics import KafkaTopics
from agents.settings import KafkaSettings
from schemas.dead_letter import Header, Origin, read_origin

__all__ = ["DeadLetterLog", "Letter", "letter_of"]

POLL_MS = 500
RECORDS_AT_ONCE = 500
FETCH_MAX_BYTES = 16 << 20
"""Of one answer; a single letter that is larger still comes."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter as it lies on its topic, at `partition` and `offset`; `timestamp_ms` is when it was written."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    origin: Origin

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


class DeadLetterLog:
    """All letters that were there when it was opened. An asynchronous context manager."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.topic = kafka.topic("dead_letters")
        self.repeats = 0
        self.strangers = 0
        self._kafka = kafka
        self._address = kafka.address
        self._consumer = Consumer(
            **connection_options(kafka),
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_bytes=FETCH_MAX_BYTES,
        )
        self._ends: dict[TopicPartition, int] = {}

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            TemporaryFailure: no broker answers.
            PermanentFailure: there is no topic of dead letters.
        """
        try:
            partitions = [TopicPartition(self.topic, number) for number in sorted(await self.partitions(self.topic))]
            async with kafka_failures(self._address):
                await self._consumer.start()
                self._consumer.assign(partitions)
                await self._consumer.seek_to_beginning(*partitions)
                self._ends = await self._consumer.end_offsets(partitions)
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def partitions(self, topic: str) -> frozenset[int]:
        """The partitions of a topic.

        Raises: PermanentFailure if there is no such topic.
        """
        async with KafkaTopics(self._kafka) as topics:
            return frozenset(range(await topics.partitions(topic)))

    async def end_of(self, topic: str, partition: int) -> int:
        """The offset that the next record of any partition will get."""
        at = TopicPartition(topic, partition)
        async with kafka_failures(self._address):
            ends: dict[TopicPartition, int] = await self._consumer.end_offsets([at])
        return ends[at]

    async def letters(self) -> AsyncIterator[Letter]:
        """Every letter once, those of a partition in order; `repeats` and `strangers` count what was left out."""
        seen: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        async for record in self._records():
            origin = read_origin(record.headers)
            if origin is None:
                self.strangers += 1
                continue
            offsets = seen[origin.topic, origin.partition]
            if origin.offset in offsets:
                self.repeats += 1
                continue
            offsets.add(origin.offset)
            yield letter_of(record, origin)

    async def find(self, topic: str, partition: int, offset: int) -> Letter | None:
        """One letter, by its source or by where it lies on the dead-letter topic; None if there is none."""
        if topic == self.topic:
            at = TopicPartition(topic, partition)
            if not offset < self._ends.get(at, 0):
                return None
            async with kafka_failures(self._address):
                self._consumer.assign([at])
                self._consumer.seek(at, offset)
            self._ends = {at: self._ends[at]}
        async for letter in self.letters():
            origin = letter.origin
            if topic == self.topic and letter.offset == offset:
                return letter
            if topic == self.topic and letter.offset > offset:
                return None
            if (topic, partition, offset) == (origin.topic, origin.partition, origin.offset):
                return letter
        return None

    async def _records(self) -> AsyncIterator[Any]:
        open_partitions = dict(self._ends)
        while open_partitions:
            for at, end in list(open_partitions.items()):
                # Also past what is no record: a transaction's markers, or what was aborted.
                async with kafka_failures(self._address):
                    if await self._consumer.position(at) >= end:
                        del open_partitions[at]
                        self._consumer.pause(at)
            if not open_partitions:
                return
            async with kafka_failures(self._address):
                fetched = await self._consumer.getmany(
                    *open_partitions, timeout_ms=POLL_MS, max_records=RECORDS_AT_ONCE
                )
            for at, records in fetched.items():
                for record in records:
                    if record.offset < self._ends[at]:
                        yield record


def letter_of(record: Any, origin: Origin) -> Letter:
    return Letter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=record.headers,
        origin=origin,
    )
