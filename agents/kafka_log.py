"""What the brokers know about the input topics: partitions, first and last offsets, what the group committed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, GroupLoadInProgressError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from agents.kafka_connection import kafka_failure
from agents.kafka_consumer import Consumer
from agents.kafka_greeting import greet
from agents.partition_intake import LogBounds
from streams.errors import PermanentFailure
from streams.ledger.parts import Role, Source

__all__ = ["KafkaLog"]

COORDINATOR_TRIES = 40
COORDINATOR_RETRY_SECONDS = 0.25


class KafkaLog:
    """Read without being a member of the worker's group. Every method may raise `TemporaryFailure`.

    Args:
        connection: aiokafka's arguments for brokers and security.
        group: the worker's group.
        topics: the names on the wire of both inputs.
    """

    def __init__(self, connection: Mapping[str, Any], *, group: str, topics: Mapping[Role, str]) -> None:
        self.topics = topics
        self.sources: tuple[Source, ...] = ()
        self._connection = dict(connection)
        self._group = group
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Connect, and find the partitions of both topics.

        Raises:
            TemporaryFailure: no broker answers.
            PermanentFailure: the brokers do not let us in, or a topic does not exist, as far as we may see.
        """
        await greet(self._connection)
        with self._failures():
            admin = AIOKafkaAdminClient(**self._connection)
            try:
                await admin.start()
                # All topics: asking for one by name may create it.
                described = await admin.describe_topics()
            finally:
                await admin.close()
            counts = {topic["topic"]: len(topic["partitions"]) for topic in described}
            self.sources = tuple(
                Source(role, partition)
                for role, topic in self.topics.items()
                for partition in range(counts.get(topic, 0))
            )
            self._check(counts)
            if self._consumer is None:
                consumer = Consumer(**self._connection, isolation_level="read_committed", enable_auto_commit=False)
                try:
                    await consumer.start()
                except BaseException:
                    await consumer.stop()
                    raise
                self._consumer = consumer

    def _check(self, counts: Mapping[str, int]) -> None:
        missing = [topic for topic in self.topics.values() if topic not in counts]
        if missing:
            raise PermanentFailure(
                f"Kafka at {self._address} has no topic {', '.join(missing)} that this user may read; "
                "`latelabel topics create` makes what is missing, an ACL for Read shows what is there"
            )

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    def partitions(self, role: Role) -> int:
        """How many partitions a topic has."""
        return sum(source.role is role for source in self.sources)

    def position_of(self, source: Source) -> TopicPartition:
        """A source under its name on the wire."""
        return TopicPartition(self.topics[source.role], source.partition)

    def source_of(self, topic: str, partition: int) -> Source:
        """The inverse of `position_of`."""
        return Source(next(role for role, name in self.topics.items() if name == topic), partition)

    async def bounds(self, source: Source) -> LogBounds:
        """First and next offset of one partition; records of open transactions do not count."""
        return (await self._bounds([source]))[source]

    async def all_bounds(self) -> Mapping[Source, LogBounds]:
        """First and next offsets of all partitions of both topics."""
        return await self._bounds(self.sources)

    async def _bounds(self, sources: Collection[Source]) -> Mapping[Source, LogBounds]:
        consumer = self._running()
        positions = {source: self.position_of(source) for source in sources}
        with self._failures():
            starts = await consumer.beginning_offsets(list(positions.values()))
            ends = await consumer.end_offsets(list(positions.values()))
        return {source: LogBounds(starts[at], ends[at]) for source, at in positions.items()}

    async def offsets_at(self, time_ms: int) -> Mapping[Source, int]:
        """For each partition the first offset whose record timestamp is at or after `time_ms`; its end if none is."""
        bounds = await self.all_bounds()
        positions = {self.position_of(source): source for source in self.sources}
        with self._failures():
            found = await self._running().offsets_for_times(dict.fromkeys(positions, time_ms))
        return {
            source: bounds[source].end if found[at] is None else found[at].offset for at, source in positions.items()
        }

    async def has_committed(self) -> bool:
        """Whether the group has ever committed an offset of an input topic."""
        committed = await self._ask_coordinator(lambda admin: admin.list_consumer_group_offsets(self._group))
        names = set(self.topics.values())
        return any(at.topic in names and offset.offset >= 0 for at, offset in committed.items())

    async def members(self) -> Sequence[str]:
        """The client ids of the group's members."""
        (described,) = await self._ask_coordinator(lambda admin: admin.describe_consumer_groups([self._group]))
        return [member["client_id"] for group in described.to_object()["groups"] for member in group["members"]]

    async def commit(self, offsets: Mapping[Source, int]) -> None:
        """Commit for the group, as long as it has no members; ignored otherwise, because they will."""
        consumer = Consumer(**self._connection, group_id=self._group, enable_auto_commit=False)
        with self._failures():
            await consumer.start()
            try:
                positions = {self.position_of(source): offset for source, offset in offsets.items()}
                consumer.assign(list(positions))
                await consumer.commit({at: OffsetAndMetadata(offset, "") for at, offset in positions.items()})
            finally:
                await consumer.stop()

    async def _ask_coordinator(self, question: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> Any:
        """Ask until it answers: a new broker makes the topic of its groups when it is first asked about one."""
        with self._failures():
            admin = AIOKafkaAdminClient(**self._connection)
            try:
                await admin.start()
                for _ in range(COORDINATOR_TRIES):
                    with contextlib.suppress(GroupCoordinatorNotAvailableError, GroupLoadInProgressError):
                        return await question(admin)
                    await asyncio.sleep(COORDINATOR_RETRY_SECONDS)
                return await question(admin)
            finally:
                await admin.close()

    @property
    def _address(self) -> str:
        brokers: str | Sequence[str] = self._connection.get("bootstrap_servers", "")
        return brokers if isinstance(brokers, str) else ", ".join(brokers)

    def _running(self) -> Consumer:
        assert self._consumer is not None, "start() first"
        return self._consumer

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (KafkaError, OSError, TimeoutError) as error:
            raise kafka_failure(error, self._address) from error
