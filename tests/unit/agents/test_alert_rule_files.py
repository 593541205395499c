"""Rule files: what is read, and every mistake with its file, line and remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agents.alert_rule_files import (
    RuleFileError,
    load_rules,
    patterns_of_no_file,
    rule_file_schema,
    rules_about_no_model,
)
from agents.settings import Settings
from streams.alerting.rules import Against, AlertRule, Condition, Op, Series
from streams.monitored_model import MINUTE_MS, MonitoredModel, Task
from streams.windows import WindowStatus

SETTINGS = Settings(
    models=(
        MonitoredModel(name="fraud", task=Task.BINARY, positive_class="fraud", references={"accuracy": 0.94}),
        MonitoredModel(name="price", task=Task.REGRESSION),
    )
)
FULL = """\
groups:
  - name: quality
    rules:
      - alert: AccuracyLow
        when:
          metric: accuracy
          model: fraud*
          model_version: "3"
          window: 5m
          segment: {country: "*"}
          status: [final]
          op: "<"
          value: -0.05
          against: 1d
          min_samples: 200
          min_coverage: 0.8
          confidence: 0.99
        for: 10m
        keep_firing_for: 5m
        labels: {severity: critical, team: "{{ $labels.country }}"}
        annotations: {summary: "accuracy {{ $value | humanizePercentage }}"}
