"""From the counts of one slice and window to its report, and from report to revision.

A report is a function of counts, settings and watermark alone, so whoever computes it gets the same bytes,
in whatever order the counts came together. What differs from one publication to the next is added last, by
`revise`, and only if the content is news.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from schemas.signals_report import SignalsReport
from schemas.stability_report import StabilityReport
from schemas.times import format_time
from schemas.window_report import (
    ClassFigures,
    Confusion,
    CoverageExpected,
    LabelDelay,
    Metric,
    Window,
    WindowReport,
    event_id,
    report_key,
)
from streams.monitored_model import MonitoredModel, Task
from streams.pair_sums.delay import delay_quantiles_ms
from streams.quality.classification import binary_figures, multiclass_figures, per_class_figures
from streams.quality.confusion import Cell, ConfusionMatrix
from streams.quality.figure import Figure
from streams.quality.multilabel import multilabel_class_figures, multilabel_figures
from streams.quality.ranking import ranking_figures
from streams.quality.regression import regression_figures
from streams.quality.scores import binary_score_figures, multiclass_score_figures
from streams.signals.sums import SignalTotals
from streams.windows import is_settled, window_status

__all__ = [
    "SECOND_MS",
    "Report",
    "ReportKey",
    "SliceCounts",
    "metrics_of",
    "revise",
    "undefined_of",
    "window_report",
]

Report: TypeAlias = WindowReport | StabilityReport | SignalsReport
"""Of any kind that is made from the counts of a window."""

SECOND_MS = 1000
DELAY_QUANTILES = (0.5, 0.9, 0.99)


@dataclasses.dataclass(frozen=True, slots=True)
class SliceCounts:
    """What was counted for one slice and window; parts add up.

    `cells` counts predictions by (label, prediction), label None for those that have none; `failed` ones
    are not among them. `sums` are the fields of `streams.pair_sums.contribution` that the labelled ones add
    up to, none for a binary or multiclass model without scores. `delays` counts the labelled ones by the buckets
    of `streams.pair_sums.delay`. `latencies` are sums of `streams.stability.latency_sums`, `signals` what
    `streams.signals.sums` says of each signal, by name.
    """

    cells: Mapping[Cell, int]
    failed: int = 0
    sums: Mapping[str, int] = dataclasses.field(default_factory=dict)
    delays: Mapping[int, int] = dataclasses.field(default_factory=dict)
    latencies: Mapping[str, int] = dataclasses.field(default_factory=dict)
    signals: Mapping[str, SignalTotals] = dataclasses.field(default_factory=dict)

    def __add__(self, other: SliceCounts) -> SliceCounts:
        # Sums of values may be negative, which `Counter.__add__` would drop.
        sums = Counter(self.sums)
        sums.update(other.sums)
        cells = Counter(self.cells) + Counter(other.cells)
        delays = Counter(self.delays) + Counter(other.delays)
        latencies = Counter(self.latencies) + Counter(other.latencies)
        signals = {
            name: self.signals.get(name, SignalTotals()) + other.signals.get(name, SignalTotals())
            for name in {**self.signals, **other.signals}
        }
        return SliceCounts(cells, self.failed + other.failed, sums, delays, latencies, signals)

    @property
    def predictions(self) -> int:
        """How many predictions were answered."""
        return sum(self.cells.values())

    @property
    def labelled(self) -> int:
        """How many of them have a label."""
        return sum(count for (label, _), count in self.cells.items() if label is not None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReportKey:
    """What a report is about. Window times are in milliseconds, the size a whole number of seconds."""

    kind: Literal["quality", "stability", "signals"] = "quality"
    model: str
    model_version: str
    segment: Mapping[str, str] = dataclasses.field(hash=False)
    window_start_ms: int
    window_size_ms: int

    @property
    def window_end_ms(self) -> int:
        """First millisecond after the window."""
        return self.window_start_ms + self.window_size_ms

    def encode(self) -> bytes:
        """Return the Kafka key: equal for every revision, different for every other report."""
        return report_key(
            kind=self.kind,
            model=self.model,
            model_version=self.model_version,
            segment=self.segment,
            window_seconds=self.window_size_ms // SECOND_MS,
            window_start_ms=self.window_start_ms,
        )


def window_report(
    key: ReportKey,
    counts: SliceCounts,
    model: MonitoredModel,
    *,
    watermark_ms: int | None,
    confidence_level: float,
    config_hash: str,
    coverage_expected: CoverageExpected | None = None,
    missing: Collection[str] = (),
) -> WindowReport:
    """Return the content of the report: revision 0, without event id and time of production.

    Args:
        key: slice and window.
        counts: of that slice, over the whole window.
        model: decides the metrics, and how long labels are due.
        watermark_ms: smallest over all input partitions, None while unknown.
        confidence_level: of the intervals, e.g. 0.95.
        config_hash: names the settings that the figures depend on.
        coverage_expected: what past windows had.
        missing: what input was lost, one phrase each; makes the report `incomplete`.
    """
    end_ms, horizon_ms = key.window_end_ms, model.label_horizon_ms
    status = window_status(end_ms=end_ms, horizon_ms=horizon_ms, watermark_ms=watermark_ms, missing=missing)
    settled = is_settled(end_ms=end_ms, horizon_ms=horizon_ms, watermark_ms=watermark_ms)
    predictions, labelled = counts.predictions, counts.labelled
    confusion, per_class, figures = _quality(counts, model, confidence_level=confidence_level)
    return WindowReport(
        model=key.model,
        model_version=key.model_version,
        segment=dict(sorted(key.segment.items())),
        window=Window.of(key.window_start_ms, key.window_size_ms),
        status=status.value,
        missing=tuple(sorted(set(missing))) or UNSET,
        revision=0,
        event_id="",
        predictions=predictions,
        failed=counts.failed,
        labelled=labelled,
        never_labelled=predictions - labelled if settled else 0,
        coverage=labelled / predictions if predictions else None,
        coverage_expected=coverage_expected,
        label_delay_seconds=_label_delay(counts.delays),
        confusion=confusion,
        at_k=model.at_k if model.task is Task.RANKING else UNSET,
        metrics=metrics_of(figures),
        undefined=undefined_of(figures),
        per_class=per_class,
        config_hash=config_hash,
        produced_at="",
    )


def _label_delay(delays: Mapping[int, int]) -> LabelDelay | None:
    found = delay_quantiles_ms(delays, DELAY_QUANTILES)
    return LabelDelay(*(round(delay_ms / SECOND_MS, 3) for delay_ms in found)) if found else None


def _quality(
    counts: SliceCounts, model: MonitoredModel, *, confidence_level: float
) -> tuple[Confusion | None, dict[str, ClassFigures] | UnsetType, dict[str, Figure]]:
    """The matrix, the figures per class and the figures that the model's task has."""
    if model.task is Task.REGRESSION:
        # Its cells say how many predictions have a label, not what either was.
        return None, UNSET, regression_figures(counts.sums, confidence_level=confidence_level)
    if model.task is Task.RANKING:
        return None, UNSET, ranking_figures(counts.sums, at_k=model.at_k, confidence_level=confidence_level)
    if model.task is Task.MULTILABEL:
        figures = multilabel_figures(
            counts.sums,
            class_names=model.class_names,
            unlabelled=counts.predictions - counts.labelled,
            confidence_level=confidence_level,
        )
        return None, multilabel_class_figures(counts.sums), figures
    matrix = ConfusionMatrix.from_cells(counts.cells)
    if model.task is Task.BINARY:
        figures = binary_figures(
            matrix, positive_class=model.positive_class, confidence_level=confidence_level, beta=model.beta
        ) | binary_score_figures(
            counts.sums,
            labelled=matrix.labelled,
            positive_class=model.positive_class,
            confidence_level=confidence_level,
        )
    else:
        figures = multiclass_figures(matrix, confidence_level=confidence_level) | multiclass_score_figures(
            counts.sums, labelled=matrix.labelled, confidence_level=confidence_level
        )
    return Confusion(classes=matrix.classes, counts=matrix.counts), per_class_figures(matrix), figures


