"""The demo's records as files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agents.alert_rule_files import load_rules
from agents.demo.classifier import Prediction
from agents.demo.flights import Flight
from agents.demo.record_files import write_record_files
from agents.settings import load_settings


def test_records_are_written_with_the_configuration_that_reads_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    departure = datetime(2013, 7, 1, 12, tzinfo=UTC)
    flown = Flight(departure, 660, "UA", 1, "EWR", "SFO", 2565, departure + timedelta(hours=6), True)
    cancelled = Flight(departure, 700, "B6", 2, "JFK", "BOS", 187, None, None)
    write_record_files([Prediction(flown, "late", 0.7), Prediction(cancelled, "on_time", 0.2)], tmp_path)
    predictions, labels = (
        [json.loads(line) for line in (tmp_path / f"{role}.jsonl").read_text().splitlines()]
        for role in ("predictions", "labels")
    )
    assert [("late", 0.7), ("on_time", 0.2)] == [(each["prediction"], each["score"]) for each in predictions]
    assert [(predictions[0]["request_id"], "late")] == [(each["request_id"], each["label"]) for each in labels]
    settings = load_settings(tmp_path / "latelabel.yaml", {})
    assert ["ScoresFarOff"] == [rule.alert for rule in load_rules(settings)]
    said = capsys.readouterr().out
    assert f"1 labels in {tmp_path / 'labels'}.jsonl\n" in said
    assert "latelabel backtest --predictions predictions.jsonl --labels labels.jsonl\n" in said
