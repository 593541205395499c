"""Faust's transport for Kafka, changed to hand an agent one `RecordBatch` per fetched partition.

Stock Faust starts four asyncio tasks for every record. Here a fetch of a partition is one event, so the
conductor, the stream and the agent run once per batch. Six further things differ:

* Where to read from is asked of `offsets`, never of the group's commits: every way in which Faust starts
  or resumes a partition goes through `seek_to_committed`.
* Group commits are advice for lag tools. One that fails is logged, not fatal.
* The newest acknowledgement is what gets committed; batches of a partition are acknowledged in order.
* Partitions that `paused` names are not fetched, before and after every rebalance.
* A place that the log no longer has is told to `out_of_range`, which seeks another.
* No sleep of a second when every partition is full, and no long poll of 1.5 s that holds busy ones up.

A position that moves without records, over transaction markers or aborted records, yields an empty batch, so
that what is stored as applied reaches the end of the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, cast

import faust
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage
from faust.types.tuples import TP
from mode import get_logger

from agents import raw_fetch
from agents.guarded_records import guard_fetched_records
from agents.kafka_consumer import Consumer
from agents.record_batch import Envelope, RecordBatch

__all__ = ["BatchSchema", "BatchTransport", "OutOfRange", "Paused", "StartOffsets"]

_log = logging.getLogger(__name__)
_faust_log = get_logger("faust.batch_transport")

FETCH_MAX_WAIT_MS = 100
"""The broker's long poll; one is in flight per broker, so an idle partition can hold up a busy one so long."""
GATHER_BYTES = 512 * 1024
"""What a broker waits for, up to its long poll, while the log's end is near: a batch costs what some dozens of records
cost, and each shard hears of each. Far from the end it answers at once."""
FAR_RECORDS = 2000
"""In one look, of which as many are to follow."""
FETCH_MAX_BYTES = 8 * 1024 * 1024
"""Of one response, compressed."""
MAX_POLL_RECORDS = 4000
"""Of one look for records, over all partitions: bounds a batch, and so the time that packing it takes."""
NEVER_EXPELLED_MS = 24 * 60 * 60 * 1000
"""A worker that waits for Redis reads nothing and stays in its group all the same."""
POLL_SECONDS = 0.2
"""How long one look for records may take; an empty batch, and a partition that drained, wait so long."""
FULL_SECONDS = 0.005
NO_POSITION_SECONDS = 0.2
"""To let somebody seek a place before the log is asked again."""
COMMIT_SECONDS = 10.0
"""A commit must not hold the consumer's thread while the group's coordinator is away."""
REQUEST_SECONDS = 40.0
SEEK_SECONDS = 20.0
"""What moving the reader may take once it is known where to; nothing but a dead thread takes so long."""
IS_RAW = raw_fetch.is_possible()
"""Whether batches are taken from below aiokafka's public interface."""

