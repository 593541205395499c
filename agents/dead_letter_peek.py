"""Looks at the newest dead letters, or at one, for the page: seldom, a little, and never for long.

Connects for each question, belongs to no consumer group and leaves no trace. One partition is read at a time, so that
no more than one answer of the broker is in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence

from aiokafka import TopicPartition

from agents.dead_letter_log import Letter, letter_of
from agents.kafka_connection import connection_options, kafka_failures
from agents.kafka_consumer import Consumer
from agents.kafka_topics import KafkaTopics
from agents.settings import KafkaSettings
from schemas.dead_letter import read_origin
from streams.errors import TemporaryFailure

__all__ = ["DeadLetterPeek", "Peek"]

PATIENCE_SECONDS = 5.0
"""Of one question: a person waits for it."""
POLL_MS = 500
OF_A_PARTITION = 5
"""Newest records that are looked at."""
MOST_BYTES = 4 << 20
"""Of values; beyond it further partitions are left out."""
FETCH_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Peek:
    """The newest letters of each partition, newest first, and how many records the topic has, copies included."""

    letters: Sequence[Letter]
    there: int


class DeadLetterPeek:
    """Answers one question at a time.

    Every method raises `TemporaryFailure` when no broker answers in time, `PermanentFailure` when there is no such
    topic or it may not be read.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self.topic = kafka.topic("dead_letters")
        self._kafka = kafka
        self._one_at_a_time = asyncio.Lock()

    async def newest(self) -> Peek:
        """A few letters of each partition."""
        async with self._reading() as log:
            found: list[Letter] = []
            left = MOST_BYTES
            for at, end in log.ends.items():
                if left > 0:
                    letters = await log.letters(at, max(log.first[at], end - OF_A_PARTITION), end)
                    left -= sum(len(letter.value or b"") for letter in letters)
                    found += letters
            found.sort(key=lambda letter: (letter.timestamp_ms, letter.offset, letter.partition), reverse=True)
            return Peek(found, sum(end - log.first[at] for at, end in log.ends.items()))

    async def letter(self, partition: int, offset: int) -> Letter | None:
        """The letter that lies there; None if there is none."""
        async with self._reading() as log:
            at = TopicPartition(self.topic, partition)
            if at not in log.ends or not log.first[at] <= offset < log.ends[at]:
                return None
            letters = await log.letters(at, offset, offset + 1)
            return letters[0] if letters else None

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[_Log]:
        async with self._one_at_a_time:
            consumer = Consumer(
                **connection_options(self._kafka),
                isolation_level="read_committed",
                enable_auto_commit=False,
                max_partition_fetch_bytes=FETCH_BYTES,
            )
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    async with KafkaTopics(self._kafka) as topics:
                        count = await topics.partitions(self.topic)
                    async with kafka_failures(self._kafka.address):
                        await consumer.start()
                        partitions = [TopicPartition(self.topic, number) for number in range(count)]
                        first = await consumer.beginning_offsets(partitions)
                        yield _Log(consumer, first, await consumer.end_offsets(partitions))
            except TimeoutError as error:
                raise TemporaryFailure(
                    f"Kafka at {self._kafka.address} does not answer within {PATIENCE_SECONDS:g} s"
                ) from error
            finally:
                await consumer.stop()


@dataclasses.dataclass(frozen=True, slots=True)
class _Log:
    """The topic as it was when it was looked at."""

    consumer: Consumer
    first: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]

    async def letters(self, at: TopicPartition, start: int, end: int) -> list[Letter]:
        """The letters of `[start, end)`; what is no letter of ours is left out."""
        if start >= end:
            return []
        self.consumer.assign([at])
        self.consumer.seek(at, start)
        found = []
        while await self.consumer.position(at) < end:
            fetched = await self.consumer.getmany(at, timeout_ms=POLL_MS, max_records=OF_A_PARTITION)
            for record in fetched.get(at, ()):
                origin = read_origin(record.headers)
                if record.offset < end and origin is not None:
                    found.append(letter_of(record, origin))
        return found
