"""Shipped rules on resources: they are read, name figures that there are, and say what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agents.alert_rule_files import load_rules
from agents.settings import Settings
from streams.alerting.rules import AlertRule
from streams.stability.resource_figures import RESOURCE_DEFINITIONS

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy/rules/resources.yaml"
RUNBOOK = ROOT / "deploy/runbooks/resources.md"
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
