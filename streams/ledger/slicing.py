"""How a run of one partition's log becomes arrivals and slices: functions of the log alone.

A run is a stretch `[base, next)` of offsets with the good records found in it. The partition's
high mark before a record is the largest event time of all good records before it; what a record's
arrival and a slice's watermark are follows from it, whoever reads the log and wherever batches end:

    offset          10    11    12    13    14          base 10, next 15
    event time     500   700     -   600   900          12 is rejected
    high before    400   500         700   700   900    400 is the high mark at offset 10
    arrival        500   700         600   900          allowed lateness 100: max(time, high - 100)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from streams.ledger.parts import NEVER_MS

__all__ = ["Run", "Slice", "arrivals_of", "running_highs", "watermark_of"]

Integers = npt.NDArray[np.int64]


def running_highs(times_ms: Integers, *, start_ms: int) -> Integers:
    """The largest event time before each record, and after the last: one more than there are records.

    >>> running_highs(np.array([500, 700, 600]), start_ms=400).tolist()
    [400, 500, 700, 700]
    """
    highs = np.empty(len(times_ms) + 1, dtype=np.int64)
    highs[0] = start_ms
    highs[1:] = times_ms
    return np.maximum.accumulate(highs)


def arrivals_of(times_ms: Integers, highs_ms: Integers, *, lateness_ms: int) -> Integers:
    """The later of each record's event time and its partition's watermark just before it.

    Args:
        highs_ms: as `running_highs` returns them; the last one is not needed.
    """
    watermarks = np.maximum(highs_ms[: len(times_ms)] - lateness_ms, NEVER_MS)
    return np.maximum(times_ms, watermarks)


def watermark_of(high_ms: int, *, lateness_ms: int) -> int:
    """A partition's watermark from its high mark."""
    return max(high_ms - lateness_ms, NEVER_MS)


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """Part of a run for one shard: `[expected, next)` with the run's rows at the indices `rows`."""

    expected: int
    next: int
    high_ms: int
    rows: Integers
    rejected: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A stretch of one partition's log.

    `offsets` of the good records ascend; `shards` says where each belongs; `highs_ms` are their
    `running_highs`. `rejected` are the offsets of the records that are dead-lettered.
    """

    base: int
    next: int
    offsets: Integers
    shards: Integers
    highs_ms: Integers
    rejected: Integers

    def high_at(self, offset: int) -> int:
        """The partition's high mark before `offset`, which lies in `[base, next]`."""
        return int(self.highs_ms[-1] if offset == self.next else self.highs_ms[self.offsets.searchsorted(offset)])

    def until(self, offset: int) -> Run:
        """The run's beginning, up to an offset in `[base, next]`."""
        good = int(np.searchsorted(self.offsets, offset))
        return Run(
            base=self.base,
            next=offset,
            offsets=self.offsets[:good],
            shards=self.shards[:good],
            highs_ms=self.highs_ms[: good + 1],
            rejected=self.rejected[self.rejected < offset],
        )

    def slices(self, shard: int, *, shards: int, start: int, max_rows: int) -> Iterator[Slice]:
        """What the shard has not applied yet, in order, in slices of at most `max_rows` rows.

        The slices adjoin each other from `start` to the run's end, so that offsets advance in a shard
        without rows too. A rejected record belongs to shard `offset % shards`.

        Args:
            start: the offset that the shard wants next, in `[base, next)`.
        """
        # By methods of arrays: where batches are small, numpy's functions of the same names take longer than the rest.
        rows = (self.shards == shard).nonzero()[0]
        if start > self.base:
            rows = rows[self.offsets[rows].searchsorted(start) :]
        rejected = self.rejected[self.rejected % shards == shard] if len(self.rejected) else self.rejected
        for at in range(0, max(len(rows), 1), max_rows):
            following = at + max_rows
            end = int(self.offsets[rows[following]]) if following < len(rows) else self.next
            count = int(np.diff(rejected.searchsorted((start, end)))[0]) if len(rejected) else 0
            yield Slice(start, end, self.high_at(end), rows[at:following], count)
            start = end
