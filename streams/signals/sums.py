"""The sums of a window and slice that the values of a signal add up to, as integers under short names.

    v<signal>:<number>   sixteen buckets in one integer, 64 bits for the count of each
    v<signal>:s          all values together, in units of 2 ** -149
    v<signal>:q          their squares, in units of 2 ** -298

The signal is its hash in hexadecimal. Values are multiples of the units, so sums are exact and come out the same in
whatever order values came; integers of any size add up like small ones. They are only ever added to: a prediction that
was counted stays counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from streams.signals.buckets import Integers, Values, buckets_of, middle_of, parts_of

__all__ = ["LEFT_OUT", "SIGNAL_PREFIX", "SignalTotals", "signal_of", "totals_by_signal"]

SIGNAL_PREFIX = "v"
"""Every name begins so, and no name of `streams.pair_sums` or of latencies does."""

LEFT_OUT = "__other__"
"""The name of what counts values under names that have no figures: each prediction tells how many it brings."""

_HASH_END = 1 + 16
_BUCKETS_A_NAME = 16
_COUNT_BITS = 64
_COUNT_MASK = (1 << _COUNT_BITS) - 1
_UNIT_BITS = 149
_HALF_BITS = 24


@dataclasses.dataclass(frozen=True, slots=True)
class SignalTotals:
    """What the values of one signal add up to.

    `counts` counts them by bucket of `streams.signals.buckets`. `total` and `squares` are exact, in the units above.
    """

    counts: Mapping[int, int] = dataclasses.field(default_factory=dict)
    total: int = 0
    squares: int = 0

    def __add__(self, other: SignalTotals) -> SignalTotals:
        counts = dict(self.counts)
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        return SignalTotals(dict(sorted(counts.items())), self.total + other.total, self.squares + other.squares)

    @property
    def n(self) -> int:
        """How many values."""
        return sum(self.counts.values())

    @property
    def whole(self) -> int:
        """All values together, if they are whole numbers."""
        return self.total >> _UNIT_BITS

    @property
    def mean(self) -> float:
        """Of at least one value."""
        return self.total / (self.n << _UNIT_BITS)

    @property
    def variance(self) -> float:
        """Mean squared distance from the mean, of at least one value."""
        n = self.n
        return (n * self.squares - self.total**2) / (n**2 << 2 * _UNIT_BITS)

    def standardised_moment(self, order: int) -> float:
        """Mean power of the distance from the mean by the spread, which is not 0, as far as the buckets tell."""
        mean, spread = self.mean, math.sqrt(self.variance)
        powers = (count * ((middle_of(bucket) - mean) / spread) ** order for bucket, count in self.counts.items())
        return math.fsum(powers) / self.n

    @classmethod
    def of_values(cls, values: Values) -> SignalTotals:
        """Of values as they are kept; NaN counts for nothing."""
        values = values[~np.isnan(values)]
        numbers, exponents = parts_of(values)
        total = squares = 0
        for exponent in np.unique(exponents).tolist():
            here = numbers[exponents == exponent]
            total += int(here.sum()) << exponent
            squares += _sum_of_squares(here) << 2 * exponent
        buckets, counts = np.unique(buckets_of(values), return_counts=True)
        return cls(dict(zip(buckets.tolist(), counts.tolist(), strict=True)), total, squares)

    @classmethod
    def from_sums(cls, sums: Mapping[str, int]) -> SignalTotals:
        """The inverse of `sums`, without what stands before the colon."""
        counts: dict[int, int] = {}
        for name, packed in sums.items():
            if name not in ("s", "q"):
                first = int(name) * _BUCKETS_A_NAME
                for place in range(_BUCKETS_A_NAME):
                    if count := packed >> place * _COUNT_BITS & _COUNT_MASK:
                        counts[first + place] = count
        return cls(dict(sorted(counts.items())), sums.get("s", 0), sums.get("q", 0))

    def sums(self, signal: bytes) -> dict[str, int]:
        """The sums by name, without those that are 0.

        >>> SignalTotals.of_values(np.array([1.0], dtype=np.float32)).sums(bytes(8)) == {
        ...     "v0000000000000000:508": 1, "v0000000000000000:s": 1 << 149, "v0000000000000000:q": 1 << 298}
        True
        """
        head = f"{SIGNAL_PREFIX}{signal.hex()}:"
        sums: dict[str, int] = {}
        for bucket, count in self.counts.items():
            number, place = divmod(bucket, _BUCKETS_A_NAME)
            name = f"{head}{number}"
            sums[name] = sums.get(name, 0) + (count << place * _COUNT_BITS)
        named = {f"{head}s": self.total, f"{head}q": self.squares}
        return sums | {name: value for name, value in named.items() if value}


def signal_of(name: bytes) -> bytes | None:
    """The hash of the signal that a sum is about; None if it is about none.

    >>> signal_of(b"v00000000000000ff:508"), signal_of(b"w44")
    (b'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xff', None)
    """
    return bytes.fromhex(name[1:_HASH_END].decode()) if name[:1] == SIGNAL_PREFIX.encode() else None


def totals_by_signal(sums: Mapping[str, int]) -> dict[bytes, SignalTotals]:
    """The totals of each signal, by its hash; other names are not looked at."""
    found: dict[str, dict[str, int]] = {}
    for name, value in sums.items():
        if name.startswith(SIGNAL_PREFIX):
            found.setdefault(name[1:_HASH_END], {})[name[_HASH_END + 1 :]] = value
    return {bytes.fromhex(signal): SignalTotals.from_sums(named) for signal, named in found.items()}


def _sum_of_squares(numbers: Integers) -> int:
    """Of whole numbers of 24 bits. In halves: the sum of many squares is beyond 64 bits."""
    squares = numbers * numbers
    high = int((squares >> _HALF_BITS).sum())
    low = int((squares & ((1 << _HALF_BITS) - 1)).sum())
    return (high << _HALF_BITS) + low
