"""Reads the alerts topic as a member of a consumer group, and commits what was delivered.

A group's first member begins with the oldest record that Kafka keeps; whoever comes later goes on where the group's
commits stand. Receivers that keep no state need to know what was delivered before: for them each partition is read
from its beginning, and records below the commit are marked as history.

    offset    0 ────────── committed ────────── end when the partition became ours ──────────
    record    history      in doubt             news                        (read as they come)

What is in doubt may have been delivered by a member that died before it could commit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from agents.kafka_connection import connection_options, kafka_failure, kafka_failures, start_consumer
from agents.kafka_consumer import Consumer
from agents.kafka_greeting import greet
from agents.kafka_topics import KafkaTopics
from agents.settings import KafkaSettings
from streams.errors import PermanentFailure

__all__ = ["AlertFeed", "FeedRecord"]

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
        try:
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            owned = consumer.assignment()
            self._positions = {at.partition: await consumer.position(at) for at in owned}
        except IllegalStateError:
            return ()  # partitions were taken away meanwhile; they are read by others
        except KafkaError as error:
            failure = kafka_failure(error, self._kafka.address)
            if isinstance(failure, PermanentFailure):
                raise failure from error
            return ()
        for at in owned:
            if at.partition not in self._first_ends and (end := consumer.highwater(at)) is not None:
                self._first_ends[at.partition] = end
        self.is_caught_up = bool(owned) and all(
            consumer.highwater(at) is not None and self._positions[at.partition] >= consumer.highwater(at)
            for at in owned
        )
        return [self._feed_record(at.partition, record) for at, records in fetched.items() for record in records]

    @property
    def positions(self) -> Mapping[int, int]:
        """The next offset to be read of each partition that we own."""
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
        """Note that everything below these offsets was delivered. Returns whether Kafka has taken it."""
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

    async def own(self, partitions: Sequence[TopicPartition]) -> None:
        """Begin each partition where it has to be read from."""
        self.has_joined = True
        consumer = self._running()
        # The consumer's own `committed` gives the offset without what stands beside it.
        commits = await consumer._coordinator.fetch_committed_offsets(list(partitions))  # noqa: SLF001
        self._committed = {at.partition: commit for at, commit in commits.items() if commit.offset >= 0}
        self._first_ends = {}
        if self._with_history and self._committed:
            await consumer.seek_to_beginning(*(at for at in partitions if at.partition in self._committed))

    def _running(self) -> Consumer:
        assert self._consumer is not None, "start() first"
        return self._consumer


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    def __init__(self, feed: AlertFeed) -> None:
        self._feed = feed

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """What is owned is asked for at each reading, so there is nothing to do."""

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        await self._feed.own(assigned)
