"""Shipped rules on models: they are read, fire when they should, and say what to do."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from agents.alert_rule_files import load_rules
from agents.rule_tests import run_rule_tests
from agents.settings import Settings
from schemas.alert import Alert
from streams.alerting.rules import AlertRule
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel
from streams.signals.reference import SignalSpan, SignalTerms
from streams.stability.latency_words import TIMED_OUT, latency_words
from tests.support.alerting import MODEL, AlertWorld, statuses
from tests.support.evaluation import NOON_MS

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy/rules/models.yaml"
RUNBOOK = ROOT / "deploy/runbooks/models.md"
ALERTMANAGER = ROOT / "deploy/alertmanager/alertmanager.yml"
RULES = {rule.alert: rule for rule in load_rules(Settings(), [FILE])}


async def world_of(alert: str, *, reported: MonitoredModel = MODEL) -> AlertWorld:
    return await AlertWorld(RULES[alert], model=reported).start()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_every_rule_has_a_severity_a_summary_and_a_chapter_in_the_runbook(rule: AlertRule) -> None:
    assert rule.labels["severity"] in ("critical", "warning")
    assert "summary" in rule.annotations
    assert f"{RUNBOOK.relative_to(ROOT)}#{rule.alert.lower()}" == rule.annotations["runbook_url"]
    assert f"## {rule.alert}\n" in RUNBOOK.read_text()


def test_the_runbook_has_a_chapter_for_the_watchdog_and_no_other_that_no_rule_has() -> None:
    chapters = set(re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    assert {*RULES, "Watchdog"} == chapters


def test_alertmanager_mutes_by_alerts_that_there_are() -> None:
    rules = yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]
    named = {
        alert
        for rule in rules
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
        if matcher.startswith("alertname")
        for alert in re.findall(r"[A-Z]\w+", matcher)
    }
    assert named
    assert named <= {*RULES, "Watchdog"}


async def test_traffic_that_stops_is_told_after_five_of_its_own_longest_gaps() -> None:
    world = await world_of("TrafficStopped")
    await world.window(0, right=20, wrong=0)
    assert [] == await world.round()
    assert [] == await world.round(after_ms=25 * MINUTE_MS - 1)
    (alert,) = await world.round(after_ms=1)
    assert ("critical", "firing") == (alert.severity, alert.status)
    assert "no predictions of fraud for 5 times its longest usual gap" == alert.annotations["summary"]
    await world.window(6, right=20, wrong=0)
    assert ["resolved: recovered"] == statuses(await world.round())


async def labels_of_three_windows(world: AlertWorld) -> None:
    """A past in which all labels came."""
    for index in range(3):
        await world.window(index, right=100, wrong=0)
    await world.settle(2)
    assert [] == await world.round()


@pytest.mark.parametrize(("labelled", "windows", "expected"), [(0, 2, []), (0, 3, ["firing: breach"]), (20, 6, [])])
async def test_labels_that_stop_for_a_quarter_of_an_hour_are_told_and_few_labels_are_not(
    labelled: int, windows: int, expected: list[str]
) -> None:
    world = await world_of("LabelsStopped")
    await labels_of_three_windows(world)
    for index in range(10, 10 + windows):
        await world.window(index, right=labelled, wrong=0, unlabelled=100 - labelled)
    await world.settle(10 + windows - 1)
    said = await world.round()
    assert expected == statuses(said)
    for alert in said:
        assert "labels of fraud stay away: 0% of what is usual by now" == alert.annotations["summary"]
        assert "critical" == alert.severity


@pytest.mark.parametrize(
    ("alert", "latency", "others"),
    [("ErrorRateHigh", b"", "TimeoutRateHigh"), ("TimeoutRateHigh", TIMED_OUT, "ErrorRateHigh")],
)
@pytest.mark.parametrize(("failed", "expected"), [(30, ["firing: breach"]), (6, [])])
async def test_requests_that_fail_are_told_when_they_are_too_many_beyond_doubt(
    alert: str, latency: bytes, others: str, failed: int, expected: list[str]
) -> None:
    for name, statuses_expected in ((alert, expected), (others, [])):
        world = await world_of(name)
        await world.window(0, right=100 - failed, wrong=0)
        for _ in range(failed):
            await world.world.predict("", at_ms=NOON_MS, failed=True, latency=latency, model=MODEL)
        await world.settle(0)
        assert statuses_expected == statuses(await world.round())


@pytest.mark.parametrize(("latency_ms", "expected"), [(900.0, ["firing: breach"]), (480.0, [])])
async def test_latency_that_grew_by_half_a_second_since_yesterday_is_told(
    latency_ms: float, expected: list[str]
) -> None:
    world = await world_of("LatencyHigher")
    said = []
    for at_ms, took_ms in ((NOON_MS, 20.0), (NOON_MS + DAY_MS, latency_ms)):
        for _ in range(100):
            word = latency_words(np.array([took_ms]), np.zeros(1, dtype=np.bool_)).tobytes()
            await world.world.predict("ok", at_ms=at_ms, latency=word, model=MODEL)
        await world.settle((at_ms - NOON_MS) // (5 * MINUTE_MS))
        said = await world.round(after_ms=5 * MINUTE_MS)
    assert expected == statuses(said)


async def test_labels_and_predictions_without_a_class_in_common_are_told() -> None:
    world = await world_of("VocabularyMismatch")
    await world.window(0, right=0, wrong=40)
    await world.settle(0)
    (alert,) = await world.round()
    assert ("warning", "labels and predictions of fraud have no class in common") == (
        alert.severity,
        alert.annotations["summary"],
    )


async def signals_of_days(alert: str, *days: Sequence[float | None]) -> list[Alert]:
    """What is said of four windows a day of a model whose margin and entropy go by these values, each window's in turn.

    The margin has the values of the day; the entropy is the same every day.
    """
    world = await world_of(alert, reported=REFERRING)
    said: list[Alert] = []
    for day, values in enumerate(days):
        for index in range(4):
            start_ms = NOON_MS + day * DAY_MS + index * REFERRING.base_window_ms
            for number, value in enumerate(values):
                signals = {"entropy": number / len(values)} | ({} if value is None else {"margin": value})
                await world.world.predict("ok", at_ms=start_ms + HOUR_MS, model=REFERRING, signals=signals)
            await world.world.advance(start_ms + REFERRING.base_window_ms + REFERRING.label_horizon_ms + 1)
            said += await world.round(after_ms=REFERRING.base_window_ms)
    return [each for each in said if each.status == "firing" and each.reason == "breach"]


SIX_HOURS_MS = DAY_MS // 4
REFERRING = dataclasses.replace(
    MODEL,
    report_windows_ms=(SIX_HOURS_MS,),
    base_window_ms=SIX_HOURS_MS,
    signals=SignalTerms(reference=SignalSpan(start_ms=NOON_MS, end_ms=NOON_MS + DAY_MS)),
)
USUAL = [number / 200 for number in range(200)]
MOVED = [value + 0.5 for value in USUAL]


async def test_signal_that_is_far_from_its_reference_for_a_whole_day_is_told_by_its_name() -> None:
    (alert,) = await signals_of_days("SignalMoved", USUAL, MOVED)
    assert ("warning", "margin", "signal.margin.psi-6h") == (
        alert.severity, alert.labels["signal"], alert.labels["rule"],
    )  # fmt: skip
    assert alert.annotations["summary"].startswith("margin of fraud has moved from its reference: PSI ")
    assert "divided over 2 signals" in alert.annotations["description"]


async def test_signal_that_is_far_off_for_less_than_a_day_or_only_a_little_is_not_told() -> None:
    assert [] == await signals_of_days("SignalMoved", USUAL, [value + 0.05 for value in USUAL], USUAL)
    few = MOVED[::3]
    assert [] == await signals_of_days("SignalMoved", USUAL, few)


@pytest.mark.parametrize(("missing", "expected"), [(60, ["margin"]), (10, [])])
async def test_signal_that_more_predictions_leave_out_than_yesterday_is_told(missing: int, expected: list[str]) -> None:
    often = [None if number % 4 == 0 else value for number, value in enumerate(USUAL)]
    fewer = [None if number < missing else value for number, value in enumerate(often)]
    said = await signals_of_days("SignalUndefined", often, fewer)
    assert expected == sorted({alert.labels["signal"] for alert in said})
    for alert in said:
        assert alert.annotations["summary"].endswith(
            "of the predictions of fraud do not tell margin, more than yesterday"
        )


def test_shipped_rules_on_signals_can_be_tested_without_a_service(tmp_path: Path) -> None:
    tests = tmp_path / "tests.yaml"
    tests.write_text(SIGNAL_TESTS.replace("FILE", str(FILE)))
    assert (3, []) == run_rule_tests(tests, Settings())


SIGNAL_TESTS = """\
rule_files: ["FILE"]
tests:
  - name: a day of hours beyond doubt
    interval: 1h
    input_series:
      - {series: 'signal.margin.psi{model="fraud"}', values: '0.1 0.4x25'}
      - {series: 'signal.entropy.psi{model="fraud"}', values: '0.1 0.4x22 0.1 0.4x20'}
      - {series: 'signal.entropy.undefined_share{model="fraud"}', values: '0x24 0.3x10'}
    alert_rule_test:
      - {eval_time: 1d, alertname: SignalMoved}
      - eval_time: 25h
        alertname: SignalMoved
        exp_alerts: [{exp_labels: {model: fraud, signal: margin, rule: signal.margin.psi-1h, severity: warning},
          exp_annotations: {summary: "margin of fraud has moved from its reference: PSI 0.40"}}]
      - eval_time: 27h
        alertname: SignalUndefined
        exp_alerts: [{exp_labels: {model: fraud, signal: entropy, rule: signal.entropy.undefined_share-1h,
          severity: warning}, exp_annotations: {samples: "1000"}}]
"""


async def test_model_that_is_wrong_about_everything_but_speaks_of_the_same_classes_is_no_mismatch() -> None:
    world = await world_of("VocabularyMismatch")
    await world.window(0, right=1, wrong=60)
    await world.settle(0)
    assert [] == await world.round()
