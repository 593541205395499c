"""From stored alerts to the API's documents, firing ones first."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from agents.web.documents import AlertRow, Alerts, AlertStep, AlertWindow
from schemas.times import format_time
from streams.alerting.fold import Judged
from streams.alerting.life_cycle import Phase
from streams.alerting.record import AlertRecord
from streams.ports import AlertStore

__all__ = ["AlertReader"]

_FIRST = (
    Phase.FIRING, Phase.PENDING, Phase.RESOLVED, Phase.STALE, Phase.NO_DATA, Phase.INSUFFICIENT_DATA, Phase.INACTIVE
)  # fmt: skip


class AlertReader:
    """Answers questions about alerts.

    Args:
        store: of their states.
    """

    def __init__(self, store: AlertStore) -> None:
        self._store = store

    async def alerts(self, *, model: str | None = None, phase: str | None = None) -> Alerts:
        """All of them, or those about one model, or in one phase."""
        records = [
            record
            for record in await self._store.every_alert()
            if (model is None or (record.series is not None and record.series.model == model))
            and (phase is None or record.state.phase == phase)
        ]
        return Alerts(tuple(map(_row, sorted(records, key=_place))))

    async def names(self) -> Mapping[tuple[str, str, Phase], Sequence[str]]:
        """The names of the alerts about each model and version in each phase."""
        found: dict[tuple[str, str, Phase], set[str]] = collections.defaultdict(set)
        for record in await self._store.every_alert():
            if record.series is not None:
                found[record.series.model, record.series.model_version, record.state.phase].add(record.alert)
        return {subject: sorted(names) for subject, names in found.items()}


def _place(record: AlertRecord) -> tuple[int, int, str, str]:
    return _FIRST.index(record.state.phase), -record.state.phase_ms, record.alert, str(sorted(record.labels.items()))


def _row(record: AlertRecord) -> AlertRow:
    state, series = record.state, record.series
    return AlertRow(
        alert=record.alert,
        group=record.group,
        phase=state.phase,
        reason=state.reason,
        since=format_time(state.phase_ms) if state.phase_ms else None,
        labels=record.labels,
        model=(series.model or None) if series else None,
        version=series.model_version if series and series.model else None,
        segment={} if series is None else dict(series.segment),
        size_seconds=None if series is None else series.window_ms // 1000,
        window=_window(state.spoken_of),
        started=None if state.notice is None else format_time(state.notice.starts_ms),
        ended=None if state.notice is None or state.notice.ends_ms is None else format_time(state.notice.ends_ms),
        history=tuple(AlertStep(format_time(step.at_ms), step.phase, step.reason) for step in reversed(state.history)),
    )


def _window(judged: Judged | None) -> AlertWindow | None:
    if judged is None:
        return None
    return AlertWindow(
        start=format_time(judged.start_ms),
        end=format_time(judged.end_ms),
        value=judged.value,
        threshold=judged.threshold,
        low=judged.low,
        high=judged.high,
        n=judged.n,
        coverage=judged.coverage,
    )
