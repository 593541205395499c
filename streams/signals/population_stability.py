"""How far the values of a signal have moved from a reference: the population stability index of both.

The reference is cut into ten groups that hold about as many of its values, along the borders of buckets; a constant one
into what is below it, equal and above. With the shares p and q of the groups now and then

    PSI = sum of (p - q) * ln(p / q)

where half a value is added to each group, so that an empty one leaves the index finite. What credit scoring made of it
as a rule of thumb: below 0.1 nothing has changed, above 0.25 much has.

It is never negative, and above 0 by chance alone: by about (groups - 1) * (1 / n + 1 / m) for n values now and m in the
reference. Its interval knows that. Near 0 PSI * n * m / (n + m) is about chi-squared, not central if the two differ;
far from 0 the index is about normal, with the variance that the counts of the groups have as multinomial ones. The
interval is as wide as the wider of both.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence

from scipy import special

from streams.quality.figure import Bounds, Figure, UndefinedReason
from streams.quality.intervals import normal_quantile

__all__ = ["psi_figure"]

GROUPS = 10
HALF = 0.5
LARGEST_STATISTIC = 1e4
"""Beyond it the distribution of chi-squared is far from 0, and its inverse slow."""


def psi_figure(counts: Mapping[int, int], reference: Mapping[int, int], *, confidence_level: float) -> Figure:
    """The index of one signal; undefined without values, or without a reference.

    Args:
        counts: of the values by bucket.
        reference: of those they are compared with, likewise.
        confidence_level: two-sided, e.g. 0.95.

    >>> figure = psi_figure({1: 70, 2: 30}, {1: 500, 2: 500}, confidence_level=0.95)
    >>> round(figure.value, 3), round(figure.low, 3), round(figure.high, 3)
    (0.166, 0.0, 0.376)
    """
    n, m = sum(counts.values()), sum(reference.values())
    if not m:
        return Figure.missing(UndefinedReason.NO_REFERENCE, n=n)
    if not n:
        return Figure.missing(UndefinedReason.NO_VALUES)
    edges = _edges(reference)
    now, then = _shares(counts, edges), _shares(reference, edges)
    value = math.fsum((p - q) * math.log(p / q) for p, q in zip(now, then, strict=True))
    interval = _interval(value, now, then, n=n, m=m, confidence_level=confidence_level)
    return Figure.of(value, interval, n=n, possible=(value, value))


def _edges(reference: Mapping[int, int]) -> Sequence[int]:
    """The last bucket of each group but the last one."""
    buckets = sorted(reference)
    seen = list(itertools.accumulate(reference[bucket] for bucket in buckets))
    wanted = (seen[-1] * part / GROUPS for part in range(1, GROUPS))
    edges = dict.fromkeys(buckets[bisect.bisect_left(seen, count)] for count in wanted)
    edges.pop(buckets[-1], None)
    return [*edges] or [buckets[0] - 1, buckets[-1]]


def _shares(counts: Mapping[int, int], edges: Sequence[int]) -> Sequence[float]:
    groups = [HALF] * (len(edges) + 1)
    for bucket, count in counts.items():
        groups[bisect.bisect_left(edges, bucket)] += count
    total = math.fsum(groups)
    return [group / total for group in groups]


def _interval(
    value: float, now: Sequence[float], then: Sequence[float], *, n: int, m: int, confidence_level: float
) -> Bounds:
    half = normal_quantile(confidence_level) * math.sqrt(_variance(now, then) / n + _variance(then, now) / m)
    low, high = _by_chi_squared(value, degrees_of_freedom=len(now) - 1, n=n, m=m, confidence_level=confidence_level)
    return min(low, max(0.0, value - half)), max(high, value + half)


def _variance(mine: Sequence[float], other: Sequence[float]) -> float:
    """Of the index over the drawing of one value of mine."""
    slopes = [math.log(p / q) + (p - q) / p for p, q in zip(mine, other, strict=True)]
    mean = math.fsum(p * slope for p, slope in zip(mine, slopes, strict=True))
    return math.fsum(p * (slope - mean) ** 2 for p, slope in zip(mine, slopes, strict=True))


def _by_chi_squared(value: float, *, degrees_of_freedom: int, n: int, m: int, confidence_level: float) -> Bounds:
    """The indexes at which one as large, or as small, is as rare as the level says."""
    scale = n * m / (n + m)
    statistic = value * scale
    tail = (1.0 - confidence_level) / 2.0
    if statistic > LARGEST_STATISTIC:
        return value, value
    low = _noncentrality(statistic, degrees_of_freedom, 1.0 - tail)
    high = _noncentrality(statistic, degrees_of_freedom, tail)
    return min(low / scale, value), max(high / scale, value)


def _noncentrality(statistic: float, degrees_of_freedom: int, share: float) -> float:
    """The one at which the distribution function of the statistic is `share`; 0 if it is less even there."""
    if special.chndtr(statistic, degrees_of_freedom, 0.0) <= share:
        return 0.0
    return float(special.chndtrinc(statistic, degrees_of_freedom, share))
