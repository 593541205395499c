"""From the counts of one slice and window to its report on signals."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import UNSET

from schemas.signals_report import ComparedWith, SignalsReport
from schemas.times import format_time
from schemas.window_report import Window
from streams.monitored_model import MonitoredModel
from streams.quality.figure import Figure
from streams.reports import ReportKey, SliceCounts, metrics_of, undefined_of
from streams.signals.definitions import MOVED_ABOVE, PSI, metric_of
from streams.signals.figures import quartiles_of, signal_figures
from streams.signals.population_stability import psi_figure
from streams.signals.reference import SignalReference, SignalSpan
from streams.signals.sums import LEFT_OUT, SignalTotals
from streams.windows import window_status

__all__ = ["signals_report"]


def signals_report(
    key: ReportKey,
    counts: SliceCounts,
    model: MonitoredModel,
    *,
    watermark_ms: int | None,
    confidence_level: float,
    config_hash: str,
    missing: Collection[str] = (),
    reference: SignalReference | None = None,
) -> SignalsReport:
    """Return the content of the report: revision 0, without event id and time of production.

    Args:
        key: slice and window, of the kind `signals`.
        counts: of that slice, over the whole window.
        model: decides how long predictions may come late, and which signals are expected.
        watermark_ms: smallest over all input partitions, None while unknown.
        confidence_level: of the intervals, e.g. 0.95.
        config_hash: names the settings that the figures depend on.
        missing: what predictions were lost, one phrase each; makes the report `incomplete`.
        reference: what the model's `signals.reference` has come to; None as long as it is not known.
    """
    names = sorted({*counts.signals, *model.signals.names} - {LEFT_OUT})
    totals = {name: counts.signals.get(name, SignalTotals()) for name in names}
    figures = _figures(totals, predictions=counts.predictions, confidence_level=confidence_level)
    span, known = model.signals.reference, _known(reference, model, key)
    if span is not None:
        for name, total in totals.items():
            figure = psi_figure(total.counts, known.get(name, {}), confidence_level=confidence_level)
            figures[metric_of(name, PSI)] = figure
    status = window_status(
        end_ms=key.window_end_ms, horizon_ms=model.label_horizon_ms, watermark_ms=watermark_ms, missing=missing
    )
    return SignalsReport(
        model=key.model,
        model_version=key.model_version,
        segment=dict(sorted(key.segment.items())),
        window=Window.of(key.window_start_ms, key.window_size_ms),
        status=status.value,
        missing=tuple(sorted(set(missing))) or UNSET,
        revision=0,
        event_id="",
        predictions=counts.predictions,
        failed=counts.failed,
        values={name: total.n for name, total in totals.items()},
        left_out=counts.signals.get(LEFT_OUT, SignalTotals()).whole,
        reference=UNSET if span is None else _compared_with(span, key, known, figures),
        metrics=metrics_of(figures),
        undefined=undefined_of(figures),
        config_hash=config_hash,
        produced_at="",
    )


def _known(reference: SignalReference | None, model: MonitoredModel, key: ReportKey) -> Mapping[str, Mapping[int, int]]:
    """What a window is compared with, by signal; nothing if it begins too early to be."""
    span = model.signals.reference
    if reference is None or span is None or key.window_start_ms < span.end_ms:
        return {}
    return reference.counts(key.segment)


def _compared_with(
    span: SignalSpan, key: ReportKey, known: Mapping[str, Mapping[int, int]], figures: Mapping[str, Figure]
) -> ComparedWith:
    compared = {name: counts for name, counts in sorted(known.items()) if metric_of(name, PSI) in figures}
    least = {name: figures[metric_of(name, PSI)].low for name in compared}
    return ComparedWith(
        start=format_time(span.start_ms),
        end=format_time(span.end_ms),
        model_version=key.model_version if span.model_version is None else span.model_version,
        values={name: sum(counts.values()) for name, counts in compared.items()},
        quartiles={name: quartiles_of(counts) for name, counts in compared.items()},
        moved=tuple(name for name, low in least.items() if low is not None and low > MOVED_ABOVE),
    )


def _figures(totals: Mapping[str, SignalTotals], *, predictions: int, confidence_level: float) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for name, total in totals.items():
        found = signal_figures(total, predictions=predictions, confidence_level=confidence_level)
        figures |= {metric_of(name, figure): value for figure, value in found.items()}
    return figures
