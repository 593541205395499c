"""What each metric of a report on stability is: in words, with which interval, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streams.monitored_model import Task
from streams.quality.definitions import GAMMA, WILSON, Better, Definition

__all__ = ["QUANTILES", "STABILITY_DEFINITIONS"]

QUANTILES: Mapping[str, int] = MappingProxyType(
    {
        "latency_p50_ms": 500,
        "latency_p90_ms": 900,
        "latency_p95_ms": 950,
        "latency_p99_ms": 990,
        "latency_p999_ms": 999,
    }
)
"""In thousandths, so that ranks are whole numbers."""

_ALL = tuple(Task)
_WITHIN = "within 1 %; of predictions with `latency_ms` and status `ok`"

STABILITY_DEFINITIONS: Mapping[str, Definition] = MappingProxyType(
    {
        **{
            name: Definition(
                f"Milliseconds that {thousandths / 10:g} % of the answers did not exceed, {_WITHIN}.",
                _ALL,
                "binomial ranks",
                Better.LESS,
            )
            for name, thousandths in QUANTILES.items()
        },
        "latency_mean_ms": Definition("Mean of the same latencies, exact.", _ALL, GAMMA, Better.LESS),
        "latency_max_ms": Definition("The longest of the same latencies, within 1 %.", _ALL, "its bucket", Better.LESS),
        "error_rate": Definition(
            "Share of all requests, answered or failed, whose status is `error`.", _ALL, WILSON, Better.LESS
        ),
        "timeout_rate": Definition("Share of all requests whose status is `timeout`.", _ALL, WILSON, Better.LESS),
        "throughput_per_second": Definition(
            "Requests a second over the length of the window, once it is over.", _ALL, "Poisson"
        ),
    }
)
"""By name."""
