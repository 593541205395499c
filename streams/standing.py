"""How a model version stands: which of its windows it is judged by, and which version is worst.

A window that has just begun says little, and one of long ago little about now. So a version is judged by the newest
window of which at least half of the predictions have labels; if there is none, by the newest with any label; else by
the newest. Versions are ordered by what is certain of them: the interval's better end, so that a figure of few labels
does not make a version the worst.

    newest ──> 12:00  4 % labelled    11:00  71 % labelled    10:00  98 % labelled
                                      └── judged
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from schemas.times import parse_time_ms
from schemas.window_report import Metric, Window
from streams.quality.definitions import DEFINITIONS, Better
from streams.windows import WindowStatus

__all__ = [
    "SILENT_WINDOWS",
    "JudgedReport",
    "Standing",
    "State",
    "is_settled",
    "main_metric",
    "standing_of",
    "state_of",
    "worst_first",
    "worst_segments_first",
]

HALF = 0.5
SILENT_WINDOWS = 5
"""A version whose newest report is older than so many of its windows has fallen silent: while predictions come, each
window is reported at least once."""


class JudgedReport(Protocol):
    """What a version is judged by, of any report about its quality."""

    @property
    def model(self) -> str: ...
    @property
    def model_version(self) -> str: ...
    @property
    def segment(self) -> Mapping[str, str]: ...
    @property
    def window(self) -> Window: ...
    @property
    def status(self) -> str: ...
    @property
    def labelled(self) -> int: ...
    @property
    def coverage(self) -> float | None: ...
    @property
    def metrics(self) -> Mapping[str, Metric]: ...
    @property
    def produced_at(self) -> str: ...


Report = TypeVar("Report", bound=JudgedReport)


class State(enum.StrEnum):
    """How a version is, in one word; worst first."""

    FIRING = "firing"
    """An alert fires."""
    WARNING = "warning"
    """Input was lost, or an alert is pending."""
    NO_DATA = "no_data"
    """It has fallen silent."""
    LABELS_PENDING = "labels_pending"
    """No window has half of its labels yet."""
    OK = "ok"


@dataclasses.dataclass(frozen=True, slots=True)
class Standing(Generic[Report]):
    """A model version by its newest reports about all predictions.

    `judged` is the report it is judged by, `newest` that of its newest window. `has_lost_input` says whether one of
    them, or of the windows between, is incomplete.
    """

    judged: Report
    newest: Report
    has_lost_input: bool

    @property
    def subject(self) -> tuple[str, str]:
        """Model and version."""
        return self.judged.model, self.judged.model_version


def is_settled(report: JudgedReport) -> bool:
    """Whether at least half of its predictions have labels."""
    return (report.coverage or 0) >= HALF


def standing_of(reports: Sequence[Report]) -> Standing[Report]:
    """How a version stands by its reports, newest window first; there is at least one."""
    labelled = [at for at, report in enumerate(reports) if report.labelled]
    settled = [at for at in labelled if is_settled(reports[at])]
    judged = next(iter(settled or labelled), 0)
    return Standing(
        judged=reports[judged],
        newest=reports[0],
        has_lost_input=any(WindowStatus(report.status) is WindowStatus.INCOMPLETE for report in reports[: judged + 1]),
    )


def state_of(standing: Standing[Report], *, now_ms: int, fires: bool = False, is_pending: bool = False) -> State:
    """The version's state in one word.

    Args:
        now_ms: wall time.
        fires: whether one of its alerts fires.
        is_pending: whether one of its alerts is about to.
    """
    if fires:
        return State.FIRING
    if is_pending or standing.has_lost_input:
        return State.WARNING
    newest = standing.newest
    if now_ms - parse_time_ms(newest.produced_at) > SILENT_WINDOWS * newest.window.size_seconds * 1000:
        return State.NO_DATA
    return State.OK if is_settled(standing.judged) else State.LABELS_PENDING


def main_metric(report: JudgedReport, asked: str | None = None) -> str | None:
    """The metric that was asked for, else the first of the report: accuracy, or the mean absolute error.

    None if the report has no such metric.
    """
    if asked is not None:
        return asked if asked in report.metrics else None
    return next(iter(report.metrics), None)


def worst_first(standings: Iterable[Standing[Report]], *, metric: str | None = None) -> list[Standing[Report]]:
    """Order versions: lost input first, then by the main metric's better end, then those without a figure.

    Errors have no scale in common with accuracy, so versions whose main metric is an error come after the others.
    """
    return sorted(standings, key=lambda standing: _place(standing, metric))


def worst_segments_first(reports: Iterable[Report], metric: str) -> list[Report]:
    """Order the reports on the segments of one window by the metric's better end, then those without a figure."""

    def place(report: Report) -> tuple[bool, float, list[tuple[str, str]]]:
        figure = report.metrics.get(metric)
        best = None if figure is None else _best_case(metric, figure)
        return best is None, 0.0 if best is None else best, sorted(report.segment.items())

    return sorted(reports, key=place)


def _place(standing: Standing[Report], asked: str | None) -> tuple[bool, bool, bool, float, str, str]:
    report = standing.judged
    name = main_metric(report, asked)
    figure = None if name is None else report.metrics[name]
    best = None if name is None or figure is None else _best_case(name, figure)
    return (
        not standing.has_lost_input,
        best is None,
        _better(name) is not Better.MORE,
        0.0 if best is None else best,
        report.model,
        report.model_version,
    )


def _best_case(name: str, figure: Metric) -> float | None:
    """The better end of the interval, more being better; None if the figure is undefined."""
    if figure.value is None or figure.low is None or figure.high is None:
        return None
    match _better(name):
        case Better.LESS:
            return -figure.low
        case Better.NEAR_ZERO:
            return -max(figure.low, -figure.high, 0.0)
        case Better.MORE:
            return figure.high


def _better(name: str | None) -> Better:
    definition = DEFINITIONS.get(name or "")
    return definition.better if definition else Better.MORE
