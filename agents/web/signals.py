"""From the kept reports on a model's signals to the API's document: each over time, those that moved most first."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from agents.web.signal_documents import SignalLevel, SignalPoint, SignalSeries
from schemas.signals_report import SignalsReport
from schemas.window_report import Metric
from streams.signals.definitions import PSI, UNDEFINED_SHARE, metric_of

__all__ = ["decode_signals", "signal_series"]

decode_signals = msgspec.json.Decoder(SignalsReport).decode
_NONE = Metric(None, None, None, 0)


def signal_series(reports: Sequence[SignalsReport]) -> list[SignalSeries]:
    """The signals of some windows, those first that are furthest from their reference beyond doubt.

    Args:
        reports: of one slice of a model version, oldest first.
    """
    names = sorted({name for report in reports for name in report.values})
    series = [
        SignalSeries(
            signal=name,
            level=next(filter(None, (_level(report, name) for report in reversed(reports))), None),
            points=tuple(_point(report, name) for report in reports if name in report.values),
        )
        for name in names
    ]
    return sorted(series, key=lambda each: -(each.points[-1].psi_low or 0.0))


def _level(report: SignalsReport, name: str) -> SignalLevel | None:
    compared = report.reference
    if compared is UNSET or name not in compared.quartiles:
        return None
    return SignalLevel(compared.start, compared.end, compared.model_version, compared.quartiles[name])


def _point(report: SignalsReport, name: str) -> SignalPoint:
    def figure(which: str) -> Metric:
        return report.metrics.get(metric_of(name, which), _NONE)

    psi = figure(PSI)
    return SignalPoint(
        start=report.window.start,
        status=report.status,
        n=report.values[name],
        undefined_share=figure(UNDEFINED_SHARE).value,
        p05=figure("p05").value,
        p25=figure("p25").value,
        p50=figure("p50").value,
        p75=figure("p75").value,
        p95=figure("p95").value,
        psi=psi.value,
        psi_low=psi.low,
        psi_high=psi.high,
        has_moved=report.reference is not UNSET and name in report.reference.moved,
    )
