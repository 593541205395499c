"""When a partition full of bad records is stopped, instead of being emptied into the dead letters.

A bad record may become a dead letter as long as neither holds, itself included:

    more than `max_consecutive` bad records in a row
    more than `max_invalid_ratio` x 1,000 bad among the partition's last 1,000

A record that was not seen counts as good, so a few bad ones on a quiet or a new partition stop nothing. The
first record that may not is the *excess*: the partition stops in front of it, and everything before it counts.

    offset     0  1  2  3  4  5  6      max_consecutive 3
               ok x  x  ok x  x  x  x   the record at 7 is the fourth in a row
                                    ^ stopped at 7; 0 to 6 are counted

The verdict is a function of the last 1,000 records alone: it is the same however the log is cut into runs and
however often it is read again. A restart forgets those records and so can only be more lenient, by the
limits once over; a partition that *is* stopped takes them along with its `Stop`.
"""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["RECENT_RECORDS", "DeadLetterLimits", "Excess", "RecentRecords", "Stop", "first_excess"]

RECENT_RECORDS = 1000
"""Over so many records of a partition the share of bad ones is taken."""

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_NO_OFFSETS: Integers = np.empty(0, dtype=np.int64)
_NO_FLAGS: Flags = np.empty(0, dtype=np.bool_)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterLimits:
    """How much a partition may bring into the dead letters; see the settings under `dead_letters`."""

    max_invalid_ratio: float
    max_consecutive: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """The first record that may not become a dead letter, and what it would make: so many bad ones in a
    row, and so many among the last 1,000."""

    offset: int
    in_a_row: int
    recent: int

    def __str__(self) -> str:
        return f"{self.in_a_row} bad records in a row, {self.recent} among the last {RECENT_RECORDS}"


@dataclasses.dataclass(frozen=True, slots=True)
class RecentRecords:
    """A partition's last records up to 1,000, in order, and which of them are bad.

    `earlier_in_a_row` counts the bad records directly before the oldest one kept.
    """

    offsets: Integers = dataclasses.field(default_factory=lambda: _NO_OFFSETS)
    are_bad: Flags = dataclasses.field(default_factory=lambda: _NO_FLAGS)
    earlier_in_a_row: int = 0

    def before(self, offset: int) -> Self:
        """What was known when `offset` was the next one wanted: reading went back to it."""
        if not len(self.offsets) or self.offsets[-1] < offset:
            return self
        if offset < self.offsets[0]:
            return type(self)()
        kept = int(np.searchsorted(self.offsets, offset))
        return type(self)(self.offsets[:kept], self.are_bad[:kept], self.earlier_in_a_row)

    def followed_by(self, *, good: Integers, bad: Integers) -> Self:
        """With further records, given by their offsets in ascending order."""
        offsets, are_bad = _joined(self, good, bad)
        leaving = len(offsets) - RECENT_RECORDS
        if leaving <= 0:
            return type(self)(offsets, are_bad, self.earlier_in_a_row)
        in_a_row = _in_a_row(are_bad[:leaving], self.earlier_in_a_row)
        return type(self)(offsets[leaving:], are_bad[leaving:], int(in_a_row[-1]))

    @property
    def marks(self) -> str:
        """One character per record, oldest first: `x` for a bad one.

        >>> RecentRecords().followed_by(good=np.array([4, 6]), bad=np.array([5])).marks
        '.x.'
        """
        return "".join("x" if is_bad else "." for is_bad in self.are_bad.tolist())

    @classmethod
    def from_marks(cls, marks: str, *, end: int, earlier_in_a_row: int) -> Self:
        """The records directly before offset `end`, as `marks` shows them."""
        offsets = np.arange(end - len(marks), end, dtype=np.int64)
        return cls(offsets, np.array([mark == "x" for mark in marks], dtype=np.bool_), earlier_in_a_row)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A stopped partition, as others see it and as the next worker takes it over.

    `marks` and `earlier_in_a_row` are those of the `RecentRecords` before the excess.
    """

    excess: Excess
    since_ms: int
    tried_ms: int
    marks: str
    earlier_in_a_row: int

    @property
    def recent_records(self) -> RecentRecords:
        """What came before the excess."""
        return RecentRecords.from_marks(self.marks, end=self.excess.offset, earlier_in_a_row=self.earlier_in_a_row)


def first_excess(
    recent: RecentRecords, *, good: Integers, bad: Integers, limits: DeadLetterLimits, accepted_until: int = 0
) -> Excess | None:
    """Find the first record of a run that may not become a dead letter.

    Args:
        recent: the records before the run.
        good: offsets of the run's readable records, ascending.
        bad: offsets of the others, ascending.
        accepted_until: somebody lets all records before this offset through, good or bad.

    Returns: None if every bad record may.
    """
    if not len(bad) or bad[-1] < accepted_until:
        return None
    offsets, are_bad = _joined(recent, good, bad)
    in_a_row = _in_a_row(are_bad, recent.earlier_in_a_row)
    counted = np.concatenate([np.zeros(RECENT_RECORDS, dtype=np.int64), np.cumsum(are_bad)])
    recently_bad = counted[RECENT_RECORDS:] - counted[: len(are_bad)]
    # Divided, because 0.57 x 1,000 is less than 570 in binary.
    is_over = (in_a_row > limits.max_consecutive) | (recently_bad / RECENT_RECORDS > limits.max_invalid_ratio)
    is_judged = are_bad & (offsets >= accepted_until)
    is_judged[: len(recent.offsets)] = False
    found = np.flatnonzero(is_over & is_judged)
    if not len(found):
        return None
    at = int(found[0])
    return Excess(offset=int(offsets[at]), in_a_row=int(in_a_row[at]), recent=int(recently_bad[at]))


def _joined(recent: RecentRecords, good: Integers, bad: Integers) -> tuple[Integers, Flags]:
    offsets = np.concatenate([recent.offsets, good, bad]).astype(np.int64)
    are_bad = np.zeros(len(offsets), dtype=np.bool_)
    are_bad[: len(recent.are_bad)] = recent.are_bad
    if len(bad):
        before_run = len(recent.offsets)
        in_order = np.sort(offsets[before_run:])
        offsets[before_run:] = in_order
        are_bad[before_run + np.searchsorted(in_order, bad)] = True
    return offsets, are_bad


def _in_a_row(are_bad: Flags, earlier: int) -> Integers:
    """For each record how many bad ones in a row end with it; 0 at a good one."""
    places = np.arange(len(are_bad))
    last_good = np.maximum.accumulate(np.where(are_bad, -1, places))
    return np.where(last_good < 0, places + 1 + earlier, places - last_good).astype(np.int64)
