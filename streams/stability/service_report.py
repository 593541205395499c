"""From the counts of one slice and window to its report on stability."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import UNSET

from schemas.stability_report import StabilityReport
from schemas.window_report import Window
from streams.monitored_model import MonitoredModel
from streams.quality.figure import UndefinedReason
from streams.reports import SECOND_MS, ReportKey, SliceCounts, metrics_of, undefined_of
from streams.stability.latency_sums import LatencyTotals
from streams.stability.service_figures import service_figures
from streams.windows import window_status

__all__ = ["stability_report"]


def stability_report(
    key: ReportKey,
    counts: SliceCounts,
    model: MonitoredModel,
    *,
    watermark_ms: int | None,
    confidence_level: float,
    config_hash: str,
    missing: Collection[str] = (),
) -> StabilityReport:
    """Return the content of the report: revision 0, without event id and time of production.

    Args:
        key: slice and window, of the kind `stability`.
        counts: of that slice, over the whole window.
        model: decides how long predictions may come late.
        watermark_ms: smallest over all input partitions, None while unknown.
        confidence_level: of the intervals, e.g. 0.95.
        config_hash: names the settings that the figures depend on.
        missing: what predictions were lost, one phrase each; makes the report `incomplete`.
    """
    totals = LatencyTotals.from_sums(counts.latencies)
    unknown = None
    if missing:
        unknown = UndefinedReason.INPUT_LOST
    elif watermark_ms is None or watermark_ms < key.window_end_ms:
        unknown = UndefinedReason.WINDOW_OPEN
    figures = service_figures(
        totals,
        answered=counts.predictions,
        failed=counts.failed,
        window_seconds=key.window_size_ms / SECOND_MS,
        unknown=unknown,
        confidence_level=confidence_level,
    )
    status = window_status(
        end_ms=key.window_end_ms, horizon_ms=model.label_horizon_ms, watermark_ms=watermark_ms, missing=missing
    )
    return StabilityReport(
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
        timed_out=totals.timed_out,
        with_latency=totals.n,
        metrics=metrics_of(figures),
        undefined=undefined_of(figures),
        config_hash=config_hash,
        produced_at="",
    )
