"""The `models` of the configuration: one section per model, resolved into what the core monitors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

from agents.durations import duration_text
from agents.explain_settings import ExplainSettings
from agents.settings_fields import Applies, Conflict, Reader, read_section, reads, section, setting
from agents.settings_file import Found, Unreadable, did_you_mean
from agents.settings_readers import choice, duration, each, mapping_of, moment, number, optional, text, whole_number
from agents.settings_schema import section_schema
from schemas.classes import class_name
from schemas.errors import Rejected
from schemas.limits import LIST_ENTRIES, NAME_BYTES
from schemas.times import format_time, parse_time_ms
from streams.alerting.metrics import is_metric, known_metrics
from streams.monitored_model import (
    DAY_MS,
    DEFAULT_BETA,
    DEFAULT_K,
    HOUR_MS,
    MINUTE_MS,
    LabelPolicy,
    MonitoredModel,
    Task,
)
from streams.signals.definitions import SIGNAL_DEFINITIONS
from streams.signals.reference import SignalSpan, SignalTerms

__all__ = ["MOST_SIGNALS", "ClassSettings", "ModelSettings", "SignalSettings", "metric_name", "model_section"]

SECOND_MS = 1000
MOST_SEGMENTS = 20
MOST_REPORT_WINDOWS = 10
MOST_SIGNALS = 200

_LATER = Applies.LATER_RECORDS
_LATER_WINDOWS = Applies.LATER_WINDOWS
_NO_TEXT = {"type": ["number", "boolean"]}


_NOT_RESERVED = {"not": {"pattern": "^__(?:.*__|_)?$"}}
"""For editors, what `_is_reserved` refuses."""


def _is_reserved(name: str) -> bool:
    """`__other__`, `__missing__` and their kind are names that the monitor gives."""
    return name.startswith("__") and name.endswith("__")


def _name(what: str) -> Reader:
    @reads({"type": "string", "minLength": 1, "maxLength": NAME_BYTES, **_NOT_RESERVED})
    def read(found: Found) -> str:
        name = found.text
        if name is None or not 1 <= len(name.encode()) <= NAME_BYTES:
            found.fail(f"{what} of 1 to {NAME_BYTES} bytes; put it in quotes if it is a number, true, false or null")
        if _is_reserved(name):
            found.fail(f"{what} that does not begin and end with __; such names are the monitor's own")
        return name

    return read


@reads({"anyOf": [{"type": "string", "minLength": 1, "maxLength": NAME_BYTES, **_NOT_RESERVED}, _NO_TEXT]})
def _class(found: Found) -> str:
    """A class by the rule that also names the classes of predictions: `1`, `1.0` and `"1"` are one."""
    try:
        name = class_name(found.text or found.scalar)
    except (Unreadable, Rejected):
        found.fail(f"a class: text of at most {NAME_BYTES} bytes, a number, true or false")
    if not name or _is_reserved(name):
        found.fail("a class that does not begin and end with __; such names are the monitor's own")
    return name


SIGNAL_METRIC = rf"^signal\..+\.({'|'.join(SIGNAL_DEFINITIONS)})$"
"""For editors, what `streams.signals.definitions.figure_of` takes."""


@reads({"anyOf": [{"enum": sorted(known_metrics())}, {"type": "string", "pattern": SIGNAL_METRIC}]})
def metric_name(found: Found) -> str:
    """Read the name of a figure."""
    name = found.text
    if name is None or not is_metric(name):
        found.fail(f"a metric, such as accuracy{did_you_mean(str(name), known_metrics())}")
    return name


_window = duration(SECOND_MS, 366 * DAY_MS, step_ms=SECOND_MS)
_segment = _name("the name of a segment")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClassSettings:
    """What is known about a model's classes beforehand."""

    names: tuple[str, ...] = setting(
        (),
        each(_class, "a list of classes such as [fraud, ok]"),
        "Classes that get cells of their own before any other. Empty: the first that come, up to `limits.classes`.",
        _LATER,
    )
    aliases: Mapping[str, str] = setting(
        dict,
        mapping_of(_class, _class, 'further spellings such as {"1": fraud}'),
        'Further spellings of classes, as `{"1": fraud}`, in predictions and labels alike.',
        _LATER,
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Spellings that mean two things."""
        for spelling, name in self.aliases.items():
            if spelling in self.names and spelling != name:
                yield Conflict(
                    ("aliases", "names"), "spellings that are no classes themselves", f'"{spelling}" in both'
                )
            if name in self.aliases:
                yield Conflict(("aliases",), "classes, not further spellings, on the right", f'"{name}" on both sides')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SignalSettings:
    """What is known about the signals that predictions tell, and what they are compared with."""

    names: tuple[str, ...] = setting(
        (),
        each(_name("the name of a signal"), "a list of signals such as [margin, attention_entropy]", most=MOST_SIGNALS),
        "Signals that get figures before any other, and where no prediction tells them. Empty: the first that come, up"
        " to `limits.signals`.",
    )
    reference_start: str | None = setting(
        None,
        optional(moment),
        "Signals are compared (`psi`) with how they were distributed from here on: RFC 3339, where a base window"
        " begins. None: they are not compared.",
    )
    reference_end: str | None = setting(
        None,
        optional(moment),
        "And before here. Windows that begin later are compared once the label horizon of this span is over; its counts"
        " have to be there till then (`keep_windows`), and are read once.",
    )
    reference_version: str | None = setting(
        None,
        optional(text("a version", pattern=r"(?s:.*)", longest_bytes=NAME_BYTES)),
        "Of which version. None: each version is compared with itself.",
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Half a span, or an empty one."""
        ends = ("reference_start", "reference_end")
        if (self.reference_start is None) != (self.reference_end is None):
            yield Conflict(ends, "both ends of the span, or neither", "one of them")
        span = self.terms().reference
        if span is not None and span.end_ms <= span.start_ms:
            yield Conflict(ends, "reference_end to be later than reference_start")

    def terms(self) -> SignalTerms:
        """As the core knows them."""
        span = None
        if self.reference_start is not None and self.reference_end is not None:
            start_ms, end_ms = parse_time_ms(self.reference_start), parse_time_ms(self.reference_end)
            span = SignalSpan(start_ms=start_ms, end_ms=end_ms, model_version=self.reference_version)
        return SignalTerms(self.names, span)

    @classmethod
    def of(cls, terms: SignalTerms) -> SignalSettings:
        """The inverse of `terms`."""
        span = terms.reference
        if span is None:
            return cls(names=terms.names)
        return cls(
            names=terms.names,
            reference_start=format_time(span.start_ms),
            reference_end=format_time(span.end_ms),
            reference_version=span.model_version,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One entry of `models`, as it is written."""

    name: str = dataclasses.field(
        metadata=setting(None, _name("the name of a model"), "What predictions call the model.").metadata
    )
    task: str = setting(
        "multiclass",
        choice(*Task),
        "`binary`, `multiclass`, `regression`, `multilabel` (a set of classes) or `ranking` (items from the best on):"
        " which figures exist. `binary` figures are about `positive_class`. Never from classes to numbers or lists, or"
        " back, once the model is counted.",
        Applies.AT_ONCE,
    )
    positive_class: str | None = setting(
        None,
        optional(_class),
        "The class that precision, recall and F1 of a binary model are about. None: they are undefined. After a change"
        " figures of scores begin anew, with windows that start later.",
        Applies.AT_ONCE,
    )
    beta: float = setting(
        DEFAULT_BETA,
        number(0.01, 100),
        "How much recall weighs against precision in `fbeta` of a binary model: above 1 where a missed positive costs"
        " more than a false one.",
        Applies.AT_ONCE,
    )
    at_k: int = setting(
        DEFAULT_K,
        whole_number(1, LIST_ENTRIES),
        "How many items of a ranking count in the figures called `..._at_k`: about as many as people see.",
        Applies.AT_ONCE,
    )
    classes: ClassSettings = section(ClassSettings, "What is known about the classes beforehand.")
    report_windows_ms: tuple[int, ...] = setting(
        (5 * MINUTE_MS, HOUR_MS),
        each(_window, "a list of durations such as [5m, 1h]", least=1, most=MOST_REPORT_WINDOWS),
        "Sizes of the tumbling windows that are reported: one for the eye, one with enough samples to judge."
        " `base_window` has to divide a new one.",
        Applies.AT_ONCE,
    )
    base_window_ms: int | None = setting(
        None,
        optional(_window),
        "Size of the windows that are counted; divides every report window. None: the smallest report window.",
        Applies.COUNTED_MODELS,
    )
    label_horizon_ms: int = setting(
        DAY_MS,
        duration(SECOND_MS),
        "How long after its prediction a label counts, the labels' delivery delay included. Memory grows with it.",
        _LATER_WINDOWS,
    )
    allowed_skew_ms: int = setting(
        5 * MINUTE_MS,
        duration(0, 366 * DAY_MS),
        "How long before its prediction a label may be: clocks of two systems differ.",
        _LATER,
    )
    label_policy: str = setting(
        "last",
        choice(*LabelPolicy),
        "Which of several labels counts: the `last` (corrections win) or the `first` by label time.",
        _LATER,
    )
    segments: tuple[str, ...] = setting(
        (),
        each(_segment, "a list of segment names such as [country]", most=MOST_SEGMENTS),
        "Names in a prediction's `segment` that get figures of their own. Each one costs cells.",
        _LATER_WINDOWS,
    )
    cross: tuple[tuple[str, ...], ...] = setting(
        (),
        each(
            each(_segment, "a list of two or more segment names", least=2, most=MOST_SEGMENTS),
            "a list of lists such as [[country, device]]",
            most=MOST_SEGMENTS,
        ),
        "Combinations of segments that get figures of their own, as `[[country, device]]`.",
        _LATER_WINDOWS,
    )
    references: Mapping[str, float] = setting(
        dict,
        mapping_of(metric_name, number(-1e300, 1e300), "figures such as {accuracy: 0.94}"),
        "Figures that the model had when it was accepted, for alert rules with `against: reference` and for the page.",
        Applies.AT_ONCE,
    )

    signals: SignalSettings = section(SignalSettings, "The internal state that predictions tell of (`signals`).")
    explain: ExplainSettings = section(ExplainSettings, "How predictions are explained; by default they are not.")

    @property
    def resolved_base_window_ms(self) -> int:
        """The base window, written or not."""
        return self.base_window_ms or min(self.report_windows_ms)

    def conflicts(self) -> Iterator[Conflict]:
        """What cannot hold together, although each value could."""
        base_ms = self.resolved_base_window_ms
        if not_divided := [size_ms for size_ms in self.report_windows_ms if size_ms % base_ms]:
            common = duration_text(math.gcd(*self.report_windows_ms))
            yield Conflict(
                ("base_window", "report_windows"),
                f"base_window to divide every report window, as {common} does",
                f"{duration_text(base_ms)}, which does not divide {duration_text(not_divided[0])}",
            )
        span = self.signals.terms().reference
        if span is not None and (span.start_ms % base_ms or span.end_ms % base_ms):
            yield Conflict(
                ("signals", "base_window"),
                f"a reference that begins and ends with base windows, which are {duration_text(base_ms)} long",
            )
        names = self.classes.names
        if self.positive_class is not None and names and self.positive_class not in names:
            yield Conflict(("positive_class", "classes"), f"one of classes.names: {', '.join(names)}")
        if self.positive_class is not None and self.task != Task.BINARY:
            yield Conflict(
                ("task", "positive_class"), "binary, since positive_class is given; or no positive_class", self.task
            )
        if self.beta != DEFAULT_BETA and self.task != Task.BINARY:
            yield Conflict(("task", "beta"), "binary, since beta is given; or no beta", self.task)
        if self.at_k != DEFAULT_K and self.task != Task.RANKING:
            yield Conflict(("task", "at_k"), "ranking, since at_k is given; or no at_k", self.task)
        for crossing in self.cross:
            if undeclared := [name for name in crossing if name not in self.segments]:
                yield Conflict(("cross",), "segments that `segments` declares", f'"{undeclared[0]}"')

    def monitored(self) -> MonitoredModel:
        """The model as the core knows it, every default resolved."""
        return MonitoredModel(
            name=self.name,
            task=Task(self.task),
            positive_class=self.positive_class,
            beta=self.beta,
            at_k=self.at_k,
            class_names=self.classes.names,
            class_aliases=self.classes.aliases,
            report_windows_ms=tuple(sorted(self.report_windows_ms)),
            base_window_ms=self.resolved_base_window_ms,
            label_horizon_ms=self.label_horizon_ms,
            allowed_skew_ms=self.allowed_skew_ms,
            label_policy=LabelPolicy(self.label_policy),
            segments=self.segments,
            cross=self.cross,
            references=dict(self.references),
            signals=self.signals.terms(),
            explanation=self.explain.terms(),
        )


@reads(section_schema(ModelSettings))
def model_section(found: Found) -> MonitoredModel:
    """Read one entry of `models`."""
    if found.variable is not None:
        found.fail("models to stand in the file; a variable cannot hold them")
    if not found.is_mapping:
        found.fail("keys and values that begin with a name: {name: fraud, task: binary}")
    before = len(found.mistakes)
    model = read_section(ModelSettings, found, found.mistakes, None, found.path)
    if len(found.mistakes) > before:
        raise Unreadable
    return model.monitored()