def metrics_of(figures: Mapping[str, Figure]) -> dict[str, Metric]:
    """Figures as they are written."""
    return {name: _metric(figure) for name, figure in figures.items()}


def undefined_of(figures: Mapping[str, Figure]) -> dict[str, str]:
    """Why some of the figures have no value."""
    return {name: figure.undefined.value for name, figure in figures.items() if figure.undefined}


def _metric(figure: Figure) -> Metric:
    return Metric(
        value=figure.value,
        low=figure.low,
        high=figure.high,
        n=figure.n,
        possible=UNSET if figure.possible is None else figure.possible,
        bracket=UNSET if figure.bracket is None else figure.bracket,
        classes_left_out=figure.classes_left_out or UNSET,
    )


def revise(
    report: Report, *, key: bytes, previous_revision: int | None, previous_event_id: str | None, now_ms: int
) -> dict[str, Any] | None:
    """Return `report` ready to publish, as plain types, or None if what was published last says the same.

    Args:
        report: content, from `window_report`, `stability_report` or `signals_report`.
        key: its Kafka key.
        previous_revision: of the last report under this key; None if there was none.
        previous_event_id: likewise.
        now_ms: wall clock. Revisions follow it, so that one which was published and then forgotten is
            still outranked, and stay above `previous_revision` when the clock steps back.
    """
    content = msgspec.to_builtins(report)
    identity = event_id(key, content)
    if identity == previous_event_id:
        return None
    revision = now_ms if previous_revision is None else max(previous_revision + 1, now_ms)
    return {**content, "revision": revision, "event_id": identity, "produced_at": format_time(now_ms)}
