"""The alert that always fires, so that its absence tells of a dead monitor (a dead man's switch)."""

from __future__ import annotations

from streams.alerting.life_cycle import AlertState, Notice, Phase, Reason
from streams.alerting.record import AlertRecord

__all__ = ["WATCHDOG", "watchdog"]

WATCHDOG = "watchdog"
"""In place of a rule's identity."""


def watchdog(now_ms: int) -> AlertRecord:
    """The alert as it begins."""
    notice = Notice(starts_ms=now_ms, reason=Reason.ALWAYS)
    return AlertRecord(
        rule=WATCHDOG,
        group="monitor",
        alert="Watchdog",
        labels={"alertname": "Watchdog", "rule": WATCHDOG, "severity": "none"},
        series=None,
        state=AlertState(phase=Phase.FIRING, reason=Reason.ALWAYS, phase_ms=now_ms, notice=notice, untold=(notice,)),
    )
