"""Takes fetched records from aiokafka by the batch, as its Cython reader makes them.

`getmany` wraps each of these records in one of its own, which costs more than all the rest of reading. This does
what `Fetcher.fetched_records` and `PartitionRecords` do (aborted transactions, control batches, positions, errors,
waiting) once per batch, and leaves the records as they are. They have `offset`, `timestamp`, `key`, `value` and
`headers`, as those of `getmany` have.

The only module that knows these insides of aiokafka. Where they are not as expected `is_possible` is false, and
`getmany` is used.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Collection, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import ConsumerStoppedError

__all__ = ["fetched_records", "gather", "is_possible", "taken"]

ENOUGH_BYTES = 8 << 20
"""Of records, decompressed: little of a partition fetched, compressed, may be much."""

_EXPECTED = {
    FetchResult: ("check_assignment", "has_more", "_update_position", "_partition_records"),
    PartitionRecords: ("_consume_aborted_up_to", "_contains_abort_marker", "_aborted_producers", "next_fetch_offset"),
    aiokafka_fetcher.Fetcher: (
        "_notify",
        "_wait_consume_future",
        "_create_fetch_waiter",
        "_records",
        "_subscriptions",
        "self._fetch_min_bytes,",
    ),
}


def is_possible() -> bool:
    """Whether aiokafka is inside as this module expects."""
    # The source of the module is at hand at once; that of a class is found by parsing all of it, at every start.
    classes = dict(re.findall(r"^class (\w+)(.*?)(?=^class |\Z)", inspect.getsource(aiokafka_fetcher), re.M | re.S))
    return all(name in classes.get(owner.__name__, "") for owner, names in _EXPECTED.items() for name in names)


async def fetched_records(
    consumer: Any, active: Collection[TopicPartition], *, timeout_seconds: float, max_records: int
) -> dict[TopicPartition, Sequence[Any]]:
    """What has been fetched of the active partitions; waits for the first records, empty after the time-out.

    Args:
        max_records: no further batch is taken once so many records are.

    Raises:
        ConsumerStoppedError: the consumer is closed.
        KafkaError: the fetch of a partition failed.
    """
    fetcher = consumer._fetcher
    if consumer._closed or fetcher._closed:
        raise ConsumerStoppedError
    time_seconds = asyncio.get_running_loop().time
    deadline = time_seconds() + timeout_seconds
    with fetcher._subscriptions.fetch_context():
        while True:
            # What is still here belongs to the old assignment, and may be somebody else's in the new one.
            if fetcher._subscriptions.reassignment_in_progress:
                await fetcher._subscriptions.wait_for_assignment()
            found = _drain(fetcher, active, max_records)
            left_seconds = deadline - time_seconds()
            if found or left_seconds <= 0:
                return found
            waiter = fetcher._create_fetch_waiter()
            done, _ = await asyncio.wait([waiter], timeout=left_seconds)
            if not done or fetcher._closed:
                waiter.cancel()
                return {}
            waiter.result()


def gather(consumer: Any, *, least_bytes: int) -> None:
    """Have brokers answer further fetches once they have so much, or after the long poll."""
    consumer._fetcher._fetch_min_bytes = least_bytes


def _drain(fetcher: Any, active: Collection[TopicPartition], max_records: int) -> dict[TopicPartition, Sequence[Any]]:
    found: dict[TopicPartition, Sequence[Any]] = {}
    for tp in list(fetcher._records):
        if tp not in active:
            if not fetcher._subscriptions.is_assigned(tp):
                del fetcher._records[tp]
            continue
        result = fetcher._records[tp]
        is_error = type(result) is not FetchResult
        if is_error and found:
            return found  # it is raised by the next call
        records = [] if is_error else taken(result, tp, max_records=max_records)
        if is_error or not result.has_more():
            del fetcher._records[tp]
            fetcher._notify(fetcher._wait_consume_future)
        if is_error:
            result.check_raise()
        if records:
            found[tp] = records
            max_records -= len(records)
            if max_records <= 0:
                return found
    return found


def taken(result: Any, tp: TopicPartition, *, max_records: int) -> list[Any]:
    """The records of a fetch result's next batches, and its position moved behind them."""
    if not result.check_assignment(tp) or not result.has_more():
        return []
    content = result._partition_records
    records: list[Any] = []
    size_bytes = 0
    while len(records) < max_records and size_bytes < ENOUGH_BYTES and content._records.has_next():
        batch = content._records.next_batch()
        if not _is_skipped(content, batch):
            in_batch = list(batch)
            # A batch is fetched whole, also if the position is inside it.
            if in_batch and in_batch[0].offset < content.next_fetch_offset:
                in_batch = [record for record in in_batch if record.offset >= content.next_fetch_offset]
            records += in_batch
            size_bytes += batch.expanded_bytes
        content.next_fetch_offset = batch.next_offset
    result._update_position()
    if not content._records.has_next():
        result._partition_records = None
    return records


def _is_skipped(content: Any, batch: Any) -> bool:
    """Whether a batch holds a transaction's marker, or records of an aborted one."""
    if content._isolation_level == READ_COMMITTED and batch.producer_id is not None:
        content._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and content._contains_abort_marker(batch):
            content._aborted_producers.discard(batch.producer_id)
        if batch.is_transactional and batch.producer_id in content._aborted_producers:
            return True
    return bool(batch.is_control_batch)
