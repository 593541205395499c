"""The log of what a window's predictions tell: as the commit script wrote it, and summed up once it has become long.

Entries hold groups, one for each combination of slices in a commit:

    0, number of slices 1, number of words 4, slice 8 ..., word of `streams.stability.latency_words` 6 ...

Whoever reads a window whose log is long puts one entry in the place of all others, with what each slice adds up to:

    1, slice 8, time-outs 8, latencies together in ns 16, bytes of a count 1, number of buckets 2, bucket 2 ..., count …

These are the groups of latencies. Those of signals (`agents.signal_log`) stand between them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from agents import signal_log
from streams.identity import EVERYTHING, HASH_BYTES
from streams.signals.buckets import Values
from streams.signals.sums import SignalTotals
from streams.stability.latency_buckets import BUCKETS
from streams.stability.latency_sums import LATENCY_PREFIX, LatencyTotals, sums_of_words
from streams.stability.latency_words import WORD_BYTES

__all__ = ["LONG_BYTES", "is_long", "packed_sums", "told_sums"]

LONG_BYTES = 8 * 1024
"""From here on words take more memory than what they add up to."""

_TOTALS = 1
_GROUP = struct.Struct(">BBI")
_TOTAL = struct.Struct(">B8sQ16sBH")
_BUCKET = np.dtype(">u2")


def told_sums(log: bytes) -> dict[bytes, dict[str, int]]:
    """The sums of `streams.stability.latency_sums` and `streams.signals.sums` that a log adds up to, by slice."""
    words: dict[bytes, list[bytes]] = {}
    values: dict[tuple[bytes, bytes], list[Values]] = {}
    totals: dict[bytes, dict[str, int]] = {}
    at = 0
    while at < len(log):
        match log[at]:
            case signal_log.VALUES:
                slices, by_signal, at = signal_log.read_values(log, at)
                for signal, found in by_signal.items():
                    values.setdefault((slices, signal), []).append(found)
            case signal_log.TOTALS:
                piece, sums, at = signal_log.read_signal_totals(log, at)
                _add(totals, piece, sums)
            case _ if log[at] == _TOTALS:
                piece, total, at = _read_total(log, at)
                _add(totals, piece, total.sums())
            case _:
                slices, found_words, at = _read_words(log, at)
                words.setdefault(slices, []).append(found_words)
    for slices, parts in words.items():
        _add_to_slices(totals, slices, sums_of_words(b"".join(parts)))
    for (slices, signal), arrays in values.items():
        _add_to_slices(totals, slices, SignalTotals.of_values(np.concatenate(arrays)).sums(signal))
    return totals


def is_long(log: Sequence[bytes]) -> bool:
    """Whether what is not summed up yet takes more memory than its sums would."""
    return sum(len(entry) for entry in log if entry[0] not in (_TOTALS, signal_log.TOTALS)) > LONG_BYTES


def packed_sums(totals: Mapping[bytes, Mapping[str, int]]) -> bytes:
    """The entry that says what these slices add up to."""
    return b"".join(
        _packed_total(piece, sums) + signal_log.packed_signals(piece, sums) for piece, sums in totals.items()
    )


def _add(totals: dict[bytes, dict[str, int]], piece: bytes, sums: Mapping[str, int]) -> None:
    known = totals.setdefault(piece, {})
    for name, value in sums.items():
        known[name] = known.get(name, 0) + value
        if not known[name]:
            del known[name]  # values of either sign may cancel out


def _add_to_slices(totals: dict[bytes, dict[str, int]], slices: bytes, sums: Mapping[str, int]) -> None:
    for piece in _pieces(slices):
        _add(totals, piece, sums)


def _read_words(log: bytes, at: int) -> tuple[bytes, bytes, int]:
    _, slices, count = _GROUP.unpack_from(log, at)
    words_at = at + _GROUP.size + slices * HASH_BYTES
    end = words_at + count * WORD_BYTES
    return log[at + _GROUP.size : words_at], log[words_at:end], end


def _pieces(slices: bytes) -> Iterator[bytes]:
    yield EVERYTHING
    for at in range(0, len(slices), HASH_BYTES):
        yield slices[at : at + HASH_BYTES]


def _packed_total(piece: bytes, sums: Mapping[str, int]) -> bytes:
    """Nothing where the slice has no latencies."""
    if not any(name.startswith(LATENCY_PREFIX) for name in sums):
        return b""
    total = LatencyTotals.from_sums(sums)
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
