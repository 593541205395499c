"""Alert rules and dashboard: they parse, fire when they should, and ask for metrics that workers export."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from agents.exposition import Metric, expose
from agents.worker_metrics import worker_metrics
from streams.ledger.parts import Role, Source

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus/latelabel.rules.yaml"
RULE_TESTS = RULES.with_suffix(".test.yaml")
DASHBOARD = ROOT / "deploy/grafana/workers.json"
RUNBOOK = ROOT / "deploy/runbooks/workers.md"
OWNED = (Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 0))


def promtool(*arguments: str, given: str = "") -> None:
    assert shutil.which("promtool"), "promtool is missing; run `make setup`, or `apt-get install prometheus`"
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def metrics_before_the_first_look() -> list[Metric]:
    """What a worker exports that owns two partitions and has not compared anything yet."""
    partitions = {source: SimpleNamespace(is_stopped=False) for source in OWNED}
    intake = SimpleNamespace(partitions=partitions, held_bytes=0, paused=frozenset)
    house = SimpleNamespace(writers=[], conservation=SimpleNamespace(checks=0, failures=0), seen=None)
    outages = SimpleNamespace(is_on=False)
    reloading = SimpleNamespace(succeeded=True, succeeded_ms=1_795_442_591_000)
    return list(worker_metrics(*cast("Any", (intake, house, outages, reloading))))


def named(text: str) -> set[str]:
    return set(re.findall(r"latelabel_\w+", text))


def test_every_series_is_there_from_the_start_at_zero() -> None:
    metrics = metrics_before_the_first_look()
    values = {metric.name: metric.values for metric in metrics}
    assert 2 == values.pop("latelabel_partitions_owned")
    lag = cast("dict[object, float]", values.pop("latelabel_lag_offsets"))
    assert [0, 0] == list(lag.values())
    assert "latelabel_watermark_timestamp_seconds" in values
    assert 1 == values.pop("latelabel_config_last_reload_successful")
    assert 1_795_442_591 == values.pop("latelabel_config_last_reload_success_timestamp_seconds")
    assert {0} == set(values.values())


def test_metrics_are_as_prometheus_wants_them() -> None:
    promtool("check", "metrics", given=expose(metrics_before_the_first_look()))


def test_rules_are_valid_and_fire_when_they_should() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(RULE_TESTS))


def test_rules_and_dashboard_ask_for_what_workers_export() -> None:
    exported = {metric.name for metric in metrics_before_the_first_look()}
    assert set() == named(RULES.read_text()) - exported
    assert exported == named(DASHBOARD.read_text())


@pytest.mark.parametrize("alert", [rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]])
def test_every_alert_is_tested_and_has_a_chapter_in_the_runbook(alert: str) -> None:
    assert f"## {alert}\n" in RUNBOOK.read_text()
    tests = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    expected = [each["exp_alerts"] for test in tests for each in test["alert_rule_test"] if each["alertname"] == alert]
    assert [] in expected
    assert any(expected)
    link = f"{RUNBOOK.relative_to(ROOT)}#{alert.lower()}"
    assert link in RULES.read_text()


def test_panels_of_the_dashboard_do_not_lie_on_each_other() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len(panels) == len({panel["id"] for panel in panels})
