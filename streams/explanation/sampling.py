"""Which predictions are asked about: a function of the request's key and a rate, and a rate that keeps to a budget.

    u(key, purpose) < rate        the same for whoever asks, whenever
    rate := budget / seen         once a tick, for what was seen in the last one
    tokens                        what the budget lets through while the rate is still learning

Purposes draw independently, so that being asked about as an error says nothing about being asked about for comparison.
"""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import numpy.typing as npt

__all__ = ["Purpose", "Quota", "draws_of"]

TICK_SECONDS = 5.0
FIRST_RATE = 0.01
"""Of what nothing is known yet: much, where there is much, and everything after one quiet tick."""
BURST_SECONDS = 60.0
"""A budget that was not used is kept for so long."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_UNIT = 2.0**-53


class Purpose(enum.IntEnum):
    """What a draw is for."""

    WRONG = 1
    LOW_MARGIN = 2
    BASE = 3


def draws_of(keys: bytes, purpose: Purpose) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each of many request keys of 16 bytes, `keys` being their concatenation.

    >>> a, b = draws_of(bytes(range(16)) * 2, Purpose.BASE)
    >>> bool(a == b and 0 <= a < 1 and a != draws_of(bytes(range(16)), Purpose.WRONG)[0])
    True
    """
    words = np.frombuffer(keys, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    mixed = (words[:, 0] ^ (words[:, 1] * _MIX)) + np.uint64(int(purpose) * 0xD1B54A32D192ED03 % 2**64)
    # The finalizer of SplitMix64: ids that count upwards must not be drawn by turns.
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) * _UNIT


@dataclasses.dataclass(frozen=True, slots=True)
class Quota:
    """The rate at which something is asked about now, and what its budget has left.

    `seen` counts since `since_seconds`; `tokens` are questions that may still be asked.
    """

    rate: float = FIRST_RATE
    tokens: float = 1.0
    seen: int = 0
    since_seconds: float | None = None

    def after(self, seen: int, *, per_minute: float, now_seconds: float) -> Quota:
        """With some more seen by now: once a tick the rate follows what was seen, and the budget grows.

        Args:
            seen: how many could have been asked about.
            per_minute: the budget.
        """
        since = now_seconds if self.since_seconds is None else self.since_seconds
        passed = now_seconds - since
        seen += self.seen
        if passed < TICK_SECONDS:
            return dataclasses.replace(self, seen=seen, since_seconds=since)
        budget = per_minute * passed / 60
        rate = min(1.0, budget / seen) if seen else 1.0
        most = max(1.0, per_minute * BURST_SECONDS / 60)
        return Quota(rate=rate, tokens=min(most, self.tokens + budget), seen=0, since_seconds=now_seconds)

    def spend(self, wanted: int) -> tuple[Quota, int]:
        """With up to `wanted` questions asked, and how many those are."""
        asked = min(wanted, int(self.tokens))
        return dataclasses.replace(self, tokens=self.tokens - asked), asked
