"""Alert rules in YAML files: Prometheus' groups of rules, read with every mistake at its line.

groups:
  - name: quality
    rules:
      - alert: AccuracyLow
        when: {metric: accuracy, window: 5m, op: "<", value: 0.9}
        for: 10m
        labels: {severity: critical}
        annotations: {summary: "accuracy of {{ $labels.model }} is {{ $value | humanizePercentage }}"}
"""

from __future__ import annotations

import dataclasses
import fnmatch
import glob
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agents.model_settings import metric_name
from agents.settings import Settings
from agents.settings_fields import Conflict, Reader, read_section, reads, required, setting
from agents.settings_file import ConfigurationError, Found, Mistake, Unreadable, did_you_mean, parse
from agents.settings_readers import choice, duration, each, mapping_of, number, optional, text, whole_number
from agents.settings_schema import section_schema
from schemas.alert import LABEL_NAME
from streams.alerting.metrics import range_of, tasks_of
from streams.alerting.rules import DEFAULT_CONFIDENCE, DEFAULT_MIN_SAMPLES, Against, AlertRule, Condition, Op
from streams.alerting.templates import TemplateMistake, parse_template
from streams.errors import LatelabelError
from streams.monitored_model import DAY_MS
from streams.signals.definitions import names_signals, signals_meant
from streams.windows import WindowStatus

__all__ = ["RuleFileError", "load_rules", "patterns_of_no_file", "rule_file_schema", "rules_about_no_model"]

RESERVED_LABELS = ("alertname", "model", "model_version")
LONGEST_TEXT_BYTES = 10_000

Instance = TypeVar("Instance")
SECOND_MS = 1000

_pattern = text('a name or a pattern such as "fraud-*"', longest_bytes=128)


class RuleFileError(ConfigurationError):
    """Rules that cannot be used: every mistake of every file, each with the file's name and line."""

    def __init__(self, mistakes: Sequence[tuple[Path, Mistake]]) -> None:
        self.mistakes = [mistake for _, mistake in mistakes]
        LatelabelError.__init__(self, "\n".join(mistake.describe(str(file)) for file, mistake in mistakes))


@reads({"anyOf": [{"type": "number", "minimum": 0.5, "maximum": 0.9999}, {"const": "none"}]})
def _confidence(found: Found) -> float | None:
    if found.text == "none":
        return None
    try:
        return float(number(0.5, 0.9999)(dataclasses.replace(found, mistakes=[])))
    except Unreadable:
        found.fail("none, or a number from 0.5 to 0.9999 such as 0.95")


@reads({"type": "string", "maxLength": LONGEST_TEXT_BYTES})
def _template(found: Found) -> str:
    value = found.text
    if value is None or len(value.encode()) > LONGEST_TEXT_BYTES:
        found.fail(f"text of at most {LONGEST_TEXT_BYTES} bytes; put it in quotes")
    try:
        parse_template(value)
    except TemplateMistake as mistake:
        found.complain("a template that cannot be filled in", str(mistake))
        raise Unreadable from mistake
    return value


def _label_name(*, reserved: Sequence[str] = ()) -> Reader:
    read_name = text("a name of letters, digits and underscores", pattern=LABEL_NAME.strip("^$"), longest_bytes=128)

    @reads(read_name.schema)
    def read(found: Found) -> str:
        name: str = read_name(found)
        if name in reserved:
            found.fail(f"a label of your own; {', '.join(reserved)} are given by the monitor")
        return name

    return read


