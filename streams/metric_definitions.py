"""The metrics of all reports: on quality, on stability, on resources, on the monitor itself, and on attribution."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streams.explanation.attribution_definitions import ATTRIBUTION_DEFINITIONS
from streams.monitored_model import Task
from streams.quality.definitions import DEFINITIONS, Better, Definition
from streams.stability.definitions import STABILITY_DEFINITIONS
from streams.stability.resource_figures import RESOURCE_DEFINITIONS
from streams.stability.system_figures import SYSTEM_DEFINITIONS

__all__ = ["METRIC_DEFINITIONS", "OBSERVED_METRICS"]

_MORE_IS_BETTER = frozenset(
    {"seconds_to_memory_limit", "records_taken_in", "partitions_owned", "commits", "conservation_checks"}
)

METRIC_DEFINITIONS: Mapping[str, Definition] = MappingProxyType(
    {
        **DEFINITIONS,
        **STABILITY_DEFINITIONS,
        **{
            name: Definition(
                each.meaning, tuple(Task), each.interval, Better.MORE if name in _MORE_IS_BETTER else Better.LESS
            )
            for name, each in RESOURCE_DEFINITIONS.items()
        },
        **{
            name: Definition(
                each.meaning,
                tuple(Task),
                "none: observed",
                Better.MORE if name in _MORE_IS_BETTER else Better.LESS,
            )
            for name, each in SYSTEM_DEFINITIONS.items()
        },
        **ATTRIBUTION_DEFINITIONS,
    }
)
"""By name; no two kinds of reports have a name in common."""

OBSERVED_METRICS: Mapping[str, str] = MappingProxyType(
    {**dict.fromkeys(RESOURCE_DEFINITIONS, "resources"), **dict.fromkeys(SYSTEM_DEFINITIONS, "system")}
)
"""Metrics that are observed and not of predictions, with the kind of their reports."""
