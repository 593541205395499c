"""What the JSON API answers with. Times are RFC 3339 in UTC; figures are those of the reports, never computed anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from schemas.resource_report import Memory
from schemas.window_report import CoverageExpected, Metric, Window

__all__ = [
    "Against",
    "AlertRow",
    "AlertStep",
    "AlertWindow",
    "Alerts",
    "AnyReport",
    "Fleet",
    "FleetRow",
    "MemoryTrend",
    "MetricMeaning",
    "ModelPage",
    "PartitionPage",
    "Point",
    "Problem",
    "Reference",
    "SegmentPoint",
    "SegmentSeries",
    "Segments",
    "SparkPoint",
    "Status",
    "SystemMetric",
    "SystemPage",
    "SystemValue",
    "VersionSummary",
    "WindowReports",
    "Windows",
]

State = Literal["firing", "warning", "no_data", "labels_pending", "ok"]
Against = Literal["reference", "1d", "before"]
Status = Literal["open", "provisional", "final", "incomplete"]


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    """What reports of all kinds have in common, as far as the API reads it in each case."""

    segment: Mapping[str, str]
    window: Window
    status: Status
    revision: int
    produced_at: str
    predictions: int = 0
    failed: int = 0
    labelled: int = 0
    never_labelled: int = 0
    undefined: Mapping[str, str] = msgspec.field(default_factory=dict)


class AnyReport(_Report, frozen=True, kw_only=True):
    """A report with the figures that every kind may have."""

    kind: str
    model: str
    model_version: str
    coverage: float | None = None
    coverage_expected: CoverageExpected | None = None
    metrics: Mapping[str, Metric] = msgspec.field(default_factory=dict)
    memory: Memory | None = None


class PointReport(_Report, frozen=True, kw_only=True, gc=False):
    """A report as far as a point is made of it. Its figures stay the JSON that was published: to make objects of all of
    them, and to write a few again, would be most of the work of an answer."""

    metrics: Mapping[str, msgspec.Raw] = msgspec.field(default_factory=dict)


class SparkPoint(msgspec.Struct, frozen=True, array_like=True):
    """One window of a sparkline: how many windows before the newest it starts, its value and the share of its
    predictions that have labels, both to four digits, which is finer than it can be drawn."""

    before: int
    value: float | None
    coverage: float | None


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What the main figure is compared with: the model's `references` in the configuration; else the like window a day
    (`1d`) before, if half of its predictions have labels; else the window `before`.

    `low` and `high` are those of that figure, or the number itself. `change` is what the difference means: `within` as
    long as the two intervals meet.
    """

    against: Against
    value: float
    low: float
    high: float
    change: Literal["better", "worse", "within"]


