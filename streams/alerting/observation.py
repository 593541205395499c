"""What a report says about a rule: the figure, the trials behind it, and how far it can still move.

Reports of every kind have the same head and the same `metrics`, so a rule may name any figure of any kind. Figures that
only rules ask for are made here: `class_overlap` from the confusion matrix, `label_arrival` from the coverage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from schemas.times import parse_time_ms
from schemas.window_report import Confusion, CoverageExpected, Metric, Window
from streams.alerting.rules import Series
from streams.signals.definitions import UNDEFINED_SHARE, figure_of
from streams.windows import WindowStatus

__all__ = ["CLASS_OVERLAP", "LABEL_ARRIVAL", "JudgedReport", "Observation", "Trials", "observe", "read_report"]

CLASS_OVERLAP = "class_overlap"
"""Share of the classes of labels and predictions that both have; 0 when the two do not speak of the same things."""
LABEL_ARRIVAL = "label_arrival"
"""Coverage by what past windows had at this age; near 0 when labels have stopped. Undefined while few are due yet."""
_LEAST_DUE = 0.05

_SHARES = frozenset(
    {
        "accuracy", "precision", "recall", "specificity", "precision_micro", "recall_micro", "f1_micro",
        "recall_weighted", "error_rate", "timeout_rate",
    }
)  # fmt: skip
"""Figures that are successes by `n`."""


class JudgedReport(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a report of any kind that rules look at."""

    kind: str
    model: str
    model_version: str
    segment: dict[str, str]
    window: Window
    status: str
    revision: int
    metrics: dict[str, Metric]
    undefined: dict[str, str] = {}
    predictions: int | None = None
    labelled: int | None = None
    coverage: float | None = None
    coverage_expected: CoverageExpected | None = None
    confusion: Confusion | None = None

    @property
    def series(self) -> Series:
        """The windows that this one is one of."""
        return Series(
            self.model, self.model_version, tuple(sorted(self.segment.items())), self.window.size_seconds * 1000
        )


read_report = msgspec.json.Decoder(JudgedReport).decode
"""The report in a record's value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trials:
    """Successes among `n` trials, and `share_of` turns a limit of the figure into one of their share.

    `possible_share` are the smallest and largest share that missing labels leave possible; None if unknown.
    """

    successes: int
    n: int
    possible_share: tuple[float, float] | None = None
    is_f1: bool = False

    def share_of(self, figure: float) -> float:
        """The share of successes at which the figure has this value."""
        return _jaccard(figure) if self.is_f1 else figure

    def if_missing_were(self, *, right: bool) -> tuple[int, int] | None:
        """Successes and trials if every missing label turned out right, or wrong; None if that is not known.

        What has gone wrong stays wrong: `1 - high = failures / trials`.
        """
        if self.possible_share is None:
            return None
        low, high = self.possible_share
        failures = self.n - self.successes
        if right:
            trials = round(failures / (1.0 - high)) if failures and high < 1.0 else self.n
            return trials - failures, trials
        trials = round(self.successes / low) if self.successes and low > 0.0 else self.n
        return self.successes, trials


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one revision of one window says about one figure.

    `value`, `low` and `high` are None while it is undefined, and `undefined` says why. `coverage` and
    `expected_coverage` (in the end, by past windows) are None for figures that need no labels.
    """

    start_ms: int
    end_ms: int
    status: WindowStatus
    revision: int
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    undefined: str | None = None
    trials: Trials | None = None
    possible: tuple[float, float] | None = None
    coverage: float | None = None
    expected_coverage: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing that is read from now on can change it."""
        return self.status is WindowStatus.FINAL


def observe(report: JudgedReport, metric: str) -> Observation | None:
    """What a report says about a metric; None if it has no such metric."""
    made = _MADE.get(metric)
    figure = report.metrics.get(metric) if made is None else made(report)
    if figure is None:
        return None
    expected = report.coverage_expected
    return Observation(
        start_ms=parse_time_ms(report.window.start),
        end_ms=parse_time_ms(report.window.end),
        status=WindowStatus(report.status),
        revision=report.revision,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        n=figure.n,
        undefined=report.undefined.get(metric),
        trials=_trials(metric, figure, report.metrics),
        possible=_given(figure.possible),
        coverage=None if metric in _NEED_NO_LABELS else report.coverage,
        expected_coverage=None if expected is None else expected.final,
    )


def _trials(metric: str, figure: Metric, metrics: Mapping[str, Metric]) -> Trials | None:
    if figure.value is None:
        return None
    if metric in _SHARES or figure_of(metric) == UNDEFINED_SHARE:
        return Trials(round(figure.value * figure.n), figure.n, _given(figure.possible))
    if metric == "f1":
        return _f1_trials(figure, metrics)
    return None


def _f1_trials(figure: Metric, metrics: Mapping[str, Metric]) -> Trials | None:
    """F1 = 2j / (1 + j) of the share j = TP / (TP + FP + FN)."""
    recall, precision = metrics.get("recall"), metrics.get("precision")
    if recall is None or precision is None or figure.value is None:
        return None
    found = round((recall.value or 0.0) * recall.n)
    possible = _given(figure.possible)
    return Trials(
        found,
        recall.n + precision.n - found,
        None if possible is None else (_jaccard(possible[0]), _jaccard(possible[1])),
        is_f1=True,
    )


def _jaccard(f1: float) -> float:
    return f1 / (2.0 - f1)


def _class_overlap(report: JudgedReport) -> Metric | None:
    confusion = report.confusion
    if confusion is None:
        return None
    labels = {at for at, row in enumerate(confusion.counts) if any(row)}
    predictions = {at for at in range(len(confusion.classes)) if any(row[at] for row in confusion.counts)}
    n = sum(map(sum, confusion.counts))
    if not n:
        return Metric(value=None, low=None, high=None, n=0)
    share = len(labels & predictions) / len(labels | predictions)
    return Metric(value=share, low=share, high=share, n=n)


def _label_arrival(report: JudgedReport) -> Metric | None:
    expected = report.coverage_expected
    if report.coverage is None or expected is None or report.predictions is None:
        return None
    due = expected.final if report.status == WindowStatus.FINAL else expected.now
    share = report.coverage / due if due >= _LEAST_DUE else None
    return Metric(value=share, low=share, high=share, n=report.predictions)


_MADE: Mapping[str, Callable[[JudgedReport], Metric | None]] = {
    CLASS_OVERLAP: _class_overlap,
    LABEL_ARRIVAL: _label_arrival,
}
_NEED_NO_LABELS = frozenset({LABEL_ARRIVAL})


def _given(bounds: Any) -> tuple[float, float] | None:
    return bounds if isinstance(bounds, tuple) else None
