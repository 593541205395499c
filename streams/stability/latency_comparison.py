"""How the latency of one version compares with that of another: their ratio, from what the reports of both say.

The interval of the ratio is made of both by their distances from the values, on the scale of logarithms (MOVER).
Each distance holds what a few latencies, and the width of a bucket, leave open.
"""

from __future__ import annotations

import dataclasses
import math

from schemas.window_report import Metric

__all__ = ["Ratio", "latency_ratio"]


@dataclasses.dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long; `low` and `high` are None where one of the two has no such limit."""

    value: float
    low: float | None
    high: float | None


def latency_ratio(latency: Metric, other: Metric) -> Ratio | None:
    """Return a latency divided by another; None if one of them is undefined or 0.

    Args:
        latency: one figure of `streams.stability.latency_figures`.
        other: the same figure of the other version, measured on other predictions.

    Source: G. Y. Zou and A. Donner, Statistics in Medicine 27 (2008).

    >>> one, other = (Metric(value=30.0, low=29.0, high=31.0, n=900), Metric(value=20.0, low=19.0, high=21.0, n=900))
    >>> ratio = latency_ratio(one, other)
    >>> round(ratio.value, 2), round(ratio.low, 2), round(ratio.high, 2)
    (1.5, 1.41, 1.59)
    """
    if not latency.value or not other.value:
        return None
    value = latency.value / other.value
    low = _moved(value, latency.value, latency.low, other.value, other.high, sign=-1)
    high = _moved(value, latency.value, latency.high, other.value, other.low, sign=1)
    return Ratio(value, low, high)


def _moved(
    ratio: float, value: float, limit: float | None, other_value: float, other_limit: float | None, *, sign: int
) -> float | None:
    if not limit or not other_limit:
        return None
    return ratio * math.exp(sign * math.hypot(math.log(limit / value), math.log(other_limit / other_value)))
