"""Where scores between 0 and 1 are counted: 511 bins, most of them where fraud-like scores crowd.

Every number with one or two decimals has a bin of its own, and so have those with one more digit below 0.01
(0.001 ... 0.009, 0.0001 ..., 0.00001 ...) and above 0.99. Between two such neighbours lie *parts* of equal
width, more of them towards 0, where ranking happens on a scale of ratios:

    0 | < 1e-5 |  1e-5 ... 1e-4 ... 0.001 ... 0.01 ... 0.1 |  0.1, (0.1, 0.11), 0.11, (0.11, 0.12) ...  | 0.99 ... 1
      1 bin         12 parts  72 parts  120 parts  70 parts           1 part between two hundredths        1 part

Scores in a bin of their own are known exactly; the others up to the width of their part.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["BIN_COUNT", "BIN_EDGES", "DECILES", "bin_decile", "decile", "deciles", "score_bin", "score_bins"]

DECILES = 10
"""Equal-width bins of the calibration error; their edges are bins of their own, so that no bin crosses one."""

SMALLEST = 1e-5
"""Scores below it share one bin: they are certainties."""


_LAYOUT: tuple[tuple[float, int, tuple[int, ...]], ...] = (
    (100000.0, 1, (3, 2, 1, 1, 1, 1, 1, 1, 1)),
    (10000.0, 1, (21, 13, 9, 7, 6, 5, 4, 4, 3)),
    (1000.0, 1, (36, 21, 15, 12, 10, 8, 7, 6, 5)),
    (100.0, 1, (21, 12, 9, 7, 5, 5, 4, 4, 3)),
    (100.0, 10, (1,) * 89),
    (1000.0, 990, (1,) * 10),
)
"""Bands of scores: from `first / scale` on, units of 1 / scale, each with a bin for its lower end and so many parts."""


def _edges() -> Iterator[tuple[float, float]]:
    yield 0.0, 0.0
    yield 0.0, SMALLEST
    for scale, first, parts_of_units in _LAYOUT:
        for unit, parts in enumerate(parts_of_units, first):
            yield unit / scale, unit / scale
            for part in range(parts):
                yield (unit + part / parts) / scale, (unit + (part + 1) / parts) / scale
    yield 1.0, 1.0


BIN_EDGES: tuple[tuple[float, float], ...] = tuple(_edges())
"""Lower and upper end of each bin; equal where all its scores are."""

BIN_COUNT = len(BIN_EDGES)

_LOWEST = np.array(
    [
        # A part that begins where a bin of its own stands begins behind it.
        math.nextafter(low, math.inf) if number and BIN_EDGES[number - 1] == (low, low) else low
        for number, (low, _) in enumerate(BIN_EDGES)
    ]
)
"""The lowest score of each bin."""


def score_bins(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the bins of scores in [0, 1], from 0 to `BIN_COUNT` - 1; higher scores never have lower bins."""
    return np.searchsorted(_LOWEST, scores, side="right") - 1


def score_bin(score: float) -> int:
    """Return the bin of one score.

    >>> score_bin(0.0), score_bin(1.0)
    (0, 510)
    >>> score_bin(0.29) - score_bin(0.28), score_bin(0.285) - score_bin(0.28)
    (2, 1)
    """
    return bisect.bisect_right(_LOWEST, score) - 1


_DECILES = np.minimum(DECILES - 1, np.array([sum(low >= tenth / 10 for tenth in range(1, 11)) for low in _LOWEST]))


def deciles(bins: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the tenth of the range that all scores of each bin lie in: j for [j / 10, (j + 1) / 10), and 9 for 1."""
    tenths: npt.NDArray[np.int64] = _DECILES[bins]
    return tenths


def decile(score: float) -> int:
    """Return the tenth of the range that a score lies in."""
    return bin_decile(score_bin(score))


def bin_decile(number: int) -> int:
    """Return the tenth of the range that all scores of a bin lie in."""
    return int(_DECILES[number])
