"""Which figures a rule may name, and the values they can have."""

from __future__ import annotations

import math
from collections.abc import Collection

from streams.alerting.observation import CLASS_OVERLAP
from streams.monitored_model import Task
from streams.quality.definitions import DEFINITIONS

__all__ = ["known_metrics", "range_of", "tasks_of"]

_CORRELATIONS = frozenset({"mcc", "cohen_kappa"})
_LOSSES = frozenset({"log_loss", "mae", "rmse", "mape", "rmsle"})


def known_metrics() -> Collection[str]:
    """Every figure of every kind of report, and those that rules make of them."""
    return (*DEFINITIONS, CLASS_OVERLAP)


def tasks_of(metric: str) -> Collection[Task]:
    """The tasks whose reports have the figure."""
    if metric in DEFINITIONS:
        return DEFINITIONS[metric].tasks
    return (Task.BINARY, Task.MULTICLASS) if metric == CLASS_OVERLAP else tuple(Task)


def range_of(metric: str) -> tuple[float, float]:
    """The smallest and largest value that the figure can have.

    >>> range_of("accuracy"), range_of("mae")
    ((0.0, 1.0), (0.0, inf))
    """
    if metric in _LOSSES:
        return 0.0, math.inf
    if metric in _CORRELATIONS:
        return -1.0, 1.0
    if metric == "r2":
        return -math.inf, 1.0
    is_of_classes = metric in DEFINITIONS and Task.REGRESSION not in DEFINITIONS[metric].tasks
    return (0.0, 1.0) if is_of_classes or metric == CLASS_OVERLAP else (-math.inf, math.inf)
