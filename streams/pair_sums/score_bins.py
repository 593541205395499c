"""Where scores between 0 and 1 are counted: 511 bins, most of them where fraud-like scores crowd.

Every number with one or two decimals has a bin of its own, and so have those with one more digit below 0.01
(0.001 ... 0.009, 0.0001 ..., 0.00001 ...) and above 0.99. Between two such neighbours lie *parts* of equal
width, more of them towards 0, where ranking happens on a scale of ratios:

    0 | < 1e-5 |  1e-5 ... 1e-4 ... 0.001 ... 0.01 ... 0.1 |  0.1, (0.1, 0.11), 0.11, (0.11, 0.12) ...  | 0.99 ... 1
      1 bin         12 parts  72 parts  120 parts  70 parts           1 part between two hundredths        1 part

Scores in a bin of their own are known exactly; the others up to the width of their part. The bin is found by
arithmetic that any program repeats to the last bit.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

__all__ = ["BIN_COUNT", "BIN_EDGES", "DECILES", "bin_decile", "decile", "score_bin"]

DECILES = 10
"""Equal-width bins of the calibration error; their edges are bins of their own, so that no bin crosses one."""

_ZERO, _TINY = 0, 1
SMALLEST = 1e-5
"""Scores below it share one bin: they are certainties."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Band:
    """The scores from `first / scale` to the end of its last unit, 1 / scale wide each.

    A unit has one bin for its lower end and `parts` further ones. `offsets` are the bins of the lower ends.
    """

    scale: float
    first: int
    parts: tuple[int, ...]
    offsets: tuple[int, ...]

    def bin_of(self, score: float) -> int:
        unit = _unit(score, self.scale)
        offset, parts = self.offsets[unit - self.first], self.parts[unit - self.first]
        if unit / self.scale == score:
            return offset
        within = max(0.0, score * self.scale - unit)
        return offset + 1 + min(parts - 1, int(within * parts))

    def edges(self) -> Iterator[tuple[float, float]]:
        for unit, parts in enumerate(self.parts, self.first):
            yield unit / self.scale, unit / self.scale
            for part in range(parts):
                yield (unit + part / parts) / self.scale, (unit + (part + 1) / parts) / self.scale


def _unit(score: float, scale: float) -> int:
    """The largest whole number whose `scale`th part is not above the score.

    Rounding may put 0.29 * 100 below 29: comparing with 29 / 100, which is what 0.29 means, puts it right.
    """
    unit = int(score * scale)
    if (unit + 1) / scale <= score:
        return unit + 1
    if unit / scale > score:
        return unit - 1
    return unit


def _bands() -> Iterator[_Band]:
    layout: tuple[tuple[float, int, tuple[int, ...]], ...] = (
        (100000.0, 1, (3, 2, 1, 1, 1, 1, 1, 1, 1)),
        (10000.0, 1, (21, 13, 9, 7, 6, 5, 4, 4, 3)),
        (1000.0, 1, (36, 21, 15, 12, 10, 8, 7, 6, 5)),
        (100.0, 1, (21, 12, 9, 7, 5, 5, 4, 4, 3)),
        (100.0, 10, (1,) * 89),
        (1000.0, 990, (1,) * 10),
    )
    offset = _TINY + 1
    for scale, first, parts in layout:
        offsets = tuple(itertools.accumulate((count + 1 for count in parts[:-1]), initial=offset))
        yield _Band(scale, first, parts, offsets)
        offset += len(parts) + sum(parts)


_BANDS = tuple(_bands())
_BAND_STARTS = tuple(band.first / band.scale for band in _BANDS)

BIN_EDGES: tuple[tuple[float, float], ...] = (
    (0.0, 0.0),
    (0.0, SMALLEST),
    *itertools.chain.from_iterable(band.edges() for band in _BANDS),
    (1.0, 1.0),
)
"""Lower and upper end of each bin; equal where all its scores are."""

BIN_COUNT = len(BIN_EDGES)


def score_bin(score: float) -> int:
    """Return the bin of a score in [0, 1], from 0 to `BIN_COUNT` - 1; higher scores never have lower bins.

    >>> score_bin(0.0), score_bin(1.0)
    (0, 510)
    >>> score_bin(0.29) - score_bin(0.28), score_bin(0.285) - score_bin(0.28)
    (2, 1)
    """
    if score < SMALLEST:
        return _ZERO if score == 0.0 else _TINY
    if score >= 1.0:
        return BIN_COUNT - 1
    at = len(_BANDS) - 1
    while score < _BAND_STARTS[at]:
        at -= 1
    return _BANDS[at].bin_of(score)


def decile(score: float) -> int:
    """Return j for scores in [j / 10, (j + 1) / 10), and 9 for 1."""
    return min(DECILES - 1, _unit(score, float(DECILES)))


def bin_decile(number: int) -> int:
    """Return the decile that all scores of a bin lie in."""
    lowest, highest = BIN_EDGES[number]
    return decile((lowest + highest) / 2.0)
