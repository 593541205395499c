"""Fingerprints of alerts; a real Alertmanager is asked in tests/integration/test_alertmanager.py."""

from __future__ import annotations

from streams.alerting.fingerprint import fingerprint

LABELS = {
    "alertname": "ModelAccuracyLow",
    "model": "fraud",
    "model_version": "3",
    "severity": "critical",
    "rule": "accuracy-5m",
}


def test_fingerprint_is_the_one_that_alertmanager_gave() -> None:
    assert "e771aa4162586a9c" == fingerprint(LABELS)


def test_label_without_a_value_is_no_label() -> None:
    assert fingerprint(LABELS) == fingerprint({**LABELS, "country": ""})


def test_neighbours_do_not_run_into_each_other() -> None:
    assert fingerprint({"a": "bc"}) != fingerprint({"ab": "c"})
    assert fingerprint({"a": "b", "c": "d"}) != fingerprint({"a": "bcd"})
