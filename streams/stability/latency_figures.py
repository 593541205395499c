"""How long answers take: quantiles, mean and maximum of counted latencies, each with what it may be off by.

- **Quantiles** are the smallest latency that at least this share of the answers does not exceed (NumPy's
  `inverted_cdf`), to within 1 %: `bracket` holds the limits of its bucket. Their interval lies between two of the
  latencies themselves, at the ranks between which a share of this size falls by the binomial distribution; it supposes
  nothing of how latencies are distributed. With few of them no rank is high enough: there is no upper end then.
- **Mean** is exact. Its interval is the gamma interval of `mean_intervals`; with tails as long as latencies can have
  it claims too much.
- **Maximum** is that of the latencies counted, to within 1 %. It says nothing of others: its interval is its bracket.

Missing labels change nothing here, so `possible` is the value itself.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np

from streams.quality.figure import Bounds, Figure, UndefinedReason
from streams.quality.mean_intervals import size_interval
from streams.quality.rank_limits import rank_limits
from streams.stability.definitions import QUANTILES
from streams.stability.latency_buckets import FIRSTS_MS, LASTS_MS, MIDDLES_MS, NS_PER_MS
from streams.stability.latency_sums import LatencyTotals

__all__ = ["latency_figures"]

_SHARES = tuple(thousandths / 1000 for thousandths in QUANTILES.values())
_SQUARES = np.square(MIDDLES_MS)


def latency_figures(totals: LatencyTotals, *, confidence_level: float) -> dict[str, Figure]:
    """The figures of all latencies of a slice and window, by the name of the metric.

    Args:
        totals: of the predictions that were answered.
        confidence_level: two-sided, e.g. 0.95.

    >>> words = bytes.fromhex("000000bbaee0") * 10
    >>> figure = latency_figures(LatencyTotals.of_words(words), confidence_level=0.95)["latency_p50_ms"]
    >>> figure.bracket, figure.high
    ((12.069843, 12.311238), 12.311238)
    """
    n = totals.n
    if not n:
        missing = Figure.missing(UndefinedReason.NO_LATENCIES)
        return dict.fromkeys((*QUANTILES, "latency_mean_ms", "latency_max_ms"), missing)
    buckets = np.flatnonzero(totals.counts)
    counts = totals.counts[buckets]
    figures = _quantile_figures(buckets.tolist(), np.cumsum(counts).tolist(), confidence_level=confidence_level)
    mean_ms = totals.total_ns / n / NS_PER_MS
    mean_square = float(counts @ _SQUARES[buckets]) / n
    interval = size_interval(mean_ms, mean_square, n=n, confidence_level=confidence_level)
    figures["latency_mean_ms"] = Figure.of(mean_ms, interval, n=n, possible=(mean_ms, mean_ms))
    bracket, largest_ms = _limits_ms(buckets[-1]), MIDDLES_MS[buckets[-1]]
    figures["latency_max_ms"] = Figure.of(largest_ms, bracket, n=n, possible=(largest_ms, largest_ms), bracket=bracket)
    return figures


def _quantile_figures(buckets: Sequence[int], seen: Sequence[int], *, confidence_level: float) -> dict[str, Figure]:
    """Of the buckets in use, of which `seen` tells how many latencies lie in each or below."""
    n = seen[-1]
    lowest, highest = rank_limits(n, _SHARES, confidence_level=confidence_level)
    figures = {}
    for (name, thousandths), low, high in zip(QUANTILES.items(), lowest, highest, strict=True):
        # The smallest rank that is at least this share of n.
        bucket = buckets[bisect.bisect_left(seen, -(-n * thousandths // 1000))]
        figures[name] = Figure(
            n=n,
            value=MIDDLES_MS[bucket],
            possible=(MIDDLES_MS[bucket], MIDDLES_MS[bucket]),
            low=FIRSTS_MS[buckets[bisect.bisect_left(seen, low)]] if low else 0.0,
            high=LASTS_MS[buckets[bisect.bisect_left(seen, high)]] if high <= n else None,
            bracket=_limits_ms(bucket),
        )
    return figures


def _limits_ms(bucket: int) -> Bounds:
    return FIRSTS_MS[bucket], LASTS_MS[bucket]
