"""How a model serves: requests a second, the shares of them that failed, and how long the answers took.

Requests are all predictions that were counted, answered or not. A rate is defined while there is any request; the
throughput once the window is over and nothing of it was lost, because until then its length says nothing about how
many there will be. The interval of the throughput is Garwood's of a Poisson count: as if requests came independently
of each other.

Missing labels change nothing here, so `possible` is the value itself.
"""

from __future__ import annotations

from scipy import special

from streams.quality.figure import Bounds, Figure, UndefinedReason
from streams.quality.intervals import wilson_interval
from streams.stability.latency_figures import latency_figures
from streams.stability.latency_sums import LatencyTotals

__all__ = ["service_figures"]


def service_figures(
    totals: LatencyTotals,
    *,
    answered: int,
    failed: int,
    window_seconds: float,
    unknown: UndefinedReason | None,
    confidence_level: float,
) -> dict[str, Figure]:
    """The figures of a slice and window, by the name of the metric.

    Args:
        totals: latencies of the answered, and how many of the failed timed out.
        answered: predictions whose status is `ok`.
        failed: the others.
        window_seconds: length of the window.
        unknown: why the number of requests is not known yet, or never will be; None if it is.
        confidence_level: two-sided, e.g. 0.95.

    >>> figures = service_figures(LatencyTotals.none(), answered=297, failed=3, window_seconds=300.0, unknown=None,
    ...                           confidence_level=0.95)
    >>> figures["error_rate"].value, figures["throughput_per_second"].value
    (0.01, 1.0)
    """
    requests = answered + failed
    figures = latency_figures(totals, confidence_level=confidence_level)
    figures["error_rate"] = _rate(failed - totals.timed_out, requests, confidence_level)
    figures["timeout_rate"] = _rate(totals.timed_out, requests, confidence_level)
    figures["throughput_per_second"] = (
        Figure.missing(unknown, n=requests) if unknown else _throughput(requests, window_seconds, confidence_level)
    )
    return figures


def _rate(count: int, requests: int, confidence_level: float) -> Figure:
    if not requests:
        return Figure.missing(UndefinedReason.NO_REQUESTS)
    share = count / requests
    interval = wilson_interval(share, requests, confidence_level=confidence_level)
    return Figure.of(share, interval, n=requests, possible=(share, share))


def _throughput(requests: int, seconds: float, confidence_level: float) -> Figure:
    low, high = _poisson_limits(requests, confidence_level=confidence_level)
    rate = requests / seconds
    return Figure.of(rate, (low / seconds, high / seconds), n=requests, possible=(rate, rate))


def _poisson_limits(count: int, *, confidence_level: float) -> Bounds:
    """Source: F. Garwood, Biometrika 28 (1936)."""
    tail = (1.0 - confidence_level) / 2.0
    low = float(special.gammaincinv(count, tail)) if count else 0.0
    return low, float(special.gammaincinv(count + 1, 1.0 - tail))
