"""Shipped rules on resources: they are read, name figures that there are, and say what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agents.alert_rule_files import load_rules
from agents.settings import Settings
from schemas.alert import Alert
from schemas.resource_sample import SentResourceSample
from streams.alerting.like_windows import start_of_key
from streams.alerting.rules import AlertRule
from streams.identity import model_version_hash, model_version_name
from streams.monitored_model import MINUTE_MS, MonitoredModel
from streams.stability.resource_figures import RESOURCE_DEFINITIONS
from streams.stability.resource_reports import ReportSettings, due_reports
from streams.stability.resource_series import ResourceSeries, SeriesSettings
from tests.support.alerting import AlertWorld, statuses
from tests.support.evaluation import NOON_MS

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy/rules/resources.yaml"
RUNBOOK = ROOT / "deploy/runbooks/resources.md"
SERIES = SeriesSettings.of(MonitoredModel(name="fraud"), lateness_ms=MINUTE_MS, block_ms=MINUTE_MS)
REPORTS = ReportSettings(topic="model-metrics", source="/latelabel/test", config_hash="", interval_ms=0)
RULES = {rule.alert: rule for rule in load_rules(Settings(), [FILE])}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_every_rule_has_a_severity_a_summary_and_a_chapter_in_the_runbook(rule: AlertRule) -> None:
    assert rule.labels["severity"] in ("critical", "warning")
    assert "summary" in rule.annotations
    assert f"{RUNBOOK.relative_to(ROOT)}#{rule.alert.lower()}" == rule.annotations["runbook_url"]
    assert f"## {rule.alert}\n" in RUNBOOK.read_text()


def test_the_runbook_has_no_chapter_that_no_rule_has() -> None:
    assert set(RULES) == set(re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_every_rule_looks_at_each_target_and_compares_what_was_observed(rule: AlertRule) -> None:
    assert rule.when.metric in RESOURCE_DEFINITIONS
    assert ({"target": "*"}, None, 1) == (dict(rule.when.segment), rule.when.confidence, rule.when.min_samples)


async def said_of(alert: str, *, minutes: int, **measured: float | int | None) -> list[Alert]:
    """What the rule says of a target that sends the same for so many minutes, and then nothing unusual."""
    world = await AlertWorld(RULES[alert]).start()
    series = ResourceSeries(model="fraud", model_version="3", target="pod-1")
    series.adopt(SERIES)
    for minute in range(minutes + 30):
        figures = measured if minute < minutes else {"cpu_cores": 0.1, "cpu_limit_cores": 2.0}
        sample = SentResourceSample(target="pod-1", model="fraud", model_version="3", **figures)
        series.take(sample, NOON_MS + minute * MINUTE_MS, SERIES)
    reports = sorted(
        (revision.kept for revision in due_reports(series, now_ms=NOON_MS, settings=REPORTS)),
        key=lambda report: start_of_key(report.key),
    )
    said: list[Alert] = []
    for report in reports:
        await world.world.store.keep(model_version_hash("fraud", "3"), model_version_name("fraud", "3"), [report])
        said += await world.round()
    return said


@pytest.mark.parametrize(
    ("cores", "minutes", "expected"),
    [(1.9, 20, ["firing: breach", "resolved: recovered"]), (1.9, 5, []), (1.7, 20, [])],
)
async def test_cores_that_are_nearly_all_used_for_ten_minutes_are_told(
    cores: float, minutes: int, expected: list[str]
) -> None:
    said = await said_of("CpuSaturated", minutes=minutes, cpu_cores=cores, cpu_limit_cores=2.0)
    assert expected == statuses(said)
    for alert in said[:1]:
        assert ("warning", "pod-1 of fraud uses 95% of the cores it may") == (
            alert.severity,
            alert.annotations["summary"],
        )
