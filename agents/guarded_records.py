"""Keeps a fetched batch that cannot be read, or that would not fit into memory, from stopping its partition.

aiokafka checks and decompresses a batch while records are taken from it. There a wrong checksum or broken
compression raises, again at every fetch of the same offset, and a batch of 400 KB that expands to 100 MB, or to
16 GB, is expanded whole. `GuardedRecords` stands in for aiokafka's reader of fetched bytes and

    checks the checksum                           wrong: one `UnreadableBatch` in place of all records
    decompresses up to `MAX_BATCH_BYTES`          broken or larger: the same
    hands the rest to aiokafka, uncompressed      broken further on: the same, in place of the remaining records

The broker checks what producers send, so an unreadable batch is a damaged disk, or a codec of tomorrow.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import cramjam
import numpy as np
from aiokafka.codec import snappy_decode
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from agents.record_batch import UnreadableBatch

__all__ = ["MAX_BATCH_BYTES", "GuardedRecords", "guard_fetched_records"]

MAX_BATCH_BYTES = 64 << 20
"""Of one batch, decompressed: a producer's batches are below 1 MiB, or hold one record of up to 16 MiB."""

_LENGTH = struct.Struct(">i")
_LENGTH_AT, _MAGIC_AT, _CODEC_AT = 8, 16, 22
_LENGTH_END = _LENGTH_AT + _LENGTH.size
_HEADER_BYTES = 61
_CODEC_MASK = 0x07
_OLDEST_MAGIC = 2
_NO_TIMESTAMP_MS = -1
_XERIAL_HEADER = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_GZIP = 16 + zlib.MAX_WBITS


class _TooLarge(Exception):
    def __init__(self) -> None:
        super().__init__(f"it expands to more than {MAX_BATCH_BYTES} bytes")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Marker:
    """A record that stands for those that cannot be read, with the attributes that aiokafka asks records for."""

    offset: int
    timestamp: int
    value: bytes
    timestamp_type: int = 0
    key: None = None
    checksum: None = None
    headers: Sequence[tuple[str, bytes]] = ()


class _Batch:
    """A batch with the attributes that aiokafka asks batches for; iterating never raises.

    `expanded_bytes` is its size once it has been iterated over.
    """

    def __init__(self, content: memoryview, *, following: int | None) -> None:
        batch = DefaultRecordBatch(content)
        self.base_offset: int = batch.base_offset
        self.is_sound: bool = batch.validate_crc()
        # A header that is not to be trusted is no reason to skip what comes behind the batch.
        delta = max(batch.next_offset - batch.base_offset, 1)
        self.next_offset: int = self.base_offset + delta if self.is_sound or following is None else following
        self.producer_id: int | None = batch.producer_id if self.is_sound else None
        self.is_control_batch: bool = self.is_sound and batch.is_control_batch
        self.is_transactional: bool = self.is_sound and batch.is_transactional
        self.expanded_bytes = 0
        self._timestamp_ms: int = batch.max_timestamp if self.is_sound else _NO_TIMESTAMP_MS
        self._content = content
        self._records: Iterator[Any] | None = None

    def validate_crc(self) -> bool:
        """True, because a wrong checksum is told by a marker."""
        return True

    def __iter__(self) -> Iterator[Any]:
        if self._records is None:
            self._records = self._read()
        return self._records

    def __next__(self) -> Any:
        return next(iter(self))

    def _read(self) -> Iterator[Any]:
        offset = self.base_offset
        if not self.is_sound:
            yield self._marker(offset, "its checksum does not fit its content")
            return
        try:
            content = _uncompressed(self._content)
            self.expanded_bytes = len(content)
            for record in DefaultRecordBatch(content):
                yield record
                offset = record.offset + 1
        # Whatever decompressors and aiokafka raise over bytes that they do not understand.
        except Exception as error:  # noqa: BLE001
            yield self._marker(offset, str(error) or type(error).__name__)

    def _marker(self, offset: int, why: str) -> _Marker:
        text = f"the batch of offsets {self.base_offset} to {self.next_offset - 1} cannot be read: {why}"
        return _Marker(offset=offset, timestamp=self._timestamp_ms, value=UnreadableBatch(text.encode()))


