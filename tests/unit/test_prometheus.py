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

from agents.alert_feed import AlertFeed
from agents.alert_forwarder import AlertForwarder
from agents.alert_forwarding import forwarder_metrics
from agents.alert_metrics import alert_metrics
from agents.alert_rule_files import load_rules
from agents.clock import SystemClock
from agents.conservation_watch import ConservationWatch
from agents.explainer.outcome_tally import OutcomeTally
from agents.exposition import Metric, expose
from agents.intake_tally import IntakeTally
from agents.loop_watch import LoopLag
from agents.process_metrics import process_metrics
from agents.settings import KafkaSettings, Settings
from agents.worker_metrics import worker_metrics
from streams.alerting.firing import firing
from streams.backlog_age import BacklogAges
from streams.ledger.parts import Role, Source

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus/latelabel.rules.yaml"
FORWARDER_RULES = ROOT / "deploy/prometheus/forwarder.rules.yaml"
EXPLAINER_RULES = ROOT / "deploy/prometheus/explainer.rules.yaml"
DASHBOARD = ROOT / "deploy/grafana/workers.json"
RUNBOOKS = {
    RULES: ROOT / "deploy/runbooks/workers.md",
    FORWARDER_RULES: ROOT / "deploy/runbooks/alert-forwarding.md",
    EXPLAINER_RULES: ROOT / "deploy/runbooks/explainer.md",
}
RULES_IN_USE = load_rules(Settings(), [ROOT / "deploy/rules/models.yaml"])
OWNED = (Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 0))


def promtool(*arguments: str, given: str = "") -> None:
    assert shutil.which("promtool"), "promtool is missing; run `make setup`, or `apt-get install prometheus`"
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def metrics_before_the_first_look() -> list[Metric]:
    """What a worker exports that owns two partitions and has not compared anything yet."""
    partitions = {source: SimpleNamespace(is_stopped=False) for source in OWNED}
    intake = SimpleNamespace(partitions=partitions, held_bytes=0, paused=frozenset, tally=IntakeTally())
    house = SimpleNamespace(
        writers=[],
        conservation=ConservationWatch(cast("Any", None)),
        seen=None,
        ages=BacklogAges(),
        memory=None,
        clock=SystemClock(),
    )
    outages = SimpleNamespace(is_on=False)
    reloading = SimpleNamespace(succeeded=True, succeeded_ms=1_795_442_591_000)
    told = worker_metrics(*cast("Any", (intake, house, outages, reloading)))
    of_process = process_metrics(LoopLag(), rebalances=0, now_seconds=0.0)
    return [*told, *of_process, *alert_metrics(firing(RULES_IN_USE, ()))]


def named(text: str) -> set[str]:
    return set(re.findall(r"\b(?:latelabel|process)_\w+", text))


def test_every_series_is_there_from_the_start_at_zero() -> None:
    metrics = metrics_before_the_first_look()
    values = {metric.name: metric.values for metric in metrics}
    assert 2 == values.pop("latelabel_partitions_owned")
    for labelled in (
        "lag_offsets",
        "oldest_uncounted_seconds",
        "records_total",
        "dead_letters_total",
        "input_gaps_total",
    ):
        series = cast("dict[object, float]", values.pop(f"latelabel_{labelled}"))
        assert [0, 0] == list(series.values())
    for process in ("resident_memory_bytes", "cpu_seconds_total", "start_time_seconds"):
        assert cast("float", values.pop(f"process_{process}")) > 0
    by_rule = cast("dict[object, float]", values.pop("latelabel_alerts_firing"))
    assert {(("alertname", "Watchdog"), ("severity", "none")): 0} | {
        (("alertname", rule.alert), ("severity", rule.labels["severity"])): 0 for rule in RULES_IN_USE
    } == by_rule
    assert "latelabel_watermark_timestamp_seconds" in values
    assert 1 == values.pop("latelabel_config_last_reload_successful")
    assert 1_795_442_591 == values.pop("latelabel_config_last_reload_success_timestamp_seconds")
    assert {0} == set(values.values())


def test_metrics_are_as_prometheus_wants_them() -> None:
    promtool("check", "metrics", given=expose(metrics_before_the_first_look()))


@pytest.mark.parametrize("rules", RUNBOOKS)
def test_rules_are_valid_and_fire_when_they_should(rules: Path) -> None:
    promtool("check", "rules", str(rules))
    promtool("test", "rules", str(rules.with_suffix(".test.yaml")))


def test_rules_on_forwarders_ask_for_what_they_export() -> None:
    feed = AlertFeed(KafkaSettings(), group="forwarders", with_history=False)
    forwarder = AlertForwarder(feed, cast("Any", None), notified=None, clock=SystemClock())
    metrics = list(forwarder_metrics(forwarder, "webhook"))
    promtool("check", "metrics", given=expose(metrics))
    assert named(FORWARDER_RULES.read_text()) <= {metric.name for metric in metrics}
    assert {0} == {value for metric in metrics for value in cast("dict[object, float]", metric.values).values()}


def test_rules_on_explainers_ask_for_what_they_export() -> None:
    (metric,) = OutcomeTally(["fraud"], SystemClock()).metrics()
    promtool("check", "metrics", given=expose([metric]))
    assert {metric.name} == named(EXPLAINER_RULES.read_text())


def test_rules_and_dashboard_ask_for_what_workers_export() -> None:
    exported = {metric.name for metric in metrics_before_the_first_look()}
    assert set() == named(RULES.read_text()) - exported
    assert exported == named(DASHBOARD.read_text())


@pytest.mark.parametrize(
    ("rules", "alert"),
    [
        (rules, rule["alert"])
        for rules in RUNBOOKS
        for group in yaml.safe_load(rules.read_text())["groups"]
        for rule in group["rules"]
    ],
)
def test_every_alert_is_tested_and_has_a_chapter_in_the_runbook(rules: Path, alert: str) -> None:
    runbook = RUNBOOKS[rules]
    assert f"## {alert}\n" in runbook.read_text()
    tests = yaml.safe_load(rules.with_suffix(".test.yaml").read_text())["tests"]
    expected = [each["exp_alerts"] for test in tests for each in test["alert_rule_test"] if each["alertname"] == alert]
    assert [] in expected
    assert any(expected)
    link = f"{runbook.relative_to(ROOT)}#{alert.lower()}"
    assert link in rules.read_text()


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


def test_configuration_of_the_local_stack_is_valid_and_asks_for_the_job_of_the_rules() -> None:
    file = ROOT / "deploy/prometheus/prometheus.yaml"
    promtool("check", "config", "--syntax-only", str(file))
    jobs = {job["job_name"] for job in yaml.safe_load(file.read_text())["scrape_configs"]}
    assert {"latelabel"} == jobs