_labels = mapping_of(_label_name(reserved=RESERVED_LABELS), _template, "labels such as {severity: critical}")
_annotations = mapping_of(_label_name(), _template, 'annotations such as {summary: "…"}')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WhenSettings:
    """The `when` of a rule, as it is written."""

    metric: str = required(metric_name, "The figure, as reports call it.")
    op: str = required(choice(*Op), "Which side of `value` is bad.")
    value: float = required(
        number(-1e300, 1e300), "What the figure is compared with; with `against`, the difference that is bad."
    )
    model: str = setting("*", _pattern, "Of which models: a name or a pattern with `*`, `?` and `[…]`.")
    model_version: str = setting(
        "*", text("a version or a pattern", pattern=r"(?s:.*)", longest_bytes=128), "Of which versions, likewise."
    )
    window_ms: int | None = setting(
        None,
        optional(duration(SECOND_MS, 366 * DAY_MS, step_ms=SECOND_MS)),
        "Size of the windows, one of the model's `report_windows`. None: every size, each with an alert of its own.",
    )
    segment: Mapping[str, str] = setting(
        dict,
        mapping_of(text("the name of a segment", longest_bytes=128), _pattern, 'segments such as {country: "*"}'),
        "Which slices: names with the values or patterns that are meant. Empty: everything, not its slices.",
    )
    status: tuple[str, ...] = setting(
        (WindowStatus.PROVISIONAL, WindowStatus.FINAL),
        each(choice(*WindowStatus), "a list such as [final]", least=1),
        "Windows of which status are looked at.",
    )
    against: str | None = setting(
        None,
        optional(choice(*Against)),
        "Compare with the model's `references`, or with the like window a day (`1d`) or a week (`7d`) before. None: the"
        " figure itself is compared.",
    )
    min_samples: int = setting(
        DEFAULT_MIN_SAMPLES,
        whole_number(0, 10**12),
        "The figure's own `n` below which a window is not looked at. Intervals of fewer claim too much.",
    )
    min_coverage: float | None = setting(
        None,
        optional(number(0, 1)),
        "Share of labels below which a window is not looked at. None: nine tenths of what the model's windows usually"
        " reach; early labels are no fair sample.",
    )
    confidence: float | None = setting(
        DEFAULT_CONFIDENCE,
        _confidence,
        "Two-sided: how sure it has to be that `value` is passed, over all looks at a window. `none`: as it stands.",
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Bounds that no value breaks, or that every value breaks."""
        if self.against is not None:
            return
        low, high = range_of(self.metric)
        breaks = [Op(self.op).holds(bound, self.value) for bound in (low, high)]
        if breaks[0] == breaks[1] and (low, high) != (float("-inf"), float("inf")):
            yield Conflict(
                ("value", "op"),
                f"a limit that {self.metric} can be on either side of; it lies between {low:g} and {high:g}, so"
                f" {self.op} {self.value:g} {'always' if breaks[0] else 'never'} holds",
            )

    def condition(self) -> Condition:
        """The condition as the core knows it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Condition(
            **fields
            | {
                "op": Op(self.op),
                "against": None if self.against is None else Against(self.against),
                "status": tuple(map(WindowStatus, self.status)),
            }
        )


@reads(section_schema(WhenSettings))
def _when(found: Found) -> Condition:
    return _section(
        WhenSettings, found, "metric, op and value, such as {metric: accuracy, op: <, value: 0.9}"
    ).condition()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """One rule, as it is written."""

    alert: str = required(text("the name of the alert", longest_bytes=200), "Name of the alert, its label `alertname`.")
    when: Condition = required(_when, "What a breach is.")
    for_ms: int = setting(0, duration(), "Event time that consecutive breaches have to span before the alert fires.")
    keep_firing_for_ms: int = setting(
        0, duration(), "Event time that has to be fine before the alert resolves, so that it does not flap."
    )
    labels: Mapping[str, str] = setting(dict, _labels, "Labels of the alert, such as `severity` (default: warning).")
    annotations: Mapping[str, str] = setting(
        dict, _annotations, "Texts of the alert, templates as Prometheus has them."
    )
    line: int = 0


@reads(section_schema(RuleSettings))
def _rule(found: Found) -> RuleSettings:
    settings = _section(RuleSettings, found, "a rule that begins with its name: {alert: AccuracyLow, when: …}")
    return dataclasses.replace(settings, line=found.line or 0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """One group, as it is written."""

    name: str = required(text("the name of the group", longest_bytes=200), "Name of the group.")
    rules: tuple[RuleSettings, ...] = setting((), each(_rule, "a list of rules", repeats=True), "Its rules.")


@reads(section_schema(GroupSettings))
def _group(found: Found) -> GroupSettings:
    return _section(GroupSettings, found, "a group that begins with its name: {name: quality, rules: […]}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """A whole file."""

    groups: tuple[GroupSettings, ...] = setting(
        (), each(_group, "a list of groups", name="name"), "Groups of rules, as in Prometheus."
    )


def _section(kind: type[Instance], found: Found, expected: str) -> Instance:
    if not found.is_mapping:
        found.fail(expected)
    before = len(found.mistakes)
    read = read_section(kind, found, found.mistakes, None, found.path)
    if len(found.mistakes) > before:
        raise Unreadable
    return read


def rule_file_schema() -> dict[str, Any]:
    """The JSON Schema of a rule file, for editors."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:latelabel:rules",
        "title": "Alert rules of Latelabel",
        **section_schema(FileSettings),
    }


def load_rules(settings: Settings, files: Sequence[Path] | None = None) -> tuple[AlertRule, ...]:
    """Read all rule files.

    Args:
        settings: rules are checked against its models.
        files: instead of the `rule_files` of the settings.

    Raises: RuleFileError with every mistake of every file.
    """
    mistakes: list[tuple[Path, Mistake]] = []
    rules: list[AlertRule] = []
    for file in _matching(settings.rule_files if files is None else files, mistakes):
        found_here: list[Mistake] = []
        try:
            read = _read_file(file, found_here)
        except ConfigurationError as error:
            found_here, read = list(error.mistakes), []
        for rule in read:
            found_here += _against_models(rule, settings)
            found_here += _against_others(rule, rules)
            rules.append(rule)
        mistakes += ((file, mistake) for mistake in sorted(found_here, key=lambda mistake: mistake.line or 0))
    if mistakes:
        raise RuleFileError(mistakes)
    return tuple(rules)


def rules_about_no_model(rules: Iterable[AlertRule], settings: Settings) -> Iterator[str]:
    """What to say of each rule for which the configuration lists no model: one that it does not list may still come,
    but a name that is misspelt would never be noticed. Nothing if no models are listed."""
    names = [model.name for model in settings.models]
    for rule in rules:
        pattern = rule.when.model
        if names and not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            yield (
                f"{rule.file}:{rule.line}: no model of the configuration is called {pattern}; {rule.alert} says nothing"
                f" until predictions of one come{did_you_mean(pattern, names)}"
            )


def patterns_of_no_file(settings: Settings) -> Iterator[str]:
    """What to say of each pattern of `rule_files` that finds nothing: files may still come, but a mistake in it would
    never be noticed."""
    for pattern in map(str, settings.rule_files):
        if glob.has_magic(pattern) and not glob.glob(pattern):  # noqa: PTH207
            yield f"rule_files: {pattern} finds no file, so it brings no alert"


def _matching(patterns: Sequence[Path], mistakes: list[tuple[Path, Mistake]]) -> Iterator[Path]:
    seen: set[Path] = set()
    for pattern in patterns:
        files = sorted(map(Path, glob.glob(str(pattern)))) if glob.has_magic(str(pattern)) else [pattern]  # noqa: PTH207
        for file in files:
            if file.is_file() and file not in seen:
                seen.add(file)
                yield file
            elif not file.is_file():
                mistake = Mistake(None, str(file), "no file", "expected a rule file; rule_files names it")
                mistakes.append((file, mistake))


def _read_file(file: Path, mistakes: list[Mistake]) -> list[AlertRule]:
    root = parse(file.read_bytes(), file=str(file))
    found = None if root is None else Found(root, "", mistakes, file.parent)
    settings = read_section(FileSettings, found, mistakes, None)
    return [
        AlertRule(
            group=group.name,
            alert=rule.alert,
            when=rule.when,
            for_ms=rule.for_ms,
            keep_firing_for_ms=rule.keep_firing_for_ms,
            labels=dict(rule.labels),
            annotations=dict(rule.annotations),
            file=str(file),
            line=rule.line,
        )
        for group in settings.groups
        for rule in group.rules
    ]


def _against_others(rule: AlertRule, others: Sequence[AlertRule]) -> Iterator[Mistake]:
    for other in others:
        if _asks(rule) == _asks(other):
            yield Mistake(
                rule.line,
                f"alert {rule.alert}",
                f"the same labels and windows as in {other.file}:{other.line}",
                "expected a label that tells the two alerts apart, such as severity",
            )


def _asks(rule: AlertRule) -> tuple[object, ...]:
    """What becomes the labels of its alerts."""
    when = rule.when
    windows = (when.metric, when.model, when.model_version, dict(when.segment), when.window_ms)
    return rule.alert, dict(rule.labels), windows


def _against_models(rule: AlertRule, settings: Settings) -> Iterator[Mistake]:
    """What a model that is named and configured cannot have."""
    when = rule.when
    checks: Mapping[str, Callable[[Any], str | None]] = {
        "metric": lambda model: (
            None
            if model.task in tasks_of(when.metric)
            else f"a figure of {' or '.join(tasks_of(when.metric))} models; {model.name} is {model.task}"
        ),
        "window": lambda model: (
            None
            if when.window_ms is None or when.window_ms in model.report_windows_ms
            else f"one of the report_windows of {model.name}"
        ),
        "segment": lambda model: (
            None if set(when.segment) <= set(model.segments) else f"segments that {model.name} declares"
        ),
        "against": lambda model: (
            None
            if when.against is not Against.REFERENCE
            or when.metric in model.references
            or (names_signals(when.metric) and signals_meant(when.metric, model.references))
            else f"references of {model.name} to have {when.metric}"
        ),
    }
    for model in settings.models:
        if model.name == when.model:
            for key, check in checks.items():
                if expected := check(model):
                    place = f"alert {rule.alert}: when.{key}"
                    yield Mistake(rule.line, place, f"what {model.name} does not have", f"expected {expected}")
