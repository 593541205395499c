"""The log of a window's pairs: labelled predictions as the commit script wrote them, summed when somebody reads.

The script knows which prediction got which label; what that adds to the sums (logarithms, bins, squares) is worked
out here for thousands of pairs at once. A log is a run of groups, one for each combination of slices in a commit:

    kind 1 (1: numbers), number of slices 1, number of rows 4, slice 8 ...
    rows   flags 1 (1: taken back, 2: has a value, 4: the event happened), delay in ms 6, value 8, [label 8: numbers]
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from streams.identity import EVERYTHING, HASH_BYTES
from streams.pair_sums.many import delay_sums, regression_sums, score_sums

__all__ = ["chunks", "logged_sums"]

CHUNK_BYTES = 512 * 1024
"""Put into the sums in one call."""

_GROUP = struct.Struct(">BBI")
_NUMBERS = 1
_TAKEN_BACK, _HAS_VALUE, _HAPPENED = 1, 2, 4
_FIELDS: list[tuple[str, str]] = [("flags", "u1"), ("delay_high", ">u2"), ("delay_low", ">u4"), ("value", ">f8")]
_ROWS = (np.dtype(_FIELDS), np.dtype([*_FIELDS, ("label", ">f8")]))

Rows = npt.NDArray[np.void]


def chunks(log: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """A log in pieces that are folded in a few milliseconds each."""
    chunk: list[bytes] = []
    size_bytes = 0
    for entry in log:
        chunk.append(entry)
        size_bytes += len(entry)
        if size_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk


def logged_sums(log: bytes) -> dict[tuple[bytes, str], int]:
    """What all pairs of a log add, by slice and name of the sum."""
    groups: dict[tuple[int, bytes], list[Rows]] = {}
    for kind, slices, rows in _groups(log):
        groups.setdefault((kind, slices), []).append(rows)
    totals: dict[tuple[bytes, str], int] = {}
    for (kind, slices), parts in groups.items():
        pieces = [EVERYTHING, *(slices[at : at + HASH_BYTES] for at in range(0, len(slices), HASH_BYTES))]
        for name, increment in _increments(kind, np.concatenate(parts)):
            for piece in pieces:
                totals[piece, name] = totals.get((piece, name), 0) + increment
    return totals


def _groups(log: bytes) -> Iterator[tuple[int, bytes, Rows]]:
    at = 0
    while at < len(log):
        kind, slices, count = _GROUP.unpack_from(log, at)
        at += _GROUP.size
        rows_at = at + slices * HASH_BYTES
        dtype = _ROWS[kind]
        yield kind, log[at:rows_at], np.frombuffer(log, dtype=dtype, count=count, offset=rows_at)
        at = rows_at + count * dtype.itemsize


def _increments(kind: int, rows: Rows) -> Iterator[tuple[str, int]]:
    flags = rows["flags"]
    signs = np.where(flags & _TAKEN_BACK, -1, 1).astype(np.int64)
    delays_ms = (rows["delay_high"].astype(np.int64) << 32) + rows["delay_low"]
    yield from delay_sums(delays_ms, signs).items()
    valued = (flags & _HAS_VALUE) != 0
    if not valued.any():
        return
    values, signs = rows["value"][valued].astype(np.float64), signs[valued]
    if kind == _NUMBERS:
        yield from regression_sums(values, rows["label"][valued].astype(np.float64), signs).items()
    else:
        yield from score_sums(values, (flags[valued] & _HAPPENED) != 0, signs).items()
