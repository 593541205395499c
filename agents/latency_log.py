"""The log of a window's latencies: as the commit script wrote them, and summed up once it has become long.

Entries hold groups, one for each combination of slices in a commit:

    0, number of slices 1, number of words 4, slice 8 ..., word of `streams.stability.latency_words` 6 ...

Whoever reads a window whose log is long puts one entry in the place of all others, with what each slice adds up to:

    1, slice 8, time-outs 8, latencies together in ns 16, bytes of a count 1, number of buckets 2, bucket 2 ..., count …
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from streams.identity import EVERYTHING, HASH_BYTES
from streams.stability.latency_buckets import BUCKETS
from streams.stability.latency_sums import LatencyTotals, sums_of_words
from streams.stability.latency_words import WORD_BYTES

__all__ = ["LONG_BYTES", "is_long", "logged_latencies", "packed_latencies"]

LONG_BYTES = 8 * 1024
"""From here on words take more memory than what they add up to."""

_WORDS, _TOTALS = 0, 1
_GROUP = struct.Struct(">BBI")
_TOTAL = struct.Struct(">B8sQ16sBH")
_BUCKET = np.dtype(">u2")


def logged_latencies(log: bytes) -> dict[bytes, dict[str, int]]:
    """The sums of `streams.stability.latency_sums` that all entries of a log add up to, by slice."""
    words: dict[bytes, list[bytes]] = {}
    totals: dict[bytes, dict[str, int]] = {}
    at = 0
    while at < len(log):
        if log[at] == _TOTALS:
            piece, total, at = _read_total(log, at)
            _add(totals, piece, total.sums())
            continue
        _, slices, count = _GROUP.unpack_from(log, at)
        at += _GROUP.size
        words_at = at + slices * HASH_BYTES
        end = words_at + count * WORD_BYTES
        words.setdefault(log[at:words_at], []).append(log[words_at:end])
        at = end
    for slices_of_words, parts in words.items():
        sums = sums_of_words(b"".join(parts))
        for piece in _pieces(slices_of_words):
            _add(totals, piece, sums)
    return totals


def is_long(log: Sequence[bytes]) -> bool:
    """Whether what is not summed up yet takes more memory than its sums would."""
    return sum(len(entry) for entry in log if entry[0] != _TOTALS) > LONG_BYTES


def packed_latencies(totals: Mapping[bytes, Mapping[str, int]]) -> bytes:
    """The entry that says what these slices add up to."""
    return b"".join(_packed_total(piece, LatencyTotals.from_sums(sums)) for piece, sums in totals.items())


def _add(totals: dict[bytes, dict[str, int]], piece: bytes, sums: Mapping[str, int]) -> None:
    known = totals.setdefault(piece, {})
    for name, value in sums.items():
        known[name] = known.get(name, 0) + value


def _pieces(slices: bytes) -> Iterator[bytes]:
    yield EVERYTHING
    for at in range(0, len(slices), HASH_BYTES):
        yield slices[at : at + HASH_BYTES]


def _packed_total(piece: bytes, total: LatencyTotals) -> bytes:
    buckets = np.flatnonzero(total.counts)
    counts = total.counts[buckets]
    width = np.min_scalar_type(int(counts.max(initial=0))).itemsize
    head = _TOTAL.pack(_TOTALS, piece, total.timed_out, total.total_ns.to_bytes(16, "big"), width, len(buckets))
    return head + buckets.astype(_BUCKET).tobytes() + counts.astype(f">u{width}").tobytes()


def _read_total(log: bytes, at: int) -> tuple[bytes, LatencyTotals, int]:
    _, piece, timed_out, total_ns, width, used = _TOTAL.unpack_from(log, at)
    buckets_at = at + _TOTAL.size
    counts_at = buckets_at + used * _BUCKET.itemsize
    counts = np.zeros(BUCKETS, dtype=np.int64)
    buckets = np.frombuffer(log, dtype=_BUCKET, count=used, offset=buckets_at)
    counts[buckets] = np.frombuffer(log, dtype=f">u{width}", count=used, offset=counts_at)
    total = LatencyTotals(counts, int.from_bytes(total_ns, "big"), timed_out)
    return piece, total, counts_at + used * width
