"""Fetched batches that are whole, damaged or huge, as aiokafka's own reader of partitions sees them."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from agents import batch_transport, raw_fetch
from agents.guarded_records import MAX_BATCH_BYTES, GuardedRecords
from agents.record_batch import UnreadableBatch

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
HEADER_BYTES = 61
Damage = Callable[[bytearray], None]


def batch(values: Sequence[bytes], *, base: int = 0, codec: str = "none") -> bytearray:
    """A batch as a broker would hand it out."""
    builder = DefaultRecordBatchBuilder(2, CODECS[codec], 0, -1, -1, -1, 1 << 30)
    for number, value in enumerate(values):
        assert builder.append(number, 1_000 + number, b"k", value, [("h", b"1")])
    content = bytearray(builder.build())
    content[:8] = base.to_bytes(8, "big")
    return content


async def assigned(tp: TopicPartition, position: int) -> Assignment:
    """aiokafka's note of what is assigned and how far it was read; made in a loop, as it wants."""
    assignment = Assignment([tp])
    assignment.state_value(tp).seek(position)
    return assignment


def fetched(content: bytes, position: int, *, aborted: Sequence[tuple[int, int]] = ()) -> FetchResult:
    """What the fetcher keeps of a partition; `aborted` are producers and their transactions' first offsets."""
    tp = TopicPartition("predictions", 0)
    assignment = asyncio.run(assigned(tp, position))
    records = PartitionRecords(tp, GuardedRecords(content), aborted, position, None, None, True, READ_COMMITTED)
    return FetchResult(tp, assignment=assignment, partition_records=records, backoff=0)


def position_of(result: FetchResult) -> int:
    position: int = result._assignment.state_value(result._topic_partition).position
    return position


