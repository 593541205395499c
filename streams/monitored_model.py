"""What is known about one model that is being monitored.

A model that no configuration lists is monitored too: `MonitoredModel(name)` holds every default.
Durations are whole milliseconds because event time is (contract of the input topics).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from streams.explanation.terms import ExplainTerms
from streams.signals.reference import SignalTerms

__all__ = ["DEFAULT_BETA", "DEFAULT_K", "LabelPolicy", "MonitoredModel", "Task"]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
DEFAULT_BETA = 2.0
"""A missed positive usually costs more than a false one."""
DEFAULT_K = 10


class Task(enum.StrEnum):
    """What kind of answer the model gives; it decides which metrics exist."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"
    MULTILABEL = "multilabel"
    RANKING = "ranking"

    @property
    def takes_lists(self) -> bool:
        """Whether a prediction is a list: a set of classes, or items from the best on."""
        return self in (Task.MULTILABEL, Task.RANKING)

    @property
    def counts_classes(self) -> bool:
        """Whether a prediction and its label are one class each, and pairs of them are counted."""
        return self in (Task.BINARY, Task.MULTICLASS)


class LabelPolicy(enum.StrEnum):
    """Which of several labels that match a prediction counts."""

    LAST = "last"
    FIRST = "first"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredModel:
    """The settings of one model, all defaults resolved.

    `base_window_ms` divides every report window; `label_horizon_ms` is how long after its prediction a label still
    counts, `allowed_skew_ms` how long before it. `beta` is the weight of recall in `fbeta`, `at_k` how many items of a
    ranking count. `references` are figures by name that alert rules compare with. `signals` says what is known of the
    signals that predictions tell.
    """

    name: str
    task: Task = Task.MULTICLASS
    positive_class: str | None = None
    beta: float = DEFAULT_BETA
    at_k: int = DEFAULT_K
    class_names: tuple[str, ...] = ()
    class_aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    report_windows_ms: tuple[int, ...] = (5 * MINUTE_MS, HOUR_MS)
    base_window_ms: int = 5 * MINUTE_MS
    label_horizon_ms: int = DAY_MS
    allowed_skew_ms: int = 5 * MINUTE_MS
    label_policy: LabelPolicy = LabelPolicy.LAST
    segments: tuple[str, ...] = ()
    cross: tuple[tuple[str, ...], ...] = ()
    references: Mapping[str, float] = dataclasses.field(default_factory=dict)
    signals: SignalTerms = dataclasses.field(default_factory=SignalTerms)
    explanation: ExplainTerms | None = None