"""


def rule_text(when: str, **others: str) -> str:
    rest = "".join(f"        {name}: {text}\n" for name, text in others.items())
    return f"groups:\n  - name: g\n    rules:\n      - alert: A\n        when: {{{when}}}\n{rest}"


def load(text: str, folder: Path, settings: Settings = SETTINGS) -> tuple[AlertRule, ...]:
    file = folder / "rules.yaml"
    file.write_text(text)
    return load_rules(settings, [file])


def mistakes(text: str, folder: Path, settings: Settings = SETTINGS) -> list[str]:
    with pytest.raises(RuleFileError) as raised:
        load(text, folder, settings)
    return str(raised.value).replace(f"{folder}/", "").splitlines()


def test_every_key_of_a_rule_is_read(tmp_path: Path) -> None:
    (rule,) = load(FULL, tmp_path)
    assert rule == AlertRule(
        group="quality",
        alert="AccuracyLow",
        when=Condition(
            metric="accuracy",
            op=Op.LESS,
            value=-0.05,
            model="fraud*",
            model_version="3",
            segment={"country": "*"},
            window_ms=5 * MINUTE_MS,
            status=(WindowStatus.FINAL,),
            against=Against.DAY,
            min_samples=200,
            min_coverage=0.8,
            confidence=0.99,
        ),
        for_ms=10 * MINUTE_MS,
        keep_firing_for_ms=5 * MINUTE_MS,
        labels={"severity": "critical", "team": "{{ $labels.country }}"},
        annotations={"summary": "accuracy {{ $value | humanizePercentage }}"},
        file=str(tmp_path / "rules.yaml"),
        line=4,
    )


def test_least_rule_has_the_defaults_of_a_careful_one(tmp_path: Path) -> None:
    (rule,) = load(rule_text('metric: accuracy, op: "<", value: 0.9'), tmp_path)
    assert Condition(metric="accuracy", op=Op.LESS, value=0.9) == rule.when
    assert (0.95, 30, None) == (rule.when.confidence, rule.when.min_samples, rule.when.min_coverage)


def test_confidence_none_compares_the_value_itself(tmp_path: Path) -> None:
    (rule,) = load(rule_text('metric: accuracy, op: "<", value: 0.9, confidence: none'), tmp_path)
    assert rule.when.confidence is None


def test_patterns_say_which_models_versions_slices_and_windows_are_meant(tmp_path: Path) -> None:
    (rule,) = load(FULL, tmp_path)
    germany = Series("fraud-eu", "3", (("country", "DE"),), 5 * MINUTE_MS)
    assert rule.when.matches(germany)
    for other in (
        Series("churn", "3", (("country", "DE"),), 5 * MINUTE_MS),
        Series("fraud", "4", (("country", "DE"),), 5 * MINUTE_MS),
        Series("fraud", "3", (), 5 * MINUTE_MS),
        Series("fraud", "3", (("country", "DE"),), 60 * MINUTE_MS),
    ):
        assert not rule.when.matches(other)


ACCURACY = 'metric: accuracy, op: "<", value: 0.9'
WHEN = "groups[0].rules[0].when"
RULE = "groups[0].rules[0]"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            rule_text('metric: acuracy, op: "<", value: 0.9'),
            f'5: {WHEN}.metric: found "acuracy", expected a metric, such as accuracy; did you mean "accuracy"?',
        ),
        (rule_text('metric: accuracy, op: "<"'), f"5: {WHEN}: found no value, expected one: What the figure is"),
        (
            rule_text('metric: accuracy, op: "<", value: 0'),
            f"5: {WHEN}.value: found 0, expected a limit that accuracy can be on either side of; it lies",
        ),
        (
            rule_text('metric: mcc, op: "<=", value: 1.5'),
            f"5: {WHEN}.value: found 1.5, expected a limit that mcc can be on either side of; it lies between -1",
        ),
        (
            rule_text("metric: accuracy, op: below, value: 0.9"),
            f'5: {WHEN}.op: found "below", expected one of <, <=, >, >=',
        ),
        (
            rule_text(f"{ACCURACY}, confidence: 1.5"),
            f"5: {WHEN}.confidence: found 1.5, expected none, or a number from 0.5 to 0.9999 such as 0.95",
        ),
        (rule_text(ACCURACY, fr="5m"), f"6: {RULE}.fr: found an unknown key, expected one of alert, when, for,"),
        (
            rule_text(ACCURACY, labels="{model: x}"),
            f'6: {RULE}.labels.model: found "model", expected a label of your own; alertname, model, model_version are',
        ),
        (
            rule_text(ACCURACY, annotations='{summary: "{{ $valeu }}"}'),
            f"6: {RULE}.annotations.summary: found a template that cannot be filled in, {{{{ $valeu }}}}: '$valeu' is",
        ),
        (
            rule_text('metric: mae, model: fraud, op: ">", value: 2'),
            "4: alert A: when.metric: found what fraud does not have, expected a figure of regression models; fraud is",
        ),
        (
            rule_text(f"{ACCURACY}, model: fraud, window: 7m"),
            "4: alert A: when.window: found what fraud does not have, expected one of the report_windows of fraud",
        ),
        (
            rule_text(f'{ACCURACY}, model: fraud, segment: {{land: "*"}}'),
            "4: alert A: when.segment: found what fraud does not have, expected segments that fraud declares",
        ),
        (
            rule_text('metric: recall, model: fraud, against: reference, op: "<", value: -0.1'),
            "4: alert A: when.against: found what fraud does not have, expected references of fraud to have recall",
        ),
        ("groups: [\n", "2: YAML: found expected the node content, but found '<stream end>', expected one YAML"),
    ],
)
def test_mistake_is_told_with_file_line_and_remedy(tmp_path: Path, text: str, told: str) -> None:
    (line,) = mistakes(text, tmp_path)
    assert line.startswith(f"rules.yaml:{told}"), line


def test_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(rule_text('metric: x, op: "<", value: 0.9', **{"for": "soon"}))
    with pytest.raises(RuleFileError) as raised:
        load_rules(SETTINGS, [tmp_path / "none.yaml", tmp_path / "*.yaml"])
    places = [line.split(": ")[0].removeprefix(f"{tmp_path}/") for line in str(raised.value).splitlines()]
    assert ["none.yaml", "a.yaml:5", "a.yaml:6", "b.yaml:5", "b.yaml:6"] == places


@pytest.mark.parametrize("model", ["fraud", "fr*", '"*"'])
def test_rule_on_a_model_of_the_configuration_needs_no_word(tmp_path: Path, model: str) -> None:
    assert [] == list(rules_about_no_model(load(rule_text(f"{ACCURACY}, model: {model}"), tmp_path), SETTINGS))


def test_rule_on_a_model_that_may_never_appear_is_told_and_no_mistake(tmp_path: Path) -> None:
    rules = load(rule_text(f"{ACCURACY}, model: fruad"), tmp_path)
    (told,) = rules_about_no_model(rules, SETTINGS)
    assert told.startswith(
        f"{tmp_path}/rules.yaml:4: no model of the configuration is called fruad; A says nothing until"
    )
    assert told.endswith('; did you mean "fraud"?')
    assert [] == list(rules_about_no_model(rules, Settings()))


def test_pattern_that_finds_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("groups: []")
    missed = str(tmp_path / "rule/*.yaml")
    settings = Settings(rule_files=(tmp_path / "*.yaml", Path(missed)))

    assert [f"rule_files: {missed} finds no file, so it brings no alert"] == list(patterns_of_no_file(settings))
    assert () == load_rules(settings)


def test_two_rules_whose_alerts_nobody_could_tell_apart_are_a_mistake(tmp_path: Path) -> None:
    rule = '      - {alert: A, when: {metric: accuracy, op: "<", value: VALUE}, labels: {severity: SEVERITY}}\n'
    rules = [("0.9", "warning"), ("0.8", "critical"), ("0.7", "warning")]
    text = "groups:\n  - name: g\n    rules:\n" + "".join(
        rule.replace("VALUE", value).replace("SEVERITY", severity) for value, severity in rules
    )
    (told,) = mistakes(text, tmp_path)
    assert told.endswith("rules.yaml:4, expected a label that tells the two alerts apart, such as severity"), told
    assert told.startswith("rules.yaml:6: alert A: found the same labels and windows as in ")


def test_file_that_matches_no_pattern_is_no_mistake_and_one_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FULL)
    assert () == load_rules(SETTINGS, [tmp_path / "*.yml"])
    assert 1 == len(load_rules(SETTINGS, [tmp_path / "*.yaml", tmp_path / "a.yaml"]))


def test_empty_file_holds_no_rules(tmp_path: Path) -> None:
    assert () == load("", tmp_path)


def test_schema_for_editors_takes_what_is_read_and_refuses_unknown_keys() -> None:
    schema: Any = json.loads(json.dumps(rule_file_schema()))
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    assert [] == list(validator.iter_errors(yaml.safe_load(FULL)))
    for key in ("fr", "whn"):
        bad = yaml.safe_load(FULL)
        bad["groups"][0]["rules"][0][key] = "5m"
        assert list(validator.iter_errors(bad))


def test_rule_keeps_its_identity_while_it_asks_the_same(tmp_path: Path) -> None:
    (rule,) = load(FULL, tmp_path)
    (reworded,) = load(FULL.replace("summary: ", "description: ").replace("for: 10m", "for: 1h"), tmp_path)
    (stricter,) = load(FULL.replace("-0.05", "-0.04"), tmp_path)
    assert rule.identity == reworded.identity != stricter.identity