def shown(records: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [(each.offset, each.timestamp, each.key, each.value, tuple(each.headers)) for each in records]


def read(*batches: bytearray, position: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> tuple[list[Any], int]:
    """All records, and the position behind them; one by one and by the batch alike."""
    content = b"".join(batches)
    one_by_one, by_batch = (fetched(content, position, aborted=aborted) for _ in range(2))
    expected = one_by_one.getall()
    records: list[Any] = []
    while by_batch.has_more():
        records += raw_fetch.taken(by_batch, by_batch._topic_partition, max_records=1)
    assert (shown(expected), position_of(one_by_one)) == (shown(records), position_of(by_batch))
    return records, position_of(by_batch)


def test_the_reader_stands_in_for_the_one_that_the_fetcher_names() -> None:
    assert "MemoryRecords(part_data[-1])" in inspect.getsource(fetcher.Fetcher._proc_fetch_request)


def test_records_are_taken_by_the_batch() -> None:
    assert batch_transport.IS_RAW


def test_records_are_taken_one_by_one_where_a_class_lacks_what_another_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_fetch, "_EXPECTED", {fetcher.FetchResult: ("_consume_aborted_up_to",)})
    assert not raw_fetch.is_possible()


@pytest.mark.parametrize("codec", CODECS)
def test_sound_batches_are_read_as_they_are(codec: str) -> None:
    values = [b"v%d" % number * 50 for number in range(100)]
    records, position = read(batch(values[:60], codec=codec), batch(values[60:], base=60, codec=codec))
    assert values == [record.value for record in records]
    assert list(range(100)) == [record.offset for record in records]
    assert (3, 1_003, b"k", values[3], (("h", b"1"),)) == shown(records)[3]
    assert 100 == position


def test_reading_begins_inside_a_batch() -> None:
    records, _ = read(batch([b"a", b"b", b"c"], codec="lz4"), position=1)
    assert [b"b", b"c"] == [record.value for record in records]


def test_batch_that_is_not_whole_is_left_for_the_next_fetch() -> None:
    first, second = batch([b"a"]), batch([b"b"], base=1)
    records, position = read(first, second[:-1])
    assert ([b"a"], 1) == ([record.value for record in records], position)
    assert len(first) == GuardedRecords(bytes(first)).size_in_bytes()


@pytest.mark.parametrize("codec", CODECS)
def test_wrong_checksum_becomes_one_marker_and_the_next_batch_is_read(codec: str) -> None:
    damaged = batch([b"a" * 50, b"b" * 50], base=10, codec=codec)
    damaged[-1] ^= 0xFF
    records, position = read(damaged, batch([b"c"], base=12), position=10)
    assert [10, 12] == [record.offset for record in records]
    assert UnreadableBatch is type(records[0].value)
    assert bytes(records[0].value).startswith(b"the batch of offsets 10 to 11 cannot be read: its checksum")
    assert (None, ()) == (records[0].key, records[0].headers)
    assert 13 == position


def test_batch_with_a_damaged_header_ends_where_the_next_one_begins() -> None:
    damaged = batch([b"a", b"b"], base=10)
    damaged[23:27] = (2**31 - 1).to_bytes(4, "big")  # the last offset, relative to the first
    records, position = read(damaged, batch([b"c"], base=12), position=10)
    assert ([10, 12], 13) == ([record.offset for record in records], position)


def resealed(content: bytearray) -> bytearray:
    """With the checksum of what is there now, as a broken producer would send it."""
    from aiokafka.record.util import calc_crc32c_py

    content[8:12] = (len(content) - 12).to_bytes(4, "big")
    content[17:21] = calc_crc32c_py(bytes(content[21:])).to_bytes(4, "big")
    return content


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_broken_compression_under_a_right_checksum_becomes_one_marker(codec: str) -> None:
    content = batch([b"abc" * 200, b"b"], codec=codec)
    records, position = read(resealed(content[:HEADER_BYTES] + b"nonsense" * 4), batch([b"c"], base=2))
    assert [0, 2] == [record.offset for record in records]
    assert isinstance(records[0].value, UnreadableBatch)
    assert 3 == position


def test_codec_of_tomorrow_becomes_one_marker() -> None:
    content = batch([b"a"])
    content[22] |= 6
    [record], _ = read(resealed(content))
    assert b"its codec 6 is not known" in record.value


def test_records_in_front_of_broken_ones_are_kept() -> None:
    content = batch([b"a", b"b", b"c" * 40])
    records, position = read(resealed(content[:-30]), batch([b"d"], base=3))
    assert [b"a", b"b", UnreadableBatch] == [*(record.value for record in records[:2]), type(records[2].value)]
    assert ([0, 1, 2, 3], 4) == ([record.offset for record in records], position)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_bomb_becomes_one_marker_and_is_not_expanded_whole(codec: str) -> None:
    bomb = batch([bytes(4 * MAX_BATCH_BYTES)], codec=codec)
    tracemalloc.start()
    records, position = read(bomb, batch([b"c"], base=1))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert b"it expands to more than 67108864 bytes" in records[0].value
    assert ([0, 1], 2) == ([record.offset for record in records], position)
    assert peak_bytes < 3 * MAX_BATCH_BYTES


def test_gzip_in_several_streams_is_read_whole() -> None:
    content = batch([b"a" * 100], codec="gzip")
    payload = gzip.decompress(bytes(content[HEADER_BYTES:]))
    pieces = gzip.compress(payload[:50]) + gzip.compress(payload[50:])
    [record], _ = read(resealed(content[:HEADER_BYTES] + pieces))
    assert b"a" * 100 == record.value


def of_transaction(content: bytearray, *, producer: int, is_marker: bool = False) -> bytearray:
    content[22] |= 0x10 | (0x20 if is_marker else 0)
    content[43:51] = producer.to_bytes(8, "big")
    return resealed(content)


def marker(*, base: int, producer: int, is_commit: bool) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1 << 20)
    assert builder.append(0, 1_000, b"\0\0" + int(is_commit).to_bytes(2, "big"), b"\0" * 6, [])
    content = bytearray(builder.build())
    content[:8] = base.to_bytes(8, "big")
    return of_transaction(content, producer=producer, is_marker=True)


def test_records_of_aborted_transactions_and_markers_are_stepped_over() -> None:
    records, position = read(
        of_transaction(batch([b"dropped", b"dropped"]), producer=7),
        of_transaction(batch([b"kept"], base=2), producer=8),
        marker(base=3, producer=7, is_commit=False),
        of_transaction(batch([b"kept too"], base=4), producer=7),
        marker(base=5, producer=8, is_commit=True),
        marker(base=6, producer=7, is_commit=True),
        aborted=[(7, 0)],
    )
    assert ([b"kept", b"kept too"], 7) == ([record.value for record in records], position)


def test_no_more_is_taken_at_once_than_fits() -> None:
    large = [batch([bytes(raw_fetch.ENOUGH_BYTES)], base=number, codec="zstd") for number in range(3)]
    result = fetched(b"".join(large), 0)
    taken = [len(raw_fetch.taken(result, result._topic_partition, max_records=100)) for _ in range(3)]
    assert ([1, 1, 1], False) == (taken, result.has_more())


def test_what_was_fetched_before_a_seek_is_dropped() -> None:
    result = fetched(bytes(batch([b"a", b"b"])), 0)
    result._assignment = asyncio.run(assigned(result._topic_partition, 1))
    assert [] == raw_fetch.taken(result, result._topic_partition, max_records=100)
    assert not result.has_more()