class GuardedRecords:
    """Reads the batches of a fetched partition; takes the place of `aiokafka.record.MemoryRecords`."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._at = 0

    def size_in_bytes(self) -> int:
        """The size of all that was fetched."""
        return len(self._content)

    def has_next(self) -> bool:
        """Whether a whole batch is left."""
        return self._end() is not None

    def next_batch(self) -> Any:
        """The next batch, None if no whole one is left."""
        end = self._end()
        if end is None:
            return None
        content, self._at = self._content[self._at : end], end
        if content[_MAGIC_AT] < _OLDEST_MAGIC:
            return MemoryRecords(bytes(content)).next_batch()
        following = None
        if self.has_next():
            following = int.from_bytes(self._content[end : end + _LENGTH_AT], "big")
        return _Batch(content, following=following)

    def _end(self) -> int | None:
        if len(self._content) - self._at < _HEADER_BYTES:
            return None
        (length,) = _LENGTH.unpack_from(self._content, self._at + _LENGTH_AT)
        end: int = self._at + _LENGTH_END + length
        return end if self._at + _MAGIC_AT < end <= len(self._content) else None


def guard_fetched_records() -> None:
    """Let every consumer of this process read through `GuardedRecords`."""
    fetcher.MemoryRecords = GuardedRecords


def _uncompressed(content: memoryview) -> bytes | memoryview:
    codec = content[_CODEC_AT] & _CODEC_MASK
    if not codec:
        return content
    if codec not in _DECOMPRESSORS:
        raise ValueError(f"its codec {codec} is not known")
    payload = _DECOMPRESSORS[codec](content[_HEADER_BYTES:])
    header = bytearray(content[:_HEADER_BYTES])
    header[_CODEC_AT] &= ~_CODEC_MASK
    _LENGTH.pack_into(header, _LENGTH_AT, _HEADER_BYTES - _LENGTH_END + len(payload))
    return bytes(header) + payload


def _gunzip(content: memoryview) -> bytes:
    """One stream or several behind each other."""
    payload, rest = b"", bytes(content)
    while rest:
        decompressor = zlib.decompressobj(_GZIP)
        # One byte more than may be: none at all would mean no limit.
        payload += decompressor.decompress(rest, MAX_BATCH_BYTES - len(payload) + 1)
        if len(payload) > MAX_BATCH_BYTES:
            raise _TooLarge
        if not decompressor.eof:
            raise ValueError("its gzip stream ends early")
        rest = decompressor.unused_data
    return payload


def _into(decompress: Callable[[memoryview, Any], int]) -> Callable[[memoryview], bytes]:
    def decompressed(content: memoryview) -> bytes:
        # Memory that is not written to is not taken.
        room = np.empty(MAX_BATCH_BYTES, dtype=np.uint8)
        try:
            size = decompress(content, room)
        except cramjam.DecompressionError as error:
            if "whole buffer" in str(error):
                raise _TooLarge from error
            raise
        return room[:size].tobytes()

    return decompressed


def _unsnap(content: memoryview) -> bytes:
    """Raw, or in Xerial's frame of blocks, each with its length in front."""
    blocks = [content]
    if content[: len(_XERIAL_HEADER)] == _XERIAL_HEADER:
        blocks, at = [], _XERIAL_HEADER_BYTES
        while at < len(content):
            (length,) = _LENGTH.unpack_from(content, at)
            if length <= 0:
                raise ValueError("it has a snappy block without a length")
            at += _LENGTH.size
            blocks.append(content[at : at + length])
            at += length
    if sum(cramjam.snappy.decompress_raw_len(bytes(block)) for block in blocks) > MAX_BATCH_BYTES:
        raise _TooLarge
    payload: bytes = snappy_decode(content)
    return payload


_DECOMPRESSORS: Mapping[int, Callable[[memoryview], bytes]] = MappingProxyType(
    {1: _gunzip, 2: _unsnap, 3: _into(cramjam.lz4.decompress_into), 4: _into(cramjam.zstd.decompress_into)}
)
"""By codec, as Kafka numbers them: gzip, snappy, lz4, zstd."""
