"""Reads one topic outside any consumer group: all its partitions, committed records only, leaving no trace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from agents.kafka_connection import connection_options, kafka_failure, kafka_failures
from agents.kafka_consumer import Consumer
from agents.kafka_topics import KafkaTopics
from agents.settings import KafkaSettings

__all__ = ["TopicTail"]

POLL_MS = 500
LARGEST_RECORD_BYTES = 16 << 20


class TopicTail:
    """The values of a topic as they are published.

    Args:
        topic: its name on the wire.
        from_beginning: begin with the oldest record kept, else with what comes next.
        newest: then begin about so many records earlier, spread over the partitions.
        fetch_bytes: of one partition at a time.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        *,
        from_beginning: bool,
        newest: int = 0,
        fetch_bytes: int = LARGEST_RECORD_BYTES,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._partitions = 0
        self._from_beginning = from_beginning
        self._newest = newest
        self._consumer = Consumer(
            **connection_options(kafka),
            isolation_level="read_committed",
            enable_auto_commit=False,
            max_partition_fetch_bytes=fetch_bytes,
        )

    async def __aenter__(self) -> Self:
        """Connect, and stand where reading begins.

        Raises:
            TemporaryFailure: no broker answers.
            PermanentFailure: there is no such topic.
        """
        try:
            async with KafkaTopics(self._kafka) as topics:
                self._partitions = await topics.partitions(self._topic)
            async with kafka_failures(self._kafka.address):
                await self._consumer.start()
                await self._position()
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def _position(self) -> None:
        partitions = [TopicPartition(self._topic, number) for number in range(self._partitions)]
        self._consumer.assign(partitions)
        if self._from_beginning:
            await self._consumer.seek_to_beginning(*partitions)
        else:
            await self._consumer.seek_to_end(*partitions)
        if self._newest and not self._from_beginning:
            await self._step_back(partitions)
        for partition in partitions:
            # Asked for here, so that nothing published from now on is missed.
            await self._consumer.position(partition)

    async def _step_back(self, partitions: list[TopicPartition]) -> None:
        first = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        each = -(-self._newest // len(partitions))
        for partition in partitions:
            self._consumer.seek(partition, max(first[partition], ends[partition] - each))

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Values in the order of their partitions, for ever; none after half a second in which nothing came.

        Tombstones, which have no value, are left out.

        Raises: PermanentFailure if reading is no longer allowed.
        """
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            except KafkaError as error:
                raise kafka_failure(error, self._kafka.address) from error
            yield [record.value for records in fetched.values() for record in records if record.value is not None]
