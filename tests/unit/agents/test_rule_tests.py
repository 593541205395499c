"""`latelabel rules test`: promtool's manner, for windows."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agents.__main__ import main

RULES = """\
groups:
  - name: quality
    rules:
      - alert: AccuracyLow
        when: {metric: accuracy, op: "<", value: 0.9}
        for: 10m
        labels: {severity: critical}
        annotations: {summary: "{{ $labels.model }} at {{ $value | humanizePercentage }}"}
      - alert: CountryLow
        when: {metric: accuracy, op: "<", value: 0.9, segment: {country: "*"}}
      - alert: Dropped
        when: {metric: accuracy, op: "<", value: -0.05, against: 1d}
"""
TESTS = """\
rule_files: [rules.yaml]
tests:
  - name: fires after ten minutes and resolves
    interval: 5m
    input_series:
      - {series: 'accuracy{model="fraud", model_version="3"}', values: '0.95x2 0.7x2 _ 0.95', samples: 500}
    alert_rule_test:
      - {eval_time: 25m, alertname: AccuracyLow, exp_alerts: EXPECTED}
      - {eval_time: 20m, alertname: AccuracyLow}
      - {eval_time: 1h, alertname: AccuracyLow}
"""
ALERT = """[{exp_labels: {model: fraud, model_version: "3", rule: accuracy-5m, severity: critical},
  exp_annotations: {summary: fraud at 70%, samples: "500"}}]"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


def run(folder: Path, text: str) -> Result:
    (folder / "tests.yaml").write_text(text)
    return CliRunner().invoke(main, ["rules", "test", "tests.yaml"], standalone_mode=False)


def test_expectations_that_are_met_end_with_0(folder: Path) -> None:
    done = run(folder, TESTS.replace("EXPECTED", ALERT))
    assert (0, "tests.yaml: 3 of 3 expectations met\n") == (done.return_value, done.output)


def test_expectation_that_is_not_met_shows_both_and_ends_with_1(folder: Path) -> None:
    done = run(folder, TESTS.replace("EXPECTED", ALERT.replace("70%", "71%")))
    labels = (
        'labels: {alertname="AccuracyLow", model="fraud", model_version="3", rule="accuracy-5m", severity="critical"}'
    )
    assert 1 == done.return_value
    assert [
        "tests.yaml: 2 of 3 expectations met",
        "  FAILED: fires after ten minutes and resolves, alertname: AccuracyLow, time: 2026-01-01T00:25:00Z",
        f'    expected: {labels}, annotations: {{samples="500", summary="fraud at 71%"}}',
        f'    found: {labels}, annotations: {{samples="500", summary="fraud at 70%"}}',
    ] == done.output.splitlines()


def test_alert_that_nobody_expects_fails(folder: Path) -> None:
    done = run(folder, TESTS.replace("EXPECTED", "[]"))
    assert 1 == done.return_value
    assert "    expected: none\n" in done.output


def test_slices_are_tested_side_by_side(folder: Path) -> None:
    done = run(
        folder,
        """\
rule_files: [rules.yaml]
tests:
  - interval: 1h
    input_series:
      - {series: 'accuracy{model="fraud", country="DE"}', values: '0.95'}
      - {series: 'accuracy{model="fraud", country="FR"}', values: '0.6'}
    alert_rule_test:
      - eval_time: 1h
        alertname: CountryLow
        exp_alerts:
          - exp_labels: {model: fraud, country: FR, severity: warning, rule: accuracy-1h}
            exp_annotations: {slices: "2"}
""",
    )
    assert (0, None) == (done.return_value, done.exception), done.output


def test_relative_rule_finds_the_day_before(folder: Path) -> None:
    done = run(
        folder,
        """\
rule_files: [rules.yaml]
tests:
  - interval: 1d
    input_series:
      - {series: 'accuracy{model="fraud"}', values: '0.95-0.15x1'}
    alert_rule_test:
      - {eval_time: 1d, alertname: Dropped}
      - eval_time: 2d
        alertname: Dropped
        exp_alerts: [{exp_labels: {model: fraud, severity: warning, rule: accuracy-1d}}]
""",
    )
    assert 0 == done.return_value, done.output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "tests: [{interval: 5m, input_series: [{series: 'x', values: '1'}]}]",
            "tests[0].input_series[0].series: found",
        ),
        ("tests: [{interval: 5m, input_series: [{series: 'accuracy{model=\"m\"}', values: '1y'}]}]", "'1y' is none"),
        (
            "tests: [{interval: 5m, input_series: [{series: 'accuracy{model=\"m\"}', values: [0.9, 0.8]}]}]",
            "tests.yaml:1: tests[0].input_series[0].values: found a list of 2, expected values such as '0.95x3",
        ),
        (
            "rule_files: [rules.yaml]\ntests: [{interval: 5m, alert_rule_test: [{eval_time: 5m, alertname: Acuracy}]}]",
            'tests.yaml:2: alertname: found "Acuracy", expected a rule of that name in rule_files; did you mean "A',
        ),
        ("tests: [{alert_rule_test: []}]", "tests.yaml:1: tests[0]: found no interval"),
        ("rule_files: [none.yaml]", "none.yaml: found no file"),
    ],
)
def test_mistake_in_a_file_of_tests_is_told_with_its_line(folder: Path, text: str, told: str) -> None:
    done = run(folder, text)
    assert told in str(done.exception)
