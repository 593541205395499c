"""Which figures a rule may name, and the values they can have."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from streams.alerting.observation import CLASS_OVERLAP, LABEL_ARRIVAL
from streams.alerting.silence import TRAFFIC_SILENCE
from streams.explanation.attribution_definitions import ATTRIBUTION_DEFINITIONS, RANK_CORRELATION
from streams.metric_definitions import METRIC_DEFINITIONS, OBSERVED_METRICS
from streams.monitored_model import Task
from streams.quality.definitions import DEFINITIONS
from streams.signals.definitions import figure_of, range_of_figure
from streams.stability.definitions import STABILITY_DEFINITIONS

__all__ = ["RULE_METRICS", "is_metric", "known_metrics", "range_of", "tasks_of"]

RULE_METRICS: Mapping[str, str] = {
    CLASS_OVERLAP: "Share of the classes of labels and predictions that both have: 0 when they mean different things.",
    LABEL_ARRIVAL: "Labels that came, by what past windows had at this age: near 0 when labels have stopped.",
    TRAFFIC_SILENCE: "Time without a new window, by the longest usual time between two: 5 is far too long. Wall time.",
}
"""Figures that no report has, with what they are."""

_CORRELATIONS = frozenset({"mcc", "cohen_kappa", RANK_CORRELATION})
_SHARES_OF_REQUESTS = frozenset({"error_rate", "timeout_rate"})
_SIGNED = frozenset({"memory_growth_bytes_per_hour", "gpu_temperature_celsius"})
_LOSSES = frozenset({"log_loss", "mae", "rmse", "mape", "rmsle"})


def known_metrics() -> Collection[str]:
    """Every figure that has one name, of every kind of report, and those that only rules have."""
    return (*METRIC_DEFINITIONS, *RULE_METRICS)


def is_metric(name: str) -> bool:
    """Whether a rule may name it.

    >>> is_metric("accuracy"), is_metric("signal.margin.p95"), is_metric("signal.margin")
    (True, True, False)
    """
    return name in known_metrics() or figure_of(name) is not None


def tasks_of(metric: str) -> Collection[Task]:
    """The tasks whose reports have the figure."""
    if metric in METRIC_DEFINITIONS:
        return METRIC_DEFINITIONS[metric].tasks
    return (Task.BINARY, Task.MULTICLASS) if metric == CLASS_OVERLAP else tuple(Task)


def range_of(metric: str) -> tuple[float, float]:
    """The smallest and largest value that the figure can have.

    >>> range_of("accuracy"), range_of("mae"), range_of("latency_p99_ms")
    ((0.0, 1.0), (0.0, inf), (0.0, inf))
    """
    if figure := figure_of(metric):
        return range_of_figure(figure)
    if metric in _SHARES_OF_REQUESTS:
        return 0.0, 1.0
    if metric in _SIGNED:
        return -math.inf, math.inf
    if metric in _LOSSES or metric in STABILITY_DEFINITIONS or metric in OBSERVED_METRICS:
        return 0.0, math.inf
    if metric in _CORRELATIONS:
        return -1.0, 1.0
    if metric in ATTRIBUTION_DEFINITIONS:
        return 0.0, 1.0
    if metric == "r2":
        return -math.inf, 1.0
    is_of_classes = metric in DEFINITIONS and Task.REGRESSION not in DEFINITIONS[metric].tasks
    return (0.0, 1.0) if is_of_classes or metric == CLASS_OVERLAP else (-math.inf, math.inf)
