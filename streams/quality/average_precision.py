"""Average precision of binned scores: what the scores themselves may have had, at worst and at best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from streams.quality.figure import Bounds

__all__ = ["average_precision_bracket"]

ADDED_ONE_BY_ONE = 4
"""Longer sums are replaced by a bound."""


def average_precision_bracket(positives: Sequence[int], negatives: Sequence[int], *, is_tie: Sequence[bool]) -> Bounds:
    """Return the smallest and largest average precision that counts by bin leave possible.

    Scores of a bin come in some order that is not known. At best its positives stand together above its
    negatives; at worst below them, one by one. Where all scores of a bin are equal, there is one value.

    Args:
        positives: counts by bin, highest scores first; at least one positive in all.
        negatives: likewise.
        is_tie: whether all scores of the bin are equal.

    >>> average_precision_bracket([1, 1], [1, 0], is_tie=[False, False])
    (0.5833333333333333, 0.8333333333333333)
    """
    lowest: list[float] = []
    highest: list[float] = []
    hits = misses = 0
    for here, there, tied in zip(positives, negatives, is_tie, strict=True):
        if here:
            together = here * (hits + here)
            if tied:
                lowest.append(together / (hits + here + misses + there))
                highest.append(lowest[-1])
            else:
                lowest.append(_precisions_one_by_one(hits, here, misses + there))
                highest.append(together / (hits + here + misses))
        hits, misses = hits + here, misses + there
    # Rounding must not part a bracket of no width.
    low, high = math.fsum(lowest) / hits, math.fsum(highest) / hits
    return min(low, high), high


def _precisions_one_by_one(hits: int, more: int, misses: int) -> float:
    """Sum of the precisions as `more` hits follow one another after `hits` and `misses`, or a little less."""
    first = hits + misses
    if more <= ADDED_ONE_BY_ONE:
        return math.fsum((hits + step) / (first + step) for step in range(1, more + 1))
    # Each 1 / i is less than the integral of 1 / x from i - 1/2 to i + 1/2.
    return more - misses * math.log1p(more / (first + 0.5))
