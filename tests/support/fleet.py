"""Reports as `latelabel show` reads them, made by the same code that publishes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from schemas.signals_report import SignalsReport
from schemas.stability_report import StabilityReport
from schemas.times import format_time
from schemas.window_report import WindowReport
from streams.monitored_model import HOUR_MS, MonitoredModel
from streams.quality.confusion import Cell
from streams.reports import ReportKey, SliceCounts, window_report
from streams.signals.buckets import kept_values
from streams.signals.reference import SignalTerms
from streams.signals.report import signals_report
from streams.signals.sums import SignalTotals
from streams.stability.latency_sums import LatencyTotals
from streams.stability.latency_words import latency_words
from streams.stability.service_report import stability_report

__all__ = ["NOON_MS", "NOW_MS", "binary_cells", "report_on", "signals_on", "stability_on"]

NOON_MS = 1_795_435_200_000
"""2026-11-23T12:00:00Z"""
NOW_MS = NOON_MS + 3 * HOUR_MS + 42 * 60_000


def binary_cells(hits: int, misses: int, false_alarms: int, rejections: int, due: int = 0) -> dict[Cell, int]:
    """Counts of the classes `fraud` and `ok`; the predictions that have no label said `ok`."""
    cells: dict[Cell, int] = {
        ("fraud", "fraud"): hits,
        ("fraud", "ok"): misses,
        ("ok", "fraud"): false_alarms,
        ("ok", "ok"): rejections,
        (None, "ok"): due,
    }
    return {cell: count for cell, count in cells.items() if count}


def report_on(
    model: MonitoredModel,
    cells: Mapping[Cell, int],
    *,
    version: str = "3",
    start_ms: int = NOON_MS,
    size_ms: int = HOUR_MS,
    watermark_ms: int = NOW_MS,
    failed: int = 0,
    sums: Mapping[str, int] | None = None,
    missing: Collection[str] = (),
    segment: Mapping[str, str] | None = None,
) -> WindowReport:
    """The report on one window, three minutes old."""
    content = window_report(
        ReportKey(
            model=model.name,
            model_version=version,
            segment=segment or {},
            window_start_ms=start_ms,
            window_size_ms=size_ms,
        ),
        SliceCounts(cells, failed, sums or {}),
        model,
        watermark_ms=watermark_ms,
        confidence_level=0.95,
        config_hash="",
        missing=missing,
    )
    return msgspec.structs.replace(content, event_id=f"{content.window}", produced_at=format_time(NOW_MS - 180_000))


def stability_on(
    latencies_ms: Sequence[float],
    *,
    version: str = "3",
    start_ms: int = NOON_MS,
    failed: int = 0,
    timed_out: int = 0,
    without_latency: int = 0,
) -> StabilityReport:
    """The report on the stability of one hour of `fraud`; of the failed some ran out of time."""
    array = np.array([*latencies_ms, *[math.nan] * timed_out])
    words = latency_words(array, np.isnan(array)).tobytes()
    answered = len(latencies_ms) + without_latency
    return stability_report(
        ReportKey(
            kind="stability",
            model="fraud",
            model_version=version,
            segment={},
            window_start_ms=start_ms,
            window_size_ms=HOUR_MS,
        ),
        SliceCounts({(None, "ok"): answered}, failed, latencies=LatencyTotals.of_words(words).sums()),
        MonitoredModel(name="fraud"),
        watermark_ms=NOW_MS,
        confidence_level=0.95,
        config_hash="",
    )


def signals_on(told: Mapping[str, Sequence[float]], *, answered: int, start_ms: int = NOON_MS) -> SignalsReport:
    """The report on the signals of one hour of `fraud`, which is expected to tell its `entropy`."""
    return signals_report(
        ReportKey(
            kind="signals",
            model="fraud",
            model_version="3",
            segment={},
            window_start_ms=start_ms,
            window_size_ms=HOUR_MS,
        ),
        SliceCounts(
            {(None, "ok"): answered},
            signals={name: SignalTotals.of_values(kept_values(np.array(values))) for name, values in told.items()},
        ),
        MonitoredModel(name="fraud", signals=SignalTerms(("entropy",))),
        watermark_ms=NOW_MS,
        confidence_level=0.95,
        config_hash="",
    )
