"""Fetched batches that are whole, damaged or huge, as aiokafka's own reader of partitions sees them."""

from __future__ import annotations

import gzip
import inspect
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

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


def read(*batches: bytearray, position: int = 0) -> tuple[list[Any], int]:
    """All records, and the position behind them."""
    records = PartitionRecords(
        TopicPartition("predictions", 0),
        GuardedRecords(b"".join(batches)),
        [],
        position,
        None,
        None,
        True,
        READ_COMMITTED,
    )
    return list(records), records.next_fetch_offset


def test_the_reader_stands_in_for_the_one_that_the_fetcher_names() -> None:
    assert "MemoryRecords(part_data[-1])" in inspect.getsource(fetcher.Fetcher._proc_fetch_request)


@pytest.mark.parametrize("codec", CODECS)
def test_sound_batches_are_read_as_they_are(codec: str) -> None:
    values = [b"v%d" % number * 50 for number in range(100)]
    records, position = read(batch(values[:60], codec=codec), batch(values[60:], base=60, codec=codec))
    assert values == [record.value for record in records]
    assert list(range(100)) == [record.offset for record in records]
    assert (1_003, b"k", (("h", b"1"),)) == (records[3].timestamp, records[3].key, records[3].headers)
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
