"""Reports on the signals of a model that moves: made from values by the service's own code."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator

import msgspec
import numpy as np

from schemas.signals_report import SignalsReport
from schemas.times import format_time
from streams.monitored_model import DAY_MS, HOUR_MS, MonitoredModel
from streams.reports import ReportKey, SliceCounts
from streams.signals.reference import SignalReference, SignalSpan, SignalTerms
from streams.signals.report import signals_report
from streams.signals.sums import SignalTotals

__all__ = ["MOVES_AT", "VALUES", "signals_of_a_day"]

VALUES = 500
MOVES_AT = 16
"""The hour from which `margin` is far from its reference; `vote_entropy` goes missing little by little."""


def _normal(mean: float, spread: float, count: int) -> SignalTotals:
    """As many values as evenly as a normal distribution has them."""
    draw = statistics.NormalDist(mean, spread).inv_cdf
    return SignalTotals.of_values(np.array([draw((at + 0.5) / count) for at in range(count)], dtype=np.float32))


def signals_of_a_day(model: MonitoredModel, *, version: str, noon_ms: int, now_ms: int) -> Iterator[SignalsReport]:
    """A day of hours against the day before, oldest window first."""
    span = SignalSpan(start_ms=noon_ms - DAY_MS, end_ms=noon_ms)
    model = dataclasses.replace(model, signals=SignalTerms(("margin", "vote_entropy"), span))
    usual = {"margin": _normal(0.4, 0.2, 20 * VALUES), "vote_entropy": _normal(0.6, 0.1, 20 * VALUES)}
    reference = SignalReference.of([({}, usual)])
    for hour in range(24):
        mean = 0.4 + 0.02 * (hour % 3) - (0.25 if hour >= MOVES_AT else 0.0)
        told = VALUES - max(0, hour - MOVES_AT) * 40
        counts = SliceCounts(
            cells={(None, "ok"): VALUES},
            signals={"margin": _normal(mean, 0.2, VALUES), "vote_entropy": _normal(0.6, 0.1, told)},
        )
        key = ReportKey(
            kind="signals",
            model=model.name,
            model_version=version,
            segment={},
            window_start_ms=noon_ms + hour * HOUR_MS,
            window_size_ms=HOUR_MS,
        )
        report = signals_report(
            key,
            counts,
            model,
            watermark_ms=now_ms,
            confidence_level=0.95,
            config_hash="",
            reference=reference,
        )
        yield msgspec.structs.replace(report, event_id=f"signals {hour}", produced_at=format_time(now_ms))
