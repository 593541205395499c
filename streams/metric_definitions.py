"""The metrics of all reports that are made from the counts of windows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streams.quality.definitions import DEFINITIONS, Definition
from streams.stability.definitions import STABILITY_DEFINITIONS

__all__ = ["METRIC_DEFINITIONS"]

METRIC_DEFINITIONS: Mapping[str, Definition] = MappingProxyType({**DEFINITIONS, **STABILITY_DEFINITIONS})
"""By name; no two kinds of reports have a name in common."""
