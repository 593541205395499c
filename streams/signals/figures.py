"""How the values of a signal are distributed: quantiles, mean, spread, and how many predictions do not tell any.

- **Quantiles** are the smallest value that at least this share of the values does not exceed (NumPy's
  `inverted_cdf`), to within 0.8 %: `bracket` holds the limits of its bucket. Their interval lies between two of the
  values themselves and supposes nothing of how they are distributed; with few of them it has no lower or upper end.
- **Mean** is exact, with Student's interval: like any, it knows nothing of tails that the values have not shown.
- **Standard deviation** is that of a sample (n - 1). Its interval is normal on the scale of logarithms, with a variance
  that follows from the fourth moment, so that values need not be normal.

Missing labels change nothing here, so `possible` is the value itself.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence

from streams.quality.figure import Figure, UndefinedReason
from streams.quality.intervals import normal_quantile, wilson_interval
from streams.quality.mean_intervals import student_quantile
from streams.quality.rank_limits import rank_limits
from streams.signals.buckets import bounds_of, middle_of
from streams.signals.definitions import QUANTILES, QUARTILES, UNDEFINED_SHARE
from streams.signals.sums import SignalTotals

__all__ = ["quartiles_of", "signal_figures"]

_SHARES = tuple(thousandths / 1000 for thousandths in QUANTILES.values())


def signal_figures(totals: SignalTotals, *, predictions: int, confidence_level: float) -> dict[str, Figure]:
    """The figures of one signal of a slice and window, by what stands behind its name.

    Args:
        totals: of the predictions that tell it.
        predictions: all that were answered.
        confidence_level: two-sided, e.g. 0.95.

    >>> import numpy as np
    >>> totals = SignalTotals.of_values(np.array([-1.0, 0.0, 1.0, 2.0], dtype=np.float32))
    >>> figures = signal_figures(totals, predictions=5, confidence_level=0.95)
    >>> figures["mean"].value, figures["undefined_share"].value, figures["p50"].value
    (0.5, 0.2, 0.0)
    """
    if not totals.counts:
        figures = dict.fromkeys((*QUANTILES, "mean", "std"), Figure.missing(UndefinedReason.NO_VALUES))
    else:
        figures = _quantile_figures(totals, confidence_level=confidence_level)
        figures["mean"] = _mean(totals, confidence_level=confidence_level)
        figures["std"] = _standard_deviation(totals, confidence_level=confidence_level)
    figures[UNDEFINED_SHARE] = _undefined_share(totals.n, predictions, confidence_level=confidence_level)
    return figures


def quartiles_of(counts: Mapping[int, int]) -> tuple[float, float, float]:
    """The three values below which a quarter, half and three quarters of some values lie, as `signal_figures` has them.

    Args:
        counts: of at least one value, by bucket.

    >>> quartiles_of({8128: 1, 0: 2})
    (0.0, 0.0, 1.0078)
    """
    ranked = _Ranked(counts)
    lower, median, upper = (middle_of(ranked.quantile(QUANTILES[name])) for name in QUARTILES)
    return lower, median, upper


class _Ranked:
    """Buckets in the order of their values, of which each rank has one."""

    def __init__(self, counts: Mapping[int, int]) -> None:
        self._buckets: Sequence[int] = sorted(counts)
        self._seen = list(itertools.accumulate(counts[bucket] for bucket in self._buckets))
        self.n = self._seen[-1]

    def at(self, rank: int) -> int:
        """The bucket of a rank from 1 to n."""
        return self._buckets[bisect.bisect_left(self._seen, rank)]

    def quantile(self, thousandths: int) -> int:
        """The bucket of the smallest rank that is at least this share of n."""
        return self.at(-(-self.n * thousandths // 1000))


def _quantile_figures(totals: SignalTotals, *, confidence_level: float) -> dict[str, Figure]:
    ranked = _Ranked(totals.counts)
    n = ranked.n
    lowest, highest = rank_limits(n, _SHARES, confidence_level=confidence_level)
    figures = {}
    for (name, thousandths), low, high in zip(QUANTILES.items(), lowest, highest, strict=True):
        bucket = ranked.quantile(thousandths)
        value = middle_of(bucket)
        figures[name] = Figure(
            n=n,
            value=value,
            possible=(value, value),
            low=bounds_of(ranked.at(low))[0] if low else None,
            high=bounds_of(ranked.at(high))[1] if high <= n else None,
            bracket=bounds_of(bucket),
        )
    return figures


def _mean(totals: SignalTotals, *, confidence_level: float) -> Figure:
    n, mean = totals.n, totals.mean
    if n == 1:
        return Figure(n=n, value=mean, possible=(mean, mean))
    half = student_quantile(n - 1, confidence_level=confidence_level) * math.sqrt(totals.variance / (n - 1))
    return Figure.of(mean, (mean - half, mean + half), n=n, possible=(mean, mean))


def _standard_deviation(totals: SignalTotals, *, confidence_level: float) -> Figure:
    n = totals.n
    if n == 1:
        return Figure.missing(UndefinedReason.SINGLE_VALUE, n=n)
    variance = totals.variance * n / (n - 1)
    spread = math.sqrt(variance)
    if not spread:
        return Figure.of(0.0, (0.0, 0.0), n=n, possible=(0.0, 0.0))
    # In units of the spread, so that no power of it is out of range.
    kurtosis = max(totals.standardised_moment(4), 1.0)
    half = normal_quantile(confidence_level) * math.sqrt((kurtosis - (n - 3) / (n - 1)) / n) / 2.0
    return Figure.of(spread, (spread * math.exp(-half), spread * math.exp(half)), n=n, possible=(spread, spread))


def _undefined_share(values: int, predictions: int, *, confidence_level: float) -> Figure:
    if not predictions:
        return Figure.missing(UndefinedReason.NO_REQUESTS)
    share = (predictions - values) / predictions
    interval = wilson_interval(share, predictions, confidence_level=confidence_level)
    return Figure.of(share, interval, n=predictions, possible=(share, share))
