"""What each metric of a report of kind `signals` is, and how it is called: `signal.NAME.p95`."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

__all__ = [
    "MOVED_ABOVE",
    "PSI",
    "QUANTILES",
    "QUARTILES",
    "SIGNAL_DEFINITIONS",
    "UNDEFINED_SHARE",
    "SignalDefinition",
    "figure_of",
    "metric_of",
    "names_signals",
    "range_of_figure",
    "signals_meant",
]

PREFIX = "signal."
UNDEFINED_SHARE = "undefined_share"
PSI = "psi"
MOVED_ABOVE = 0.25
"""Of `psi`, the rule of thumb of credit scoring for a distribution of which much has changed."""

QUANTILES: Mapping[str, int] = MappingProxyType(
    {"p01": 10, "p05": 50, "p25": 250, "p50": 500, "p75": 750, "p95": 950, "p99": 990}
)
"""In thousandths, so that ranks are whole numbers."""
QUARTILES = ("p25", "p50", "p75")


@dataclasses.dataclass(frozen=True, slots=True)
class SignalDefinition:
    """One figure of a signal, of a model of any task; `interval` names the method."""

    meaning: str
    interval: str


SIGNAL_DEFINITIONS: Mapping[str, SignalDefinition] = MappingProxyType(
    {
        **{
            name: SignalDefinition(
                f"Value that {thousandths / 10:g} % of the values did not exceed, within 0.8 %; of predictions with"
                " status `ok` that tell the signal.",
                "binomial ranks",
            )
            for name, thousandths in QUANTILES.items()
        },
        "mean": SignalDefinition("Mean of the same values, exact.", "Student's"),
        "std": SignalDefinition("Standard deviation of the same values.", "normal, of its logarithm"),
        UNDEFINED_SHARE: SignalDefinition(
            "Share of the answered predictions that do not tell the signal: missing, null or not finite.", "Wilson"
        ),
        PSI: SignalDefinition(
            "Population stability index against `signals.reference`, where the model has one: 0 where the values are"
            f" distributed alike, above {MOVED_ABOVE} where much has changed.",
            "noncentral chi-squared, or normal where that is wider",
        ),
    }
)
"""By what stands behind the name of the signal."""


def metric_of(signal: str, figure: str) -> str:
    """The name of a metric.

    >>> metric_of("margin", "p95")
    'signal.margin.p95'
    """
    return f"{PREFIX}{signal}.{figure}"


def figure_of(metric: str) -> str | None:
    """Which figure of a signal a metric is; None if it is none.

    >>> figure_of("signal.layer.3.norm.p95"), figure_of("signal.margin.p42"), figure_of("accuracy")
    ('p95', None, None)
    """
    head, _, figure = metric.rpartition(".")
    return figure if head.startswith(PREFIX) and head != PREFIX and figure in SIGNAL_DEFINITIONS else None


def names_signals(metric: str) -> bool:
    """Whether a metric is a figure of every signal whose name matches a pattern with `*`, `?` or `[…]`.

    >>> names_signals("signal.*.psi"), names_signals("signal.margin.psi")
    (True, False)
    """
    return figure_of(metric) is not None and bool(set(metric) & set("*?["))


def signals_meant(pattern: str, metrics: Iterable[str]) -> Sequence[str]:
    """The signals that such a metric is about, among the metrics of a report.

    >>> signals_meant("signal.*.psi", ["signal.margin.psi", "signal.margin.p95", "signal.layer.3.psi"])
    ['margin', 'layer.3']
    """
    wanted, figure = pattern[len(PREFIX) :].rpartition(".")[0], figure_of(pattern)
    told = (metric[len(PREFIX) :].rpartition(".")[0] for metric in metrics if figure_of(metric) == figure)
    return [name for name in told if fnmatch.fnmatchcase(name, wanted)]


def range_of_figure(figure: str) -> tuple[float, float]:
    """The smallest and largest value that a figure can have."""
    if figure == UNDEFINED_SHARE:
        return 0.0, 1.0
    return (0.0 if figure in ("std", PSI) else -math.inf), math.inf
