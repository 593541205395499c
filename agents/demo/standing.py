"""What the reports say so far: the last revision of each, and how they came to it."""

from __future__ import annotations

import dataclasses

from schemas.signals_report import SignalsReport
from schemas.window_report import Metric, WindowReport
from streams.reports import Report

__all__ = ["EarlyFigures", "Standing"]


@dataclasses.dataclass(frozen=True, slots=True)
class EarlyFigures:
    """How the figures of days that were over, but not final, compare with the final ones.

    `reports` counts them; `possible` and `interval` count those whose range of that name held the final
    accuracy.
    """

    reports: int
    possible: int
    interval: int


class Standing:
    """Keeps the highest revision of each key, as any reader of the topic would.

    `days` holds, by window start, all that was published about the quality of all flights of a day, in order of
    revision; `signals` the last report on the signals of all flights of a day.
    """

    def __init__(self) -> None:
        self._last: dict[bytes, tuple[int, bytes]] = {}
        self.days: dict[str, list[WindowReport]] = {}
        self.signals: dict[str, SignalsReport] = {}
        self.revisions = 0

    def add(self, key: bytes, value: bytes, report: Report) -> bool:
        """Take in one record of the topic; false for an older revision, which changes nothing."""
        if key in self._last and report.revision < self._last[key][0]:
            return False
        self._last[key] = (report.revision, value)
        self.revisions += 1
        if isinstance(report, WindowReport) and not report.segment:
            self.days.setdefault(report.window.start, []).append(report)
        if isinstance(report, SignalsReport) and not report.segment:
            self.signals[report.window.start] = report
        return True

    @property
    def last_values(self) -> list[bytes]:
        """Return the last report of each key, as its bytes left Kafka."""
        return [value for _, value in self._last.values()]

    @property
    def final_days(self) -> int:
        """Return how many days have their final report."""
        return sum(history[-1].status == "final" for history in self.days.values())

    def early_figures(self) -> EarlyFigures:
        """Compare what was said about a day that was over with what it became."""
        reports = possible = interval = 0
        for history in self.days.values():
            final = history[-1].metrics["accuracy"].value
            if history[-1].status != "final" or final is None:
                continue
            for report in history:
                accuracy = report.metrics["accuracy"]
                if report.status != "provisional" or accuracy.value is None:
                    continue
                reports += 1
                possible += _holds(accuracy.possible, final)
                interval += _holds(_interval(accuracy), final)
        return EarlyFigures(reports, possible, interval)


def _interval(metric: Metric) -> tuple[float, float] | None:
    return None if metric.low is None or metric.high is None else (metric.low, metric.high)


def _holds(bounds: object, value: float) -> bool:
    return isinstance(bounds, tuple) and bounds[0] - 1e-12 <= value <= bounds[1] + 1e-12
