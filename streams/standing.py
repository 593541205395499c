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
import json
from collections.abc import Iterable, Sequence

from schemas.window_report import Metric, WindowReport
from streams.quality.definitions import DEFINITIONS, Better
from streams.windows import WindowStatus

__all__ = ["Standing", "main_metric", "newest_keys", "standing_of", "worst_first"]

HALF = 0.5
OF_EVERYTHING = b",{},"
"""Stands in every key of a report about all predictions, and hardly in any other."""


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """A model version by its newest reports about all predictions.

    `judged` is the report it is judged by, `newest` that of its newest window. `has_lost_input` says whether one of
    them, or of the windows between, is incomplete.
    """

    judged: WindowReport
    newest: WindowReport
    has_lost_input: bool


def newest_keys(keys: Iterable[bytes], *, most: int, size_seconds: int | None = None) -> list[bytes]:
    """The keys of the newest windows of one size, those about all predictions alone, newest first.

    Args:
        keys: of all reports of one model version.
        most: how many windows.
        size_seconds: of the windows; None for the largest that is reported, which has the most labels.
    """
    windows: list[tuple[int, str, bytes]] = []
    for key in keys:
        if OF_EVERYTHING in key:
            kind, _, _, segment, seconds, start = json.loads(key)
            if kind == "quality" and not segment:
                windows.append((seconds, start, key))
    size = size_seconds or max((seconds for seconds, _, _ in windows), default=0)
    # Times of one form, whole seconds in UTC, are ordered as texts.
    of_size = sorted(((start, key) for seconds, start, key in windows if seconds == size), reverse=True)
    return [key for _, key in of_size[:most]]


def standing_of(reports: Sequence[WindowReport]) -> Standing:
    """How a version stands by its reports, newest window first; there is at least one."""
    labelled = [at for at, report in enumerate(reports) if report.labelled]
    settled = [at for at in labelled if (reports[at].coverage or 0) >= HALF]
    judged = next(iter(settled or labelled), 0)
    return Standing(
        judged=reports[judged],
        newest=reports[0],
        has_lost_input=any(WindowStatus(report.status) is WindowStatus.INCOMPLETE for report in reports[: judged + 1]),
    )


def main_metric(report: WindowReport, asked: str | None = None) -> str | None:
    """The metric that was asked for, else the first of the report: accuracy, or the mean absolute error.

    None if the report has no such metric.
    """
    if asked is not None:
        return asked if asked in report.metrics else None
    return next(iter(report.metrics), None)


def worst_first(standings: Iterable[Standing], *, metric: str | None = None) -> list[Standing]:
    """Order versions: lost input first, then by the main metric's better end, then those without a figure.

    Errors have no scale in common with accuracy, so versions whose main metric is an error come after the others.
    """
    return sorted(standings, key=lambda standing: _place(standing, metric))


def _place(standing: Standing, asked: str | None) -> tuple[bool, bool, bool, float, str, str]:
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
