"""The configuration that the demo writes is read without a mistake, and fits a replay."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from agents.alert_rule_files import load_rules
from agents.demo.classifier import SIGNALS
from agents.demo.configuration import write_configuration
from agents.demo.flights import read_flights
from agents.settings import Settings, load_settings
from schemas.times import parse_time_ms
from streams.monitored_model import DAY_MS, MonitoredModel, Task
from streams.signals.reference import SignalSpan, SignalTerms

MARCH_MS = parse_time_ms("2013-03-01T00:00:00Z")
FLIGHTS = Path(__file__).parents[2] / "deploy" / "demo" / "flights.csv.xz"


def demo_settings(folder: Path) -> Settings:
    """Return what a command of the demo reads."""
    path = folder / "latelabel.yaml"
    write_configuration(path, web_port=6067)
    return load_settings(
        path, {"LATELABEL_KAFKA__BROKERS": "127.0.0.1:1", "LATELABEL_REDIS__URL": "redis://127.0.0.1:2"}
    )


def test_addresses_come_from_the_environment(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path)
    assert (("127.0.0.1:1",), "redis://127.0.0.1:2") == (settings.kafka.brokers, settings.redis.url)


def test_the_model_is_judged_by_utc_day_airline_and_airport(tmp_path: Path) -> None:
    expected = MonitoredModel(
        name="flight-delay",
        task=Task.BINARY,
        positive_class="late",
        class_names=("late", "on_time"),
        report_windows_ms=(DAY_MS,),
        base_window_ms=DAY_MS,
        label_horizon_ms=2 * DAY_MS,
        segments=("carrier", "origin"),
        signals=SignalTerms(SIGNALS, SignalSpan(start_ms=MARCH_MS, end_ms=MARCH_MS + 31 * DAY_MS)),
    )
    (model,) = demo_settings(tmp_path).models
    assert expected == dataclasses.replace(model, explanation=None)
    assert model.explanation is not None
    assert str(tmp_path / "model.pkl") == model.explanation.predictor


def test_the_latest_landing_lies_within_the_label_horizon(tmp_path: Path) -> None:
    latest_ms = max(
        (flight.landing - flight.scheduled_departure).total_seconds() * 1000
        for flight in read_flights(FLIGHTS)
        if flight.landing
    )
    assert latest_ms <= demo_settings(tmp_path).models[0].label_horizon_ms


def test_days_of_long_ago_are_kept(tmp_path: Path) -> None:
    assert 20 * 365 * DAY_MS < demo_settings(tmp_path).keep_windows_ms


def test_alert_rules_beside_it_are_read_without_a_mistake(tmp_path: Path) -> None:
    (rule,) = load_rules(demo_settings(tmp_path))
    assert ("ScoresFarOff", "flight-delay", DAY_MS) == (rule.alert, rule.when.model, rule.when.window_ms)