StartOffsets = Callable[[frozenset[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
"""Told all partitions that are assigned now, answers with the offset wanted next of each."""
Paused = Callable[[], frozenset[TopicPartition]]
"""The partitions of which nothing is wanted at present. At most one fetch of each is kept for later."""
OutOfRange = Callable[[Collection[TopicPartition]], None]
"""Told partitions whose log no longer has what is wanted of them, again and again until another place is sought."""


class _NoMemory(dict[TP, int | None]):
    """In place of the newest offset read: whoever reads the batches decides what is a repeat."""

    def __missing__(self, _: TP) -> None:
        return None

    def __setitem__(self, _: TP, __: int | None) -> None:
        return None

    def update(self, *_: Any, **__: Any) -> None:
        return None


class BatchSchema(faust.Schema[Any, Any]):
    """Hands the batch through: decoding is the agent's business."""

    def compile(self, app: Any, **_: Any) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001
            return app.create_event(None, message.value, None, message)

        return decode


class _Thread(driver.AIOKafkaConsumerThread):
    """The thread that owns aiokafka's consumer."""

    logger = _faust_log

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positions: dict[TopicPartition, int] = {}
        self._positioned: Any = None
        self._committing: asyncio.Task[None] | None = None

    async def on_thread_stop(self) -> None:
        await super().on_thread_stop()
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.wait({self._committing})

    def _create_worker_consumer(self, transport: Any) -> Consumer:  # noqa: ARG002
        conf = self.app.conf
        guard_fetched_records()
        return Consumer(
            **cast("Any", self.app).connection,
            client_id=conf.broker_client_id,
            group_id=conf.id,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_poll_records=MAX_POLL_RECORDS,
            max_poll_interval_ms=NEVER_EXPELLED_MS,
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_bytes=FETCH_MAX_BYTES,
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            request_timeout_ms=int(REQUEST_SECONDS * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
        )

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        if self._committing is not None and not self._committing.done():
            return False
        assigned = self.assignment()
        commitable = {
            driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in assigned
        }
        # Not cancelled when it takes long: within aiokafka that leaves a task behind whose failure nobody hears.
        self._committing = asyncio.ensure_future(self._ensure_consumer().commit(commitable))
        self._committing.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await asyncio.shield(self._committing)
        except (KafkaError, TimeoutError) as error:
            _log.info("Skipped a commit to the group, which only lag tools miss: %s", type(error).__name__)
            return False
        return True

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TopicPartition, int]) -> None:
        assignment = _assignment(consumer)
        if assignment is not self._positioned:
            self._positions.clear()
            self._positioned = assignment
        for tp, offset in partitions.items():
            consumer.seek(tp, offset)  # raises if the partition has been taken away meanwhile
            self._positions[tp] = offset

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        wanted = min(timeout or 0.0, POLL_SECONDS)
        fetched: Mapping[Any, Sequence[Any]] = {}
        if not IS_RAW:
            fetched = await super()._fetch_records(consumer, active_partitions, wanted, max_records)
        elif self.consumer.flow_active:
            active = {TopicPartition(*tp) for tp in active_partitions}
            fetched = await raw_fetch.fetched_records(
                consumer, active, timeout_seconds=wanted, max_records=MAX_POLL_RECORDS
            )
            is_far = sum(map(len, fetched.values())) >= FAR_RECORDS
            raw_fetch.gather(consumer, least_bytes=1 if is_far else GATHER_BYTES)
        # No await from here on: the positions are those that the records were taken at.
        return self._batches(consumer, fetched)

    def _batches(self, consumer: Any, fetched: Mapping[Any, Sequence[Any]]) -> dict[TP, list[RecordBatch]]:
        assignment = _assignment(consumer)
        # In an assignment without our seeks, positions are the group's commits and say nothing.
        if assignment is None or assignment is not self._positioned:
            return {}
        batches = {}
        for tp, base in self._positions.items():
            position = assignment.state_value(tp).position
            if position > base:
                batches[TP(*tp)] = [_batch(tp, base, position, fetched.get(tp, ()))]
                self._positions[tp] = position
        return batches


def _assignment(consumer: Any) -> Any:
    subscription = consumer._fetcher._subscriptions.subscription
    return None if subscription is None else subscription.assignment


def _batch(tp: TopicPartition, base: int, position: int, records: Sequence[Any]) -> RecordBatch:
    def envelope(index: int) -> Envelope:
        return Envelope(records[index].key, records[index].headers)

    is_dense = len(records) == position - base
    return RecordBatch(
        topic=tp.topic,
        partition=tp.partition,
        base=base,
        next=position,
        values=[record.value for record in records],
        timestamps_ms=[record.timestamp for record in records],
        offsets=None if is_dense else [record.offset for record in records],
        envelope=envelope,
    )


class _Consumer(driver.Consumer):
    """The side of the consumer that lives in the worker's event loop."""

    logger = _faust_log

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._read_offset = _NoMemory()
        self._thread_answers = 0

    def ask_thread(self) -> int:
        """Have the thread answer when it comes to it. Returns how often it has so far."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: it will not answer
            self._thread.thread_loop.call_soon_threadsafe(self._answer)
        return self._thread_answers

    def _answer(self) -> None:
        self._thread_answers += 1

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: RecordBatch) -> ConsumerMessage:
        return ConsumerMessage(
            topic=record.topic,
            partition=record.partition,
            offset=record.next - 1,
            timestamp=0.0,
            timestamp_type=0,
            headers=None,
            key=None,
            value=cast("Any", record),
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=len(record.values),
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _wait_next_records(self, timeout: float) -> Any:
        if not self.flow_active:
            await self.wait(cast("Any", self.can_resume_flow))
        self.not_waiting_next_records.clear()
        try:
            active = self._get_active_partitions()
            if paused := cast("Any", self.app).paused():
                active = {tp for tp in active if tp not in paused}
            # To the fetcher no partition at all would mean all of them.
            if active:
                try:
                    return await self._getmany(active_partitions=active, timeout=timeout), active
                except OffsetOutOfRangeError as error:
                    cast("Any", self.app).out_of_range(error.args[0])
                except NoOffsetForPartitionError:
                    pass  # Nobody has sought yet: what knows the offsets is away, and the group never committed any.
                await asyncio.sleep(NO_POSITION_SECONDS)
                return {}, active
            await asyncio.sleep(FULL_SECONDS)
            return {}, active
        finally:
            self.not_waiting_next_records.set()

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: holes in the log are inside the batches."""

    def _new_offset(self, tp: TP) -> int | None:
        acked = self._acked[tp]
        if not acked:
            return None
        newest: int = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return newest + 1

    async def seek_to_committed(self) -> Mapping[TP, int]:
        assigned, offsets = None, {}
        # The answer takes as long as the ledger is away, and others may be asking meanwhile: the last one must know.
        while assigned != (assigned := frozenset(TopicPartition(*tp) for tp in self.assignment())):
            offsets = await cast("Any", self.app).start_offsets(assigned)
        async with asyncio.timeout(SEEK_SECONDS):
            await self._thread.seek_wait(dict(offsets))
        return {TP(*tp): offset for tp, offset in offsets.items()}

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust's own check compares wall time with monotonic time and cries wolf."""


class BatchTransport(driver.Transport):
    """Set as `app.transport`.

    The app has `start_offsets`, `paused` and `out_of_range` of the types above, and `connection`: aiokafka's
    arguments for brokers and security, because Faust cannot express all of them.
    """

    Consumer = _Consumer
