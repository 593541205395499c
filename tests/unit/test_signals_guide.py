"""The guide on signals: its configuration and its rules are right, and rules on signals do what it says."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.__main__ import main
from agents.alert_rule_files import load_rules
from agents.settings import load_settings
from schemas.codec import read_prediction
from streams.alerting.rules import Against, AlertRule, Condition, Op
from streams.monitored_model import DAY_MS
from tests.support.alerting import MODEL, WINDOW_MS, AlertWorld, statuses
from tests.support.evaluation import NOON_MS

GUIDE = Path(__file__).resolve().parents[2] / "deploy/guides/signals.md"
TESTS = """\
rule_files: [rules.yaml]
tests:
  - name: fires and resolves
    interval: 1h
    input_series:
      - {series: 'signal.vote_entropy.psi{model="fraud"}', values: '0.1 0.6 0.1', samples: 500}
    alert_rule_test:
      - {eval_time: 2h, alertname: VotesMoved, exp_alerts: [{exp_labels: {model: fraud,
         rule: signal.vote_entropy.psi-1h, severity: warning}, exp_annotations: {}}]}
      - {eval_time: 3h, alertname: VotesMoved}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def test_configuration_and_rules_of_the_guide_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    configuration, rules = blocks("yaml")
    Path("latelabel.yaml").write_text(configuration)
    Path("rules.yaml").write_text(rules)
    settings = load_settings(Path("latelabel.yaml"), {})
    (model,) = settings.models
    assert ("vote_entropy", "margin") == model.signals.names
    assert model.signals.reference is not None
    assert (7 * DAY_MS, "3") == (
        model.signals.reference.end_ms - model.signals.reference.start_ms,
        model.signals.reference.model_version,
    )
    loaded = load_rules(settings, [Path("rules.yaml")])
    assert ["VotesMoved", "MarginGone", "LayerGrew"] == [rule.alert for rule in loaded]
    Path("tests.yaml").write_text(TESTS)
    done = CliRunner().invoke(main, ["rules", "test", "tests.yaml"], standalone_mode=False)
    assert "tests.yaml: 2 of 2 expectations met\n" == done.output


def test_prediction_of_the_guide_can_be_read() -> None:
    (example,) = blocks("json")
    read = read_prediction(example.encode(), timestamp_ms=NOON_MS, now_ms=NOON_MS, max_future_skew_ms=0)
    assert {"vote_entropy": 0.41, "margin": 0.73, "layer4_norm": 12.9} == read.signals


def test_signal_without_a_figure_is_no_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rule = "{alert: A, when: {metric: signal.margin.p42, op: '>', value: 1}}"
    Path("rules.yaml").write_text(f"groups: [{{name: g, rules: [{rule}]}}]")
    done = CliRunner().invoke(main, ["rules", "check", "rules.yaml"])
    assert 'found "signal.margin.p42", expected a metric' in done.stderr


def rule_on(metric: str, op: Op, value: float, **further: object) -> AlertRule:
    condition = Condition(metric=metric, op=op, value=value, min_samples=30)
    return AlertRule(group="state", alert="Moved", when=dataclasses.replace(condition, **further))  # type: ignore[arg-type]


async def told(world: AlertWorld, at_ms: int, *values: float | None) -> None:
    for value in values:
        signals = {} if value is None else {"margin": value}
        await world.world.predict("ok", at_ms=at_ms, model=MODEL, signals=signals)


@pytest.mark.parametrize(("missing", "expected"), [(30, ["firing: breach"]), (6, [])])
async def test_signal_that_most_predictions_still_tell_is_told_when_it_goes_missing(
    missing: int, expected: list[str]
) -> None:
    world = await AlertWorld(rule_on("signal.margin.undefined_share", Op.MORE, 0.05)).start()
    await told(world, NOON_MS, *[0.5] * (100 - missing), *[None] * missing)
    await world.close(0)
    assert expected == statuses(await world.round())


@pytest.mark.parametrize(("value", "expected"), [(-4.0, ["firing: breach"]), (-1.5, [])])
async def test_quantile_that_fell_since_yesterday_is_told(value: float, expected: list[str]) -> None:
    world = await AlertWorld(rule_on("signal.margin.p50", Op.LESS, -1.0, against=Against.DAY)).start()
    said = []
    for at_ms, spread in ((NOON_MS, -1.0), (NOON_MS + DAY_MS, value)):
        await told(world, at_ms, *[spread + number / 100 for number in range(100)])
        await world.settle((at_ms - NOON_MS) // WINDOW_MS)
        said = await world.round(after_ms=WINDOW_MS)
    assert expected == statuses(said)
