"""How far a mean may be from the truth: means of sizes, which cannot be negative, and of differences.

- **Sizes** (absolute and squared errors, log loss): the gamma interval. A mean of n sizes varies about like
  the mean of n / cv**2 exponential ones, cv being their standard deviation over their mean; for squared
  normal errors this is the chi-squared interval of a variance. It stays above 0 and is longer upwards, as
  such means are.
- **Shares** (reciprocal rank, Hamming loss), which lie between 0 and 1: Wilson's interval at the effective sample size.
- **Differences** (bias): Student's interval.

The spread is taken with one pseudo-observation as far from the mean as the mean is from 0, or as the size that
knowing nothing would have, where there is one; of shares with half of one. So a few observations that are equal do
not pass for certainty. Where a spread is known from the sample alone, the quantiles are Student's. A mean of errors
that are all 0 has no scale to judge by: its interval is [0, 0].

Coverage of the nominal 95 % by simulation at n = 100, repeated by the tests: 93-97 % for `mae`, `mape` and
`bias`, 92-98 % for `rmse` and `r2` where neither errors nor labels have long tails. Long tails cost them up to
seven points (lognormal labels, errors of Student's t with five degrees of freedom), and `rmsle` up to ten where
few values near 0 decide it: what a hundred pairs have not shown, no interval knows.
"""

from __future__ import annotations

import math

from streams.quality.figure import Bounds
from streams.quality.intervals import normal_quantile, wilson_interval

__all__ = [
    "SQUARED_CV_OF_NORMAL_SQUARES",
    "difference_interval",
    "share_interval",
    "size_interval",
    "student_quantile",
]

WIDEST = 1.0 / 9.0
"""Of 2 / (9 * degrees of freedom): never wider than for a single exponential observation, below which the
approximation of the quantiles fails."""
SMALLEST_CUBE_ROOT = 0.05
"""Of a chi-squared quantile over its degrees of freedom, where the approximation would pass zero."""

SQUARED_CV_OF_NORMAL_SQUARES = 2.0
ANYWHERE = 1.0 / 12.0
"""Variance of what may be anything between 0 and 1."""
ROUNDING = 1e-9
"""A variance of shares that may be none."""


def size_interval(
    mean: float,
    mean_square: float,
    *,
    n: int,
    confidence_level: float,
    ignorance: float = 0.0,
    least_squared_cv: float = 0.0,
) -> Bounds:
    """Return the interval of a mean of sizes.

    Args:
        mean: of n sizes, not negative.
        mean_square: of the same sizes; only decides the width.
        n: at least 1.
        confidence_level: two-sided, e.g. 0.95.
        ignorance: the size that knowing nothing would have, if there is such a one.
        least_squared_cv: variance over squared mean that is assumed where less was seen; few observations
            see no outliers.

    Source: E. B. Wilson and M. M. Hilferty, PNAS 17 (1931), for the quantiles.

    >>> low, high = size_interval(1.0, 3.0, n=30, confidence_level=0.95)
    >>> round(low, 2), round(high, 2)
    (0.62, 1.85)
    """
    z = normal_quantile(confidence_level)
    if mean == 0.0:
        return 0.0, z * ignorance / n
    if not least_squared_cv:
        z = student_quantile(n - 1, confidence_level=confidence_level)
    # In units of the mean, so that sizes whose squares vanish have an interval too.
    squared_cv = max(mean_square / mean / mean - 1.0, least_squared_cv, 0.0)
    variance = (squared_cv + max(1.0, abs(ignorance / mean - 1.0)) ** 2 / n) / n
    part = min(WIDEST, variance / 9.0)
    above = 1.0 - part + z * math.sqrt(part)
    below = max(SMALLEST_CUBE_ROOT, 1.0 - part - z * math.sqrt(part))
    return min(mean, mean / above**3), mean * max(1.0, 1.0 / below**3, 1.0 + z * math.sqrt(variance))


def share_interval(mean: float, mean_square: float, *, n: int, confidence_level: float) -> Bounds:
    """Return the interval of a mean of shares, each in [0, 1].

    Args: as of `difference_interval`.

    >>> low, high = share_interval(0.5, 0.3, n=100, confidence_level=0.95)
    >>> round(low, 3), round(high, 3)
    (0.456, 0.544)
    """
    shrunk = (n * mean + 0.5) / (n + 1.0)
    spread = mean_square - mean * mean
    # Half a pseudo-observation is 0 or 1, as the mean would have it, or varies as if anywhere between. Where all shares
    # are equal, and would pass for certainty, a whole one does lie anywhere.
    unseen = max(shrunk * (1.0 - shrunk), ANYWHERE) / 2.0
    if spread <= ROUNDING:
        unseen = (mean - 0.5) ** 2 + ANYWHERE
    variance = max(0.0, spread) + unseen / n
    return wilson_interval(mean, n * shrunk * (1.0 - shrunk) / variance, confidence_level=confidence_level)


def difference_interval(mean: float, mean_square: float, *, n: int, confidence_level: float) -> Bounds:
    """Return the interval of a mean of differences.

    Args:
        mean: of n differences, of any sign.
        mean_square: of the same differences.
        n: at least 1.
        confidence_level: two-sided, e.g. 0.95.
    """
    variance = max(0.0, mean_square - mean * mean) + mean_square / n
    half = student_quantile(n - 1, confidence_level=confidence_level) * math.sqrt(variance / n)
    return mean - half, mean + half


def student_quantile(degrees_of_freedom: int, *, confidence_level: float) -> float:
    """Half-width of the central interval of Student's t, as a series around the normal one.

    Good to 1 % from 3 degrees of freedom at 95 %; too short below, where 1 is taken for 0.

    Source: Abramowitz and Stegun 26.7.5.
    """
    z = normal_quantile(confidence_level)
    nu = float(max(1, degrees_of_freedom))
    return (
        z
        + (z**3 + z) / (4.0 * nu)
        + (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / (96.0 * nu**2)
        + (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / (384.0 * nu**3)
    )
