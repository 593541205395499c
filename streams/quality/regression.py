"""Figures of models that answer with a number, from the sums that `streams.pair_sums.contribution` adds up.

Defined as in scikit-learn, with error = prediction - label, so that a positive bias says too much; a
denominator of 0 is undefined, not a number. The sums are exact: values in any order, split and corrected, give
the same bits.

Intervals: `mae`, `mape` the gamma interval of a mean of sizes; `rmse`, `rmsle` the root of that of their
squares; `bias` Student's. `r2` is 1 - c with c = squared errors / squares of the labels around their mean;
log c has the variance that the delta method says from the fourth moments of both and their product.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from streams.pair_sums.exact_sum import totals
from streams.quality.figure import Figure, UndefinedReason
from streams.quality.mean_intervals import (
    SQUARED_CV_OF_NORMAL_SQUARES,
    difference_interval,
    size_interval,
    student_quantile,
)

__all__ = ["REGRESSION_METRICS", "regression_figures"]

REGRESSION_METRICS = ("mae", "rmse", "mape", "rmsle", "r2", "bias")

NORMAL_KURTOSIS = 3.0
UNSEEN_TAILS = 2 * NORMAL_KURTOSIS
"""Weight of the pseudo-observation of `r2`: the fourth moments of errors and labels, as if both were normal."""
SMALLEST_VARIANCE = Fraction(1, 10**200)
"""Labels that differ by less than about 1e-100 count as constant: their squares leave the range of doubles."""
FARTHEST_FOR_PRODUCT = 2**16
FARTHEST_FOR_KURTOSIS = 2**20
"""Squared mean over variance of the labels up to which their moments can be told from their rounding."""


def regression_figures(sums: Mapping[str, int], *, confidence_level: float) -> dict[str, Figure]:
    """Return every metric of `REGRESSION_METRICS`.

    Args:
        sums: fields of `regression_contribution`, added up over the labelled predictions.
        confidence_level: of the intervals, e.g. 0.95.
    """
    n = sums.get("n", 0)
    if not n:
        return dict.fromkeys(REGRESSION_METRICS, Figure.missing(UndefinedReason.NO_LABELLED))
    window = _Means(sums, n, confidence_level)
    return {
        "mae": window.mean_of_sizes(window["o"] + window["u"], window["q"]),
        "rmse": window.root_mean_square("q", "qr"),
        "mape": window.mean_of_sizes(window["a"], window["ar"])
        if not sums.get("z", 0)
        else Figure.missing(UndefinedReason.ZERO_LABELS, n=n),
        "rmsle": window.root_mean_square("s", "sr")
        if not sums.get("g", 0)
        else Figure.missing(UndefinedReason.NEGATIVE_VALUES, n=n),
        "r2": _r2(window),
        "bias": _bias(window),
    }


class _Means:
    """Exact means over the n pairs of a window, by the name of their sum."""

    def __init__(self, sums: Mapping[str, int], n: int, confidence_level: float) -> None:
        self._totals = totals(sums)
        self.n = n
        self.confidence_level = confidence_level

    def __getitem__(self, name: str) -> Fraction:
        return self._totals.get(name, Fraction(0)) / self.n

    def mean_of_sizes(self, mean: Fraction, mean_square: Fraction) -> Figure:
        value = float(mean)
        interval = size_interval(value, float(mean_square), n=self.n, confidence_level=self.confidence_level)
        return Figure.of(value, interval, n=self.n)

    def root_mean_square(self, squares: str, fourths: str) -> Figure:
        low, high = size_interval(
            float(self[squares]),
            float(self[fourths]),
            n=self.n,
            confidence_level=self.confidence_level,
            least_squared_cv=SQUARED_CV_OF_NORMAL_SQUARES,
        )
        value = math.sqrt(self[squares])
        return Figure.of(value, (min(value, math.sqrt(low)), max(value, math.sqrt(high))), n=self.n)


def _bias(window: _Means) -> Figure:
    bias = float(window["o"] - window["u"])
    interval = difference_interval(bias, float(window["q"]), n=window.n, confidence_level=window.confidence_level)
    return Figure.of(bias, interval, n=window.n)


def _r2(window: _Means) -> Figure:
    n, mean = window.n, window["y"]
    variance = window["yy"] - mean * mean
    if variance < SMALLEST_VARIANCE:
        return Figure.missing(UndefinedReason.CONSTANT_LABELS, n=n)
    unexplained = window["q"] / variance
    value = float(1 - unexplained)
    if not unexplained:
        return Figure.of(value, (value, value), n=n)
    # Pseudo-observations again, here for what few pairs do not see of the tails of both.
    deviation = math.sqrt((_relative_variance(window, mean, variance) + UNSEEN_TAILS / n) / n)
    half = student_quantile(n - 1, confidence_level=window.confidence_level) * deviation
    low, high = (1.0 - float(unexplained) * math.exp(side * half) for side in (1.0, -1.0))
    return Figure.of(value, (min(value, low), max(value, high)), n=n)


def _relative_variance(window: _Means, mean: Fraction, variance: Fraction) -> float:
    """Mean of (u - v)**2, u being the squared error and v the squared distance of the label, each over its mean."""
    squared_error = window["q"]
    offset = mean * mean / variance
    error_kurtosis = float(window["qr"] / squared_error**2)
    label_kurtosis = NORMAL_KURTOSIS
    if offset < FARTHEST_FOR_KURTOSIS:
        fourth = window["yyyy"] - 4 * mean * window["yyy"] + 6 * mean**2 * window["yy"] - 3 * mean**4
        label_kurtosis = max(1.0, float(fourth / variance**2))
    product = 1.0
    if offset < FARTHEST_FOR_PRODUCT:
        squares_of_both = window["qyy"] - 2 * mean * window["qy"] + mean**2 * squared_error
        product = float(squares_of_both / (squared_error * variance))
    return max(0.0, error_kurtosis + label_kurtosis - 2.0 * product)
