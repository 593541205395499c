"""How long a model, or what is observed, has been silent, by its own measure: the longest time that usually passes
between two windows.

Silence is about wall time, which is the only time that goes on when nothing comes. It begins when the newest window was
first seen, or when somebody began to look.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streams.alerting.rules import Series
from streams.metric_definitions import OBSERVED_METRICS

__all__ = [
    "KEPT_STARTS",
    "OBSERVED_KINDS",
    "PULSE_KIND",
    "SILENT_AFTER",
    "TRAFFIC_SILENCE",
    "Pulse",
    "PulsePlace",
    "place_of_report",
    "place_of_series",
]

TRAFFIC_SILENCE = "traffic_silence"
SILENT_AFTER = 5.0
"""Longest usual gaps without a window, after which nothing is known of a model."""
KEPT_STARTS = 50
PULSE_KIND = "quality"
"""Of the reports whose windows tell whether a model is silent: those about its predictions."""
OBSERVED_KINDS = frozenset({"resources", "system"})
"""Of the reports whose segments, targets and workers, come and go by themselves: each has a pulse of its own."""


class PulsePlace(NamedTuple):
    """Whose windows they are: those of a model, or of one segment that is observed."""

    kind: str
    window_ms: int
    segment: tuple[tuple[str, str], ...]


def place_of_report(kind: str, window_ms: int, segment: Mapping[str, str]) -> PulsePlace | None:
    """Whose pulse a report is a beat of; None if of none."""
    if kind in OBSERVED_KINDS or (kind == PULSE_KIND and not segment):
        return PulsePlace(kind, window_ms, tuple(sorted(segment.items())))
    return None


def place_of_series(metric: str, series: Series) -> PulsePlace:
    """Whose silence makes the alert of a rule on a figure stale."""
    kind = OBSERVED_METRICS.get(metric, PULSE_KIND)
    return PulsePlace(kind, series.window_ms, series.segment if kind in OBSERVED_KINDS else ())


@dataclasses.dataclass(frozen=True, slots=True)
class Pulse:
    """The starts of the newest windows of one size, ascending, and when the newest was first seen (wall time)."""

    window_ms: int
    starts_ms: tuple[int, ...]
    seen_ms: int

    def after(self, starts_ms: Iterable[int], *, now_ms: int) -> Pulse:
        """The pulse with more windows."""
        every = tuple(sorted({*self.starts_ms, *starts_ms}))[-KEPT_STARTS:]
        is_news = bool(every) and every[-1] != (self.starts_ms[-1] if self.starts_ms else None)
        return Pulse(self.window_ms, every, now_ms if is_news else self.seen_ms)

    @property
    def longest_gap_ms(self) -> int:
        """The longest usual time between the starts of two windows; at least a window's size."""
        gaps = (later - earlier for earlier, later in zip(self.starts_ms, self.starts_ms[1:], strict=False))
        return max(self.window_ms, max(gaps, default=0))

    def silence(self, now_ms: int) -> float | None:
        """Time since the newest window was seen, in longest usual gaps; None before there are windows.

        >>> Pulse(60_000, (0, 60_000, 180_000), 1_000_000).silence(1_240_000)
        2.0
        """
        return (now_ms - self.seen_ms) / self.longest_gap_ms if self.starts_ms else None
