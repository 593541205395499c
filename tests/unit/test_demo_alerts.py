"""What the demo tells of alerts: each beginning and each end once, with why."""

from __future__ import annotations

import msgspec
import pytest

from agents.demo.alerts import ToldAlerts
from agents.demo.screen import LinesScreen
from schemas.alert import Alert
from schemas.codec import encode
from streams.alerting.fingerprint import fingerprint

LABELS = {"alertname": "AccuracyLow", "model": "flight-delay"}
FIRING = Alert(
    labels=LABELS,
    annotations={"summary": "0.5 < 0.6", "description": "Three days.", "window_start": "2013-06-26T00:00:00Z"},
    starts_at="2026-01-01T00:00:00Z",
    ends_at="2026-01-01T00:04:00Z",
    generator_url="",
    status="firing",
    fingerprint=fingerprint(LABELS),
    name="AccuracyLow",
    severity="critical",
    reason="breach",
)


def test_alert_is_told_when_it_begins_and_when_it_ends_and_not_again(capsys: pytest.CaptureFixture[str]) -> None:
    told = ToldAlerts(LinesScreen())
    resent = msgspec.structs.replace(FIRING, ends_at="2026-01-01T00:05:00Z")
    resolved = msgspec.structs.replace(FIRING, status="resolved")
    for alert in (FIRING, resent, resolved, resolved):
        told.receive(b"", encode(alert))
    assert [
        "  2013-06-26 FIRING AccuracyLow: 0.5 < 0.6. Three days.",
        "  2013-06-26 RESOLVED AccuracyLow: 0.5 < 0.6. Three days.",
    ] == capsys.readouterr().out.splitlines()
    assert 1 == told.fired


def test_watchdog_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    ToldAlerts(LinesScreen()).receive(b"", encode(msgspec.structs.replace(FIRING, name="Watchdog")))
    assert "" == capsys.readouterr().out
