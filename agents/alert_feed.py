"""Reads the alerts topic as a member of a consumer group, and commits what was delivered.

A group's first member begins with the oldest record that Kafka keeps; whoever comes later goes on where the group's
commits stand. Receivers that keep no state need to know what was delivered before: for them each partition is read
from its beginning, and records below the commit are marked as history.

    offset    0 ────────── committed ────────── end when the partition became ours ──────────
    record    history      in doubt             news                        (read as they come)

What is in doubt may have been delivered by a member that died before it could commit.

Whenever the group deals out its partitions, each of ours is begun so again, also one that we have had before: others
may have owned it meanwhile, and we may have been frozen while they did.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from agents.kafka_connection import connection_options, kafka_failure, kafka_failures, start_consumer
from agents.kafka_consumer import Consumer
from agents.kafka_greeting import greet
from agents.kafka_topics import KafkaTopics
from agents.settings import KafkaSettings
from streams.errors import PermanentFailure

__all__ = ["AlertFeed", "Feed", "FeedRecord"]

POLL_MS = 500


@dataclasses.dataclass(frozen=True, slots=True)
class FeedRecord:
    """A record of the alerts topic.

    `is_history` if it was delivered before this process owned its partition, `is_in_doubt` if it may have been.
    """

    partition: int
    offset: int
    timestamp_ms: int
    value: bytes | None
    is_history: bool
    is_in_doubt: bool = False


class Feed(Protocol):
    """Where published alerts are read; see `AlertFeed`."""

    is_caught_up: bool
    assignment: int
    """Changes when partitions are dealt out: what was read before is not ours, or read again."""

    @property
    def positions(self) -> Mapping[int, int]:
        """Next offset to be read, by partition that we own."""
        ...

    async def read(self) -> Sequence[FeedRecord]:
        """What has come; returns within a second."""
        ...

    def told_until_ms(self, partition: int) -> int:
        """As the last commit said when the partition became ours."""
        ...

    def hold(self, *, is_full: bool) -> None:
        """Stop fetching, or go on."""
        ...

    async def commit(self, offsets: Mapping[int, int], *, told_until_ms: int) -> bool:
        """Everything below was delivered. False if the partitions are not ours."""
        ...


class AlertFeed:
    """One member of the group.

    Args:
        group: its name; each kind of receiver has its own.
        with_history: also read what was delivered before.
    """

    def __init__(self, kafka: KafkaSettings, *, group: str, with_history: bool) -> None:
        self._kafka = kafka
        self._topic = kafka.topic("alerts")
        self._group = group
        self._with_history = with_history
        self._consumer: Consumer | None = None
        self._committed: dict[int, OffsetAndMetadata] = {}
        self._first_ends: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._begun = 0
        self.assignment = 0
        """Rises when the group takes partitions or gives them: what was read before is not ours, or read again."""
        self.is_caught_up = False
        self.has_joined = False
        """Whether the group has said which partitions are ours; there may be none left."""

    async def start(self) -> None:
        """Join the group.

        Raises:
            TemporaryFailure: no broker answers.
            PermanentFailure: the brokers do not let us in, or there is no such topic.
        """
        options = connection_options(self._kafka)
        await greet(options)
        async with KafkaTopics(self._kafka) as topics:
            await topics.partitions(self._topic)
        consumer = Consumer(
            **options,
            group_id=self._group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await start_consumer(consumer, self._kafka.address)
        self._consumer = consumer
        # Joining may take as long as other members need to answer, so it is not waited for here.
        consumer.subscribe([self._topic], listener=_Assignment(self))

    async def stop(self) -> None:
        """Leave the group, so that others take the partitions at once."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def read(self) -> Sequence[FeedRecord]:
        """What has come, in the order of each partition; none after half a second in which nothing did.

        Raises: PermanentFailure if this user may not read the topic, or not as a member of the group.
        """
        consumer = self._running()
        assignment = self.assignment
        fetched: Mapping[TopicPartition, Sequence[Any]] = {}
        try:
            if self._begun != assignment:
                await self._begin(consumer, consumer.assignment())
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            owned = consumer.assignment()
            positions = {at.partition: await consumer.position(at) for at in owned}
        except (IllegalStateError, KafkaError) as error:
            failure = kafka_failure(error, self._kafka.address)
            if isinstance(failure, PermanentFailure):
                raise failure from error
            if fetched:
                self.deal_out()  # all of it is read once more
            return ()
        if assignment != self.assignment:
            return ()
        self._begun = assignment
        for at in owned:
            if at.partition not in self._first_ends and (end := consumer.highwater(at)) is not None:
                self._first_ends[at.partition] = end
        # What is held back is not looked for, so nobody knows how much of it there is.
        self.is_caught_up = (
            bool(owned)
            and not consumer.paused()
            and all(
                consumer.highwater(at) is not None and positions[at.partition] >= consumer.highwater(at) for at in owned
            )
        )
        # History is read again, not delivered again.
        self._positions = {
            partition: max(position, self._committed[partition].offset if partition in self._committed else 0)
            for partition, position in positions.items()
        }
        return [self._feed_record(at.partition, record) for at, records in fetched.items() for record in records]

    @property
    def positions(self) -> Mapping[int, int]:
        """The next offset to be read of each partition that we own, history apart."""
        return self._positions

    def told_until_ms(self, partition: int) -> int:
        """Up to when ends of alerts that nobody published had been told when we came to own the partition."""
        committed = self._committed.get(partition)
        return int(committed.metadata) if committed is not None and committed.metadata.isdecimal() else 0

    def hold(self, *, is_full: bool) -> None:
        """Stop fetching, or go on; the group keeps us as long as `read` is called."""
        consumer = self._running()
        if is_full:
            consumer.pause(*consumer.assignment())
        else:
            consumer.resume(*consumer.paused())

    async def commit(self, offsets: Mapping[int, int], *, told_until_ms: int) -> bool:
        """Note that everything below these offsets was delivered. Returns whether Kafka has taken it: the partitions
        are still ours."""
        consumer = self._running()
        wanted = {
            at: OffsetAndMetadata(offsets[at.partition], str(told_until_ms))
            for at in consumer.assignment()
            if at.partition in offsets
        }
        async with kafka_failures(self._kafka.address):
            try:
                await consumer.commit(wanted)
            except (CommitFailedError, IllegalStateError):
                return False  # the partitions are somebody else's now
        return True

    def _feed_record(self, partition: int, record: Any) -> FeedRecord:
        committed = self._committed.get(partition)
        is_history = committed is not None and record.offset < committed.offset
        # A partition without a commit was nobody's: members commit where they begin before they deliver anything.
        is_in_doubt = committed is not None and committed.offset <= record.offset < self._first_ends.get(partition, 0)
        return FeedRecord(partition, record.offset, record.timestamp, record.value, is_history, is_in_doubt)

    def deal_out(self) -> None:
        """Partitions are taken from us, or were given to us."""
        self.assignment += 1
        self._positions = {}
        self.is_caught_up = False

    async def _begin(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> None:
        """Begin each partition where it has to be read from."""
        # The consumer's own `committed` gives the offset without what stands beside it.
        commits = await consumer._coordinator.fetch_committed_offsets(list(partitions))  # noqa: SLF001
        self._committed = {at.partition: commit for at, commit in commits.items() if commit.offset >= 0}
        self._first_ends = {}
        from_start = [at for at in partitions if self._with_history or at.partition not in self._committed]
        if from_start:
            await consumer.seek_to_beginning(*from_start)
        for at in set(partitions).difference(from_start):
            consumer.seek(at, self._committed[at.partition].offset)

    def _running(self) -> Consumer:
        assert self._consumer is not None, "start() first"
        return self._consumer


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    def __init__(self, feed: AlertFeed) -> None:
        self._feed = feed

    def on_partitions_revoked(self, _revoked: Collection[TopicPartition]) -> None:
        self._feed.deal_out()

    def on_partitions_assigned(self, _assigned: Collection[TopicPartition]) -> None:
        self._feed.deal_out()
        self._feed.has_joined = True
