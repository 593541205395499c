"""Tests of alert rules in promtool's manner: figures of windows go in, the alerts that fire are compared.

    rule_files: [rules.yaml]
    tests:
      - interval: 5m
        input_series:
          - {series: 'accuracy{model="fraud"}', values: '0.95x3 0.7x2', samples: 500}
        alert_rule_test:
          - {eval_time: 15m, alertname: AccuracyLow, exp_alerts: []}
          - eval_time: 25m
            alertname: AccuracyLow
            exp_alerts: [{exp_labels: {model: fraud, severity: critical, rule: accuracy-5m}}]

Values are promtool's: `0.95x3` is 0.95 and three more of it, `1+2x3` is 1 3 5 7, `_` a window without reports.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.alert_rule_files import load_rules
from agents.settings import Settings
from agents.settings_fields import read_section, reads, required, setting
from agents.settings_file import ConfigurationError, Found, Mistake, Unreadable, did_you_mean, parse
from agents.settings_readers import choice, duration, each, file_name, mapping_of, number, text, whole_number
from schemas.errors import Rejected
from schemas.times import format_time, parse_time_ms
from schemas.window_report import Metric, Window
from streams.alerting.assessment import assess, known_past, new_record, past_in, slices_tested
from streams.alerting.life_cycle import Phase
from streams.alerting.metrics import is_metric, known_metrics, range_of
from streams.alerting.observation import JudgedReport
from streams.alerting.publication import alert_annotations
from streams.alerting.record import AlertRecord
from streams.alerting.rules import AlertRule, Series
from streams.alerting.verdict import Past, Surroundings
from streams.monitored_model import DAY_MS
from streams.quality.intervals import wilson_interval
from streams.windows import WindowStatus

__all__ = ["Difference", "run_rule_tests"]

DEFAULT_SAMPLES = 1000
DEFAULT_START_MS = parse_time_ms("2026-01-01T00:00:00Z")
LONGEST_VALUES = 100_000

_SERIES = re.compile(r"\s*([a-z0-9_]+|signal\.[^{]+?)\s*(?:\{(.*)\})?\s*")
_LABEL = re.compile(r'\s*([^\s"=,]+)\s*=\s*"([^"]*)"\s*(?:,|$)')
_NUMBER = r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?"
_VALUE = re.compile(rf"(?:(_)|({_NUMBER})(?:([-+])({_NUMBER.removeprefix('[-+]?')}))?)(?:x([0-9]{{1,6}}))?")
_texts = mapping_of(text("a name"), text("text", longest_bytes=10_000, pattern=r"(?s:.*)"), "names and texts")


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """An expectation that was not met: of which test and moment, what was expected and what there was instead."""

    test: str
    alert: str
    at: str
    expected: Sequence[str]
    found: Sequence[str]


@dataclasses.dataclass(frozen=True, slots=True)
class _Input:
    """One metric of one slice; `values` by window, None where there is no report."""

    metric: str
    model: str
    model_version: str
    segment: Mapping[str, str]


@reads({"type": "string"})
def _series(found: Found) -> _Input:
    example = "a series such as 'accuracy{model=\"fraud\"}'"
    parts = _SERIES.fullmatch(found.text or "")
    if parts is None:
        found.fail(example)
    metric, written = parts[1], parts[2] or ""
    if not is_metric(metric):
        found.fail(f"{example}; {metric} is no metric{did_you_mean(metric, known_metrics())}")
    labels = dict(_LABEL.findall(written))
    if _LABEL.sub("", written).strip() or "model" not in labels:
        found.fail(f"{example}, with a model")
    model, version = labels.pop("model"), labels.pop("model_version", "")
    return _Input(metric, model, version, labels)


@reads({"type": ["string", "number"]})
def _values(found: Found) -> tuple[float | None, ...]:
    example = "values such as '0.95x3 _ 0.7+0.1x2'"
    try:
        words = str(found.text or found.scalar).split()
    except Unreadable:
        found.fail(example)
    values: list[float | None] = []
    for word in words:
        parts = _VALUE.fullmatch(word)
        if parts is None:
            found.fail(f"{example}; {word!r} is none")
        missing, first, sign, step, times = parts.groups()
        more = int(times or 0)
        if missing:
            values += [None] * max(1, more)
        else:
            increment = float(f"{sign or '+'}{step or 0}")
            values += [float(first) + increment * count for count in range(more + 1)]
        if len(values) > LONGEST_VALUES:
            found.fail(f"at most {LONGEST_VALUES} values")
    return tuple(values)


@reads({"type": "string"})
def _time(found: Found) -> int:
    try:
        return parse_time_ms(found.text or "")
    except Rejected:
        found.fail("a time such as 2026-01-01T00:00:00Z; put it in quotes")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InputSeries:
    """The figures of consecutive windows."""

    series: _Input = required(_series, "Metric, model, version and segment.")
    values: tuple[float | None, ...] = required(_values, "Its values, one for each window.")
    samples: int = setting(DEFAULT_SAMPLES, whole_number(0, 10**12), "Its `n`.")
    coverage: float = setting(1.0, number(0, 1), "Share of labels that are here.")
    status: str = setting("final", choice(*WindowStatus), "Of the windows.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedAlert:
    """An alert that fires. All labels but `alertname` are compared, and of the annotations those given."""

    exp_labels: Mapping[str, str] = setting(dict, _texts, "Its labels.")
    exp_annotations: Mapping[str, str] = setting(dict, _texts, "Some of its annotations.")


def _reader(kind: type[Any], expected: str) -> Any:
    @reads({"type": "object"})
    def read(found: Found) -> Any:
        if not found.is_mapping:
            found.fail(expected)
        before = len(found.mistakes)
        value = read_section(kind, found, found.mistakes, None, found.path)
        if len(found.mistakes) > before:
            raise Unreadable
        return value

    return read


def _each(kind: type[Any], expected: str) -> Any:
    return each(_reader(kind, expected), f"a list: {expected}", repeats=True)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Which alerts of a name fire once all windows are known that ended by then."""

    eval_time_ms: int = required(duration(), "Since the start of the first window.")
    alertname: str = required(text("the name of an alert"), "Whose alerts are compared.")
    exp_alerts: tuple[ExpectedAlert, ...] = setting((), _each(ExpectedAlert, "alerts"), "Those that fire.")
    line: int = 0


