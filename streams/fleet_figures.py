"""What a row of the fleet says beside its main figure: how that changed, and how memory does.

A change is called better or worse only where the two intervals do not meet; all else is within what sampling does. Of
the targets that serve a version, the one whose memory is in the worst way speaks for all.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from schemas.resource_report import Memory
from schemas.window_report import Metric
from streams.metric_definitions import METRIC_DEFINITIONS
from streams.quality.definitions import Better

__all__ = ["Change", "MemoryReport", "change_of", "worst_memory"]

_NO_LIMIT_BYTES = 2**64
_WORST_FIRST = ("suspected_leak", "step", "warming_up", "stable")


class Change(enum.StrEnum):
    """What a difference means."""

    BETTER = "better"
    WORSE = "worse"
    WITHIN = "within"
    """The intervals meet, or nothing says which way is better."""


class MemoryReport(Protocol):
    """What is read of a report on resources."""

    @property
    def segment(self) -> Mapping[str, str]: ...
    @property
    def memory(self) -> Memory | None: ...
    @property
    def metrics(self) -> Mapping[str, Metric]: ...


Report = TypeVar("Report", bound=MemoryReport)


def change_of(name: str, figure: Metric, *, low: float, high: float) -> Change:
    """What became of a metric against a figure that lies in `[low, high]`.

    >>> change_of("accuracy", Metric(0.62, 0.57, 0.67, 355), low=0.94, high=0.94)
    <Change.WORSE: 'worse'>
    >>> change_of("mae", Metric(3.0, 2.0, 4.0, 90), low=3.5, high=5.0)
    <Change.WITHIN: 'within'>
    """
    definition = METRIC_DEFINITIONS.get(name)
    if definition is None or figure.value is None:
        return Change.WITHIN
    now = (
        figure.value if figure.low is None else figure.low,
        figure.value if figure.high is None else figure.high,
    )
    before = (low, high)
    if definition.better is Better.NEAR_ZERO:
        now, before = _size(*now), _size(*before)
    if now[0] > before[1]:
        return Change.BETTER if definition.better is Better.MORE else Change.WORSE
    if now[1] < before[0]:
        return Change.WORSE if definition.better is Better.MORE else Change.BETTER
    return Change.WITHIN


def _size(low: float, high: float) -> tuple[float, float]:
    """The bounds of how far from 0 a value within bounds is."""
    return max(low, -high, 0.0), max(high, -low)


def worst_memory(reports: Iterable[Report]) -> Report | None:
    """The report on the target whose memory is in the worst way; None if none tells of memory.

    A suspected leak comes first, the one that is full the soonest before others; else what is nearest to its limit.
    """
    told = [report for report in reports if report.memory is not None]
    return min(told, key=_place, default=None)


def _place(report: MemoryReport) -> tuple[int, float, float, str]:
    memory = report.memory
    assert memory is not None
    until_full = report.metrics.get("seconds_to_memory_limit")
    seconds = None if until_full is None else until_full.value
    used = memory.bytes or 0
    return (
        _WORST_FIRST.index(memory.state),
        float("inf") if seconds is None else seconds,
        -used / (memory.limit_bytes or _NO_LIMIT_BYTES),
        report.segment.get("target", ""),
    )
