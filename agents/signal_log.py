"""What the log of a window says of signals: as the commit script wrote it, and summed up once it has become long.

Groups, one for each combination of names and slices in a commit:

    2, number of slices 1, number of words 4, number of names 1, slice 8 ..., name 8 ..., then of each word: value 4 ...

What each slice and signal adds up to, in the place of older groups:

    3, slice 8, name 8, bytes of the sum 1, of the squares 1, of a count 1, number of buckets 2,
    sum, squares, bucket 2 ..., count ...

Groups of latencies stand between them: see `agents.latency_log`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from streams.identity import HASH_BYTES
from streams.signals.buckets import VALUE_BYTES, Values
from streams.signals.sums import SignalTotals, totals_by_signal

__all__ = ["TOTALS", "VALUES", "packed_signals", "read_signal_totals", "read_values"]

VALUES, TOTALS = 2, 3

_GROUP = struct.Struct(">BBIB")
_TOTAL = struct.Struct(">B8s8sBBBH")
_BUCKET = np.dtype(">i2")


def read_values(log: bytes, at: int) -> tuple[bytes, Mapping[bytes, Values], int]:
    """The group that begins there: its slices, values by signal, and where it ends."""
    _, slices, words, names = _GROUP.unpack_from(log, at)
    names_at = at + _GROUP.size + slices * HASH_BYTES
    values_at = names_at + names * HASH_BYTES
    rows = np.frombuffer(log, dtype=">f4", count=words * names, offset=values_at).reshape(words, names)
    named = (log[i : i + HASH_BYTES] for i in range(names_at, values_at, HASH_BYTES))
    values = dict(zip(named, rows.T.astype(np.float32), strict=True))
    return log[at + _GROUP.size : names_at], values, values_at + words * names * VALUE_BYTES


def packed_signals(piece: bytes, sums: Mapping[str, int]) -> bytes:
    """What says what the signals of a slice add up to; other sums are not looked at."""
    return b"".join(_packed_total(piece, signal, total) for signal, total in totals_by_signal(sums).items())


def read_signal_totals(log: bytes, at: int) -> tuple[bytes, Mapping[str, int], int]:
    """What begins there: its slice, the sums of its signal, and where it ends."""
    _, piece, signal, total_bytes, square_bytes, width, used = _TOTAL.unpack_from(log, at)
    squares_at = at + _TOTAL.size + total_bytes
    buckets_at = squares_at + square_bytes
    counts_at = buckets_at + used * _BUCKET.itemsize
    buckets = np.frombuffer(log, dtype=_BUCKET, count=used, offset=buckets_at).tolist()
    counts = np.frombuffer(log, dtype=f">u{width}", count=used, offset=counts_at).tolist()
    total = SignalTotals(
        dict(zip(buckets, counts, strict=True)),
        int.from_bytes(log[at + _TOTAL.size : squares_at], "big", signed=True),
        int.from_bytes(log[squares_at:buckets_at], "big"),
    )
    return piece, total.sums(signal), counts_at + used * width


def _packed_total(piece: bytes, signal: bytes, total: SignalTotals) -> bytes:
    summed = total.total.to_bytes(total.total.bit_length() // 8 + 1, "big", signed=True)
    squares = total.squares.to_bytes((total.squares.bit_length() + 7) // 8, "big")
    counts = np.array(list(total.counts.values()), dtype=np.int64)
    width = np.min_scalar_type(int(counts.max(initial=0))).itemsize
    head = _TOTAL.pack(TOTALS, piece, signal, len(summed), len(squares), width, len(counts))
    buckets = np.array(list(total.counts), dtype=_BUCKET)
    return head + summed + squares + buckets.tobytes() + counts.astype(f">u{width}").tobytes()