_EXPECTED = "expected alerts"


@reads({"type": "object"})
def _expectation(found: Found) -> Any:
    return dataclasses.replace(_reader(Expectation, _EXPECTED)(found), line=found.line or 0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RuleTest:
    """One test: series in, alerts out."""

    interval_ms: int = required(duration(1000, 366 * DAY_MS, step_ms=1000), "Size of the windows.")
    name: str = setting("", text("a name"), "For messages.")
    start: int = setting(DEFAULT_START_MS, _time, "Start of the first window.")
    input_series: tuple[InputSeries, ...] = setting((), _each(InputSeries, "series with values"), "The figures.")
    alert_rule_test: tuple[Expectation, ...] = setting(
        (), each(_expectation, f"a list: {_EXPECTED}", repeats=True), "The alerts."
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TestFile:
    """A whole file."""

    rule_files: tuple[Path, ...] = setting((), each(file_name, "a list of rule files"), "The rules to be tested.")
    tests: tuple[RuleTest, ...] = setting((), _each(RuleTest, "tests"), "The tests.")


def run_rule_tests(file: Path, settings: Settings) -> tuple[int, list[Difference]]:
    """Run the tests of a file.

    Returns: how many expectations there were, and those that were not met.
    Raises: ConfigurationError for mistakes in the file or its rule files.
    """
    mistakes: list[Mistake] = []
    try:
        root = parse(file.read_bytes(), file=str(file))
    except OSError as error:
        raise ConfigurationError([Mistake(None, str(file), "no readable file", "expected a file of tests")]) from error
    found = None if root is None else Found(root, "", mistakes, file.parent)
    read = read_section(TestFile, found, mistakes, None)
    if mistakes:
        raise ConfigurationError(mistakes, file=str(file))
    rules = load_rules(settings, read.rule_files)
    if unknown := list(_unknown_alerts(read, rules)):
        raise ConfigurationError(unknown, file=str(file))
    count = 0
    differences: list[Difference] = []
    for at, test in enumerate(read.tests, start=1):
        run = _Run(test, rules, settings)
        for expectation in sorted(test.alert_rule_test, key=lambda each: each.eval_time_ms):
            run.until(test.start + expectation.eval_time_ms)
            count += 1
            differences += run.compare(expectation, test.name or f"test {at}")
    return count, differences


def _unknown_alerts(read: TestFile, rules: Sequence[AlertRule]) -> Iterator[Mistake]:
    """Names that are misspelt: nothing of such a name could ever fire, so that it does not is no news."""
    names = {rule.alert for rule in rules}
    for test in read.tests:
        for expectation in test.alert_rule_test:
            if (name := expectation.alertname) not in names:
                remedy = f"expected a rule of that name in rule_files{did_you_mean(name, names)}"
                yield Mistake(expectation.line, "alertname", json.dumps(name), remedy)


class _Run:
    """One test in progress."""

    def __init__(self, test: RuleTest, rules: Sequence[AlertRule], settings: Settings) -> None:
        self._test = test
        self._rules = {rule.identity: rule for rule in rules}
        self._settings = settings
        self._next = 0
        self._records: dict[tuple[str, Series], AlertRecord] = {}
        self._windows: dict[tuple[Series, int], JudgedReport] = {}

    def until(self, at_ms: int) -> None:
        """Take in every window that ends by then."""
        test = self._test
        while test.start + (self._next + 1) * test.interval_ms <= at_ms:
            reports = list(self._reports(self._next))
            now_ms = test.start + (self._next + 1) * test.interval_ms
            for report in reports:
                self._windows[report.series, parse_time_ms(report.window.start)] = report
                for rule in self._rules.values():
                    if rule.when.matches(report.series):
                        for series in rule.when.series_in(report.series, report.metrics):
                            self._assess(rule, series, report, reports, now_ms)
            self._next += 1

    def _assess(
        self, rule: AlertRule, series: Series, report: JudgedReport, beside: Sequence[JudgedReport], now_ms: int
    ) -> None:
        place = (rule.identity, series)
        before = self._records.get(place) or new_record(rule, series)
        beside = beside if rule.when.spans_segments else (report,)
        around = Surroundings(
            slices=slices_tested(rule, beside) if rule.when.divides_confidence else 1,
            report_level=self._settings.confidence_level,
            past=self._past(rule, rule.when.metric_of(series), report),
        )
        self._records[place] = assess(before, rule, report, around, now_ms=now_ms)

    def _past(self, rule: AlertRule, metric: str, report: JudgedReport) -> Past | None:
        against = rule.when.against
        if against is None:
            return None
        if against.back_ms is None:
            return known_past(metric, self._settings.model(report.model))
        before = self._windows.get((report.series, parse_time_ms(report.window.start) - against.back_ms))
        return None if before is None else past_in(rule, metric, before)

    def _reports(self, index: int) -> Iterator[JudgedReport]:
        """The reports of the window of that number, one for each slice."""
        by_slice: dict[Series, list[tuple[InputSeries, float]]] = {}
        for given in self._test.input_series:
            value = given.values[index] if index < len(given.values) else None
            if value is not None:
                segment = tuple(sorted(given.series.segment.items()))
                series = Series(given.series.model, given.series.model_version, segment, self._test.interval_ms)
                by_slice.setdefault(series, []).append((given, value))
        start_ms = self._test.start + index * self._test.interval_ms
        for series, figures in by_slice.items():
            first = figures[0][0]
            yield JudgedReport(
                kind="quality",
                model=series.model,
                model_version=series.model_version,
                segment=dict(series.segment),
                window=Window.of(start_ms, series.window_ms),
                status=first.status,
                revision=1,
                metrics={given.series.metric: self._metric(given, value) for given, value in figures},
                coverage=first.coverage,
            )

    def _metric(self, given: InputSeries, value: float) -> Metric:
        low, high = value, value
        if range_of(given.series.metric) == (0.0, 1.0):
            low, high = wilson_interval(value, given.samples, confidence_level=self._settings.confidence_level)
        return Metric(value=value, low=low, high=high, n=given.samples)

    def compare(self, expectation: Expectation, test: str) -> Iterator[Difference]:
        """What is not as expected."""
        firing = [
            (dict(record.labels), alert_annotations(record, record.state.notice, self._rules[record.rule]))
            for record in self._records.values()
            if record.alert == expectation.alertname
            and record.state.phase is Phase.FIRING
            and record.state.notice is not None
        ]
        expected = [
            ({"alertname": expectation.alertname, **alert.exp_labels}, alert.exp_annotations)
            for alert in expectation.exp_alerts
        ]
        left = list(firing)
        for labels, texts in expected:
            met = next((each for each in left if each[0] == labels and texts.items() <= each[1].items()), None)
            if met is not None:
                left.remove(met)
        if left or len(firing) != len(expected):
            named = {name for _, texts in expected for name in texts}
            yield Difference(
                test=test,
                alert=expectation.alertname,
                at=format_time(self._test.start + expectation.eval_time_ms),
                expected=[_shown(labels, texts) for labels, texts in expected],
                found=[
                    _shown(labels, {name: texts[name] for name in named & texts.keys()}) for labels, texts in firing
                ],
            )


def _shown(labels: Mapping[str, str], texts: Mapping[str, str]) -> str:
    written = ["{" + ", ".join(f'{name}="{each[name]}"' for name in sorted(each)) + "}" for each in (labels, texts)]
    return f"labels: {written[0]}" + (f", annotations: {written[1]}" if texts else "")
