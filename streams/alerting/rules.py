"""An alert rule: which figure of which windows it looks at, when that is a breach, and what is told then.

Words are Prometheus'. A rule that matches several models, versions, slices or sizes of window is a rule of each:

    AlertRule  x  (model, version, segment, window size)  ->  one alert with a life of its own
"""

from __future__ import annotations

import dataclasses
import enum
import fnmatch
import hashlib
from collections.abc import Iterable, Iterator, Mapping

import orjson

from streams.signals.definitions import figure_of, metric_of, names_signals, signals_meant
from streams.windows import WindowStatus

__all__ = ["DEFAULT_CONFIDENCE", "DEFAULT_MIN_SAMPLES", "Against", "AlertRule", "Condition", "Op", "Series"]

DEFAULT_CONFIDENCE = 0.95
"""Two-sided: a rule that looks to one side is wrong in 2.5 % of the windows of a model that stands at its limit."""
DEFAULT_MIN_SAMPLES = 30
"""Below it most intervals are too narrow (`streams.quality.intervals`), and nobody should be woken by a handful."""


class Op(enum.StrEnum):
    """On which side of the threshold a breach is."""

    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="

    @property
    def is_below(self) -> bool:
        """Whether low values are the bad ones."""
        return self in (Op.LESS, Op.AT_MOST)

    def holds(self, value: float, threshold: float) -> bool:
        """Compare two numbers."""
        match self:
            case Op.LESS:
                return value < threshold
            case Op.AT_MOST:
                return value <= threshold
            case Op.MORE:
                return value > threshold
            case Op.AT_LEAST:
                return value >= threshold


class Against(enum.StrEnum):
    """What a figure is compared with before `op` and `value`, which are then about the difference."""

    REFERENCE = "reference"
    DAY = "1d"
    WEEK = "7d"

    @property
    def back_ms(self) -> int | None:
        """How much earlier the like window began; None for a number that stands in the configuration."""
        return {Against.REFERENCE: None, Against.DAY: 86_400_000, Against.WEEK: 7 * 86_400_000}[self]


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """The windows of one size of one slice of a model version. `segment` is sorted by name.

    `signal` is the one that an alert is about whose rule names signals by a pattern, else empty.
    """

    model: str
    model_version: str
    segment: tuple[tuple[str, str], ...]
    window_ms: int
    signal: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The `when` of a rule.

    `model`, `model_version` and the values of `segment` are patterns with `*`, `?` and `[…]`; a segment without entries
    is everything, one with a name is each of its values that matches. So is the name of a signal in `metric`, and each
    signal that matches has an alert of its own. `window_ms` None is every size.
    `min_coverage` None is nine tenths of what the model's windows usually reach. `confidence` None compares the value
    itself.
    """

    metric: str
    op: Op
    value: float
    model: str = "*"
    model_version: str = "*"
    segment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    window_ms: int | None = None
    status: tuple[WindowStatus, ...] = (WindowStatus.PROVISIONAL, WindowStatus.FINAL)
    against: Against | None = None
    min_samples: int = DEFAULT_MIN_SAMPLES
    min_coverage: float | None = None
    confidence: float | None = DEFAULT_CONFIDENCE

    @property
    def spans_segments(self) -> bool:
        """Whether several slices of one window are tested side by side."""
        return any(set(pattern) & set("*?[") for pattern in self.segment.values())

    @property
    def divides_confidence(self) -> bool:
        """Whether several figures of one window are tested side by side: of slices, or of signals."""
        return self.spans_segments or names_signals(self.metric)

    def series_in(self, series: Series, metrics: Iterable[str]) -> Iterator[Series]:
        """Whose alerts a report of a series concerns: of each signal that is meant, if the rule names signals."""
        if not names_signals(self.metric):
            yield series
            return
        for signal in signals_meant(self.metric, metrics):
            yield dataclasses.replace(series, signal=signal)

    def metric_of(self, series: Series) -> str:
        """The figure that the alert of a series is about."""
        figure = figure_of(self.metric) if series.signal else None
        return self.metric if figure is None else metric_of(series.signal, figure)

    def matches_model(self, model: str, model_version: str) -> bool:
        """Say whether a model version is meant."""
        return fnmatch.fnmatchcase(model, self.model) and fnmatch.fnmatchcase(model_version, self.model_version)

    def matches_segment(self, segment: Mapping[str, str]) -> bool:
        """Say whether a slice is meant."""
        return segment.keys() == self.segment.keys() and all(
            fnmatch.fnmatchcase(value, self.segment[name]) for name, value in segment.items()
        )

    def matches(self, series: Series) -> bool:
        """Say whether the rule is about these windows."""
        return (
            self.window_ms in (None, series.window_ms)
            and self.matches_model(series.model, series.model_version)
            and self.matches_segment(dict(series.segment))
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """One entry of a rule file.

    `for_ms` is event time that consecutive breaches have to span, `keep_firing_for_ms` event time that has to be fine
    before the alert resolves. `file` and `line` say where it stands.
    """

    group: str
    alert: str
    when: Condition
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    file: str = ""
    line: int = 0
    identity: str = dataclasses.field(init=False, compare=False)
    """Names the rule as long as it asks the same: state is kept under it over reloads."""

    def __post_init__(self) -> None:
        content = orjson.dumps(
            [self.group, self.alert, dict(self.labels), dataclasses.asdict(self.when)], option=orjson.OPT_SORT_KEYS
        )
        object.__setattr__(self, "identity", hashlib.blake2b(content, digest_size=8).hexdigest())