class MemoryTrend(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of the target in the worst way among `targets`, as of its newest window.

    `bytes_per_hour` is its growth, null while it warms up; `seconds_to_limit` is null unless a leak is suspected.
    """

    target: str
    targets: int
    state: Literal["warming_up", "stable", "suspected_leak", "step"]
    bytes: int | None
    limit_bytes: int | None
    bytes_per_hour: float | None
    seconds_to_limit: float | None


class FleetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One model version, by the window it is judged by.

    `figure` is that of `metric`, `reason` why it has no value, `reference` what it is compared with. `others` are
    figures of other kinds of monitoring for the same window, such as `latency_p95_ms`. `memory` is null if no probe
    tells of it. `firing` names the alerts that fire.
    """

    model: str
    version: str
    state: State
    window: Window
    status: Status
    metric: str | None
    figure: Metric | None
    reason: str | None
    reference: Reference | None
    predictions: int
    failed: int
    labelled: int
    coverage: float | None
    coverage_expected: CoverageExpected | None
    others: Mapping[str, Metric]
    memory: MemoryTrend | None
    firing: tuple[str, ...]
    newest: Window
    produced_at: str
    spark: tuple[SparkPoint, ...]


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """All model versions, worst first. `topics` says where to publish, by role."""

    rows: tuple[FleetRow, ...]
    confidence_level: float
    topics: Mapping[str, str]


class AlertStep(msgspec.Struct, frozen=True):
    """A change of an alert's phase, and why."""

    at: str
    phase: str
    reason: str


class AlertWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The window that an alert speaks of, with the figure that was compared."""

    start: str
    end: str
    value: float | None
    threshold: float | None
    low: float | None
    high: float | None
    n: int
    coverage: float | None


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it stands. `started` and `ended` are those of what was last told, null before it ever fired."""

    alert: str
    group: str
    phase: str
    reason: str
    since: str | None
    labels: Mapping[str, str]
    model: str | None
    version: str | None
    segment: Mapping[str, str]
    size_seconds: int | None
    window: AlertWindow | None
    started: str | None
    ended: str | None
    history: tuple[AlertStep, ...]


class Alerts(msgspec.Struct, frozen=True):
    """All alerts whose rule has anything to look at, firing first."""

    alerts: tuple[AlertRow, ...]


class VersionSummary(msgspec.Struct, frozen=True):
    """One version of a model, and its newest window."""

    version: str
    newest: Window


Direction = Literal["more", "less", "near_zero", "unknown"]
"""Which values of a metric are good ones."""


class MetricMeaning(msgspec.Struct, frozen=True):
    """A metric that the reports have: what it is, and which way is better."""

    name: str
    kind: str
    meaning: str
    better: Direction


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a model version; `judged` and `newest` are starts of windows of `size_seconds`.

    `references` are the figures by metric that the configuration names.
    """

    model: str
    version: str
    versions: tuple[VersionSummary, ...]
    size_seconds: int
    sizes: tuple[int, ...]
    kinds: tuple[str, ...]
    metric: str | None
    metrics: tuple[MetricMeaning, ...]
    references: Mapping[str, float]
    judged: str
    newest: str
    confidence_level: float


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One window: how much of it is labelled, and the figures that were asked for, each as JSON already."""

    start: str
    status: Status
    segment: Mapping[str, str]
    revision: int
    produced_at: str
    predictions: int
    failed: int
    labelled: int
    never_labelled: int
    figures: Mapping[str, Metric]
    undefined: Mapping[str, str]


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Windows of one size, oldest first. `next_until` asks for the page before; null if there is none."""

    model: str
    version: str
    kind: str
    size_seconds: int
    points: tuple[Point, ...]
    next_until: str | None


class SegmentPoint(msgspec.Struct, frozen=True, array_like=True):
    """One window of one segment, an array: start, status, value, low, high, n, and the share that has labels."""

    start: str
    status: Status
    value: float | None
    low: float | None
    high: float | None
    n: int
    coverage: float | None


class SegmentSeries(msgspec.Struct, frozen=True):
    """The windows of one segment, oldest first."""

    segment: Mapping[str, str]
    points: tuple[SegmentPoint, ...]


class Segments(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of the worst segments, worst first by the window `judged`: the newest that has half of its labels.

    `known` is how many segments that window has reports on; `judged` is null if there is no window.
    """

    model: str
    version: str
    size_seconds: int
    metric: str
    judged: str | None
    known: int
    series: tuple[SegmentSeries, ...]


class WindowReports(msgspec.Struct, frozen=True, kw_only=True):
    """All reports on one window, as they were published: of everything first, then by segment. `better` says which way
    is, of each metric of the first."""

    model: str
    version: str
    size_seconds: int
    start: str
    better: Mapping[str, Direction]
    reports: tuple[msgspec.Raw, ...]


class SystemValue(msgspec.Struct, frozen=True):
    """One number of a metric, and what it is of."""

    labels: Mapping[str, str]
    value: float


class SystemMetric(msgspec.Struct, frozen=True):
    """What the worker that answers measures of itself; the same as on `/metrics`."""

    name: str
    meaning: str
    values: tuple[SystemValue, ...]


class PartitionPage(msgspec.Struct, frozen=True, kw_only=True):
    """A partition of an input topic: the lowest of all shards. `lag` is null while its end is not known."""

    topic: str
    partition: int
    counted_to: int
    end: int | None
    lag: int | None
    watermark: str | None


class SystemPage(msgspec.Struct, frozen=True, kw_only=True):
    """The monitor itself. `fates` counts records by what became of them, for each input topic."""

    version: str
    config_hash: str
    unready: str | None
    partitions: tuple[PartitionPage, ...]
    fates: Mapping[str, Mapping[str, int]]
    metrics: tuple[SystemMetric, ...]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why there is no answer (RFC 9457). `field` is the parameter at fault."""

    title: str
    status: int
    detail: str
    field: str | None = None
