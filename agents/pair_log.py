"""The log of a window's pairs: labelled predictions as the commit script wrote them, summed when somebody reads.

The script knows which prediction got which label; what that adds to the sums (logarithms, bins, squares) is worked
out here for thousands of pairs at once. A log is a run of groups, one for each combination of slices in a commit:

    kind 1, number of slices 1, number of rows 4, [shape], slice 8 ...
    rows   flags 1 (1: taken back, 2: has a value, 4: the event happened), delay in ms 6, and by kind
      0 classes   value 8
      1 numbers   value 8, label 8
      2 sets      classes found, invented and missed, 8 each; the shape says how many of each, 1 byte each
      3 rankings  number of relevant items 1, ranks of those that were ranked, 1 each; the shape says how many, 1 byte

The script compares lists, because it alone knows which classes have cells of their own when a pair is made.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.identity import EVERYTHING, HASH_BYTES
from streams.pair_sums.many import delay_sums, regression_sums, score_sums
from streams.pair_sums.many_lists import multilabel_sums, ranking_sums

__all__ = ["CHUNK_BYTES", "chunks", "logged_sums"]

CHUNK_BYTES = 512 * 1024
"""Put into the sums in one call."""

_GROUP = struct.Struct(">BBI")
_CLASSES, _NUMBERS, _SETS, _RANKINGS = range(4)
_SHAPE_BYTES = {_CLASSES: 0, _NUMBERS: 0, _SETS: 3, _RANKINGS: 1}
_TAKEN_BACK, _HAS_VALUE, _HAPPENED = 1, 2, 4
_FIELDS: list[Any] = [("flags", "u1"), ("delay_high", ">u2"), ("delay_low", ">u4")]

Rows = npt.NDArray[np.void]


@functools.lru_cache(maxsize=1024)
def _row(kind: int, shape: bytes) -> np.dtype[np.void]:
    if kind == _SETS:
        names = ("found", "invented", "missed")
        return np.dtype([*_FIELDS, *((name, ">u8", (count,)) for name, count in zip(names, shape, strict=True))])
    if kind == _RANKINGS:
        return np.dtype([*_FIELDS, ("relevant", "u1"), ("ranks", "u1", (shape[0],))])
    return np.dtype([*_FIELDS, ("value", ">f8"), *([("label", ">f8")] if kind == _NUMBERS else [])])


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
    groups: dict[tuple[int, bytes, bytes], list[bytes]] = {}
    for kind, shape, slices, rows in _groups(log):
        groups.setdefault((kind, shape, slices), []).append(rows)
    totals: dict[tuple[bytes, str], int] = {}
    for (kind, shape, slices), parts in groups.items():
        pieces = [EVERYTHING, *(slices[at : at + HASH_BYTES] for at in range(0, len(slices), HASH_BYTES))]
        for name, increment in _increments(kind, np.frombuffer(b"".join(parts), dtype=_row(kind, shape))):
            for piece in pieces:
                totals[piece, name] = totals.get((piece, name), 0) + increment
    return totals


def _groups(log: bytes) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """Kind, shape, slices and rows."""
    at = 0
    while at < len(log):
        kind, slices, count = _GROUP.unpack_from(log, at)
        slices_at = at + _GROUP.size + _SHAPE_BYTES[kind]
        rows_at = slices_at + slices * HASH_BYTES
        shape = log[at + _GROUP.size : slices_at]
        end = rows_at + count * _row(kind, shape).itemsize
        yield kind, shape, log[slices_at:rows_at], log[rows_at:end]
        at = end


def _increments(kind: int, rows: Rows) -> Iterator[tuple[str, int]]:
    flags = rows["flags"]
    signs = np.where(flags & _TAKEN_BACK, -1, 1).astype(np.int64)
    delays_ms = (rows["delay_high"].astype(np.int64) << 32) + rows["delay_low"]
    yield from delay_sums(delays_ms, signs).items()
    if kind == _SETS:
        yield from _set_sums(rows, signs).items()
    elif kind == _RANKINGS:
        yield from ranking_sums(rows["ranks"].astype(np.int64), rows["relevant"].astype(np.int64), signs).items()
    else:
        yield from _value_sums(kind, rows, signs)


def _set_sums(rows: Rows, signs: npt.NDArray[np.int64]) -> Mapping[str, int]:
    found, invented, missed = (rows[name].astype(np.uint64) for name in ("found", "invented", "missed"))
    return multilabel_sums(found=found, invented=invented, missed=missed, signs=signs)


def _value_sums(kind: int, rows: Rows, signs: npt.NDArray[np.int64]) -> Iterator[tuple[str, int]]:
    flags = rows["flags"]
    valued = (flags & _HAS_VALUE) != 0
    if not valued.any():
        return
    values, signs = rows["value"][valued].astype(np.float64), signs[valued]
    if kind == _NUMBERS:
        yield from regression_sums(values, rows["label"][valued].astype(np.float64), signs).items()
    else:
        yield from score_sums(values, (flags[valued] & _HAPPENED) != 0, signs).items()
