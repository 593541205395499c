"""Which predictions are asked about: a function of the request's key and a rate, and a rate that keeps to a budget.

    is_drawn(key, purpose, rate)  the same for whoever asks, whenever; whoever is drawn at a rate is at a higher one
    rate := budget / seen         once a tick, for what was seen in the last one
    tokens                        what the budget lets through while the rate is still learning

Each purpose draws evenly from all keys; while rates are small none draws what another does.
"""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["FIRST_TICK_SECONDS", "TICK_SECONDS", "Purpose", "Quota", "drawn", "drawn_each", "is_drawn", "mixes_of"]

TICK_SECONDS = 5.0
FIRST_TICK_SECONDS = 0.5
"""Until then every rate is a guess, which costs a worker that reads a backlog more than all later looks. Each tick
after it is twice as long: a worker that starts is slow at first, and would ask too much for what comes then."""
FIRST_RATE = 0.001
"""Of what nothing is known yet: enough, where there is much, and everything after one quiet tick. Workers share the
highest rate for an hour, so a guess that is too high is paid for that long."""
BURST_SECONDS = 60.0
"""A budget that was not used is kept for so long."""
_FOLD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
# The finalizer of MurmurHash3, 32 bits wide: ids that count upwards must not be drawn by turns. Its last step mixes low
# bits alone, and is left out.
_FINALIZER = ((np.uint32(16), np.uint32(0x85EBCA6B)), (np.uint32(13), np.uint32(0xC2B2AE35)))
_ALL = 2**32 - 1
_SPAN = 2.0**32
_BELOW_ONE = math.nextafter(1.0, 0.0)


class Purpose(enum.IntEnum):
    """What a draw is for. Each begins in a quarter of its own."""

    WRONG = 0
    LOW_MARGIN = 1
    BASE = 2


_BEGINS = tuple(np.uint32(purpose << 30) for purpose in Purpose)


def mixes_of(keys: bytes) -> npt.NDArray[np.uint32]:
    """An even number for each of many request keys of 16 bytes, `keys` being their concatenation."""
    words = np.frombuffer(keys, dtype="<u8")
    folded = words[1::2] * _FOLD[0]
    folded ^= words[::2]
    folded *= _FOLD[1]
    mixed: npt.NDArray[np.uint32] = folded.view("<u4")[1::2].copy()
    for shift, factor in _FINALIZER:
        mixed ^= mixed >> shift
        mixed *= factor
    return mixed


def drawn(mixes: npt.NDArray[np.uint32], purpose: Purpose, rate: float) -> npt.NDArray[np.intp]:
    """The places of those that are drawn, in order.

    >>> mixes = mixes_of(bytes(range(160)))
    >>> drawn(mixes, Purpose.BASE, 1.0).tolist() == list(range(10)), drawn(mixes, Purpose.BASE, 0.0).tolist()
    (True, [])
    """
    if rate <= 0:
        return np.empty(0, dtype=np.intp)
    since = mixes - _BEGINS[purpose] if purpose else mixes
    return (since <= np.uint32(_bound(rate))).nonzero()[0]


def drawn_each(mixes: npt.NDArray[np.uint32], purpose: Purpose, rates: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """The places of those that are drawn, in order, each at a rate of its own.

    >>> drawn_each(mixes_of(bytes(range(48))), Purpose.BASE, np.array([1.0, 0.0, 1.0])).tolist()
    [0, 2]
    """
    bounds = (np.minimum(rates, _BELOW_ONE) * _SPAN).astype(np.uint32)
    bounds[rates >= 1.0] = _ALL
    return ((mixes - _BEGINS[purpose] <= bounds) & (rates > 0)).nonzero()[0]


def is_drawn(mix: int, purpose: Purpose, rate: float) -> bool:
    """Whether one is: the same rule, for a fraction of what an array of one costs."""
    return rate > 0 and (mix - (purpose << 30)) & _ALL <= _bound(rate)


def _bound(rate: float) -> int:
    return min(int(rate * _SPAN), _ALL)


class Quota(NamedTuple):
    """The rate at which something is asked about now, and what its budget has left: `tokens` are questions."""

    rate: float = FIRST_RATE
    tokens: float = 1.0

    def after(self, seen: int, *, per_minute: float, seconds: float) -> Quota:
        """After a tick: the rate follows what was seen, and the budget grows.

        Args:
            seen: how many could have been asked about in these `seconds`.
            per_minute: the budget.
        """
        budget = per_minute * seconds / 60
        rate = min(1.0, budget / seen) if seen else 1.0
        most = max(1.0, per_minute * BURST_SECONDS / 60)
        return Quota(rate, min(most, self.tokens + budget))

    @property
    def is_spent(self) -> bool:
        """Whether there is no question left."""
        return self.tokens < 1.0

    def spend(self, wanted: int) -> tuple[Quota, int]:
        """With up to `wanted` questions asked, and how many those are."""
        asked = min(wanted, int(self.tokens))
        return Quota(self.rate, self.tokens - asked), asked
