"""The quality report of one model version, segment and window, as it stands on the metrics topic.

The structs spell out exactly the documented keys, in their documented order. A field whose default is
`UNSET` is absent from the JSON unless it is given; None is written as null and means undefined.

A report is revised as labels arrive: `report_key` names the window, `revision` orders its reports, and
`event_id` is equal exactly when the content is, so that repeats can be told from news.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, Literal, Self

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from schemas.times import format_time, parse_time_ms

__all__ = [
    "NAMESPACE",
    "ClassFigures",
    "Confusion",
    "CoverageExpected",
    "LabelDelay",
    "Metric",
    "Window",
    "WindowReport",
    "event_id",
    "related_key",
    "report_key",
]

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "latelabel.io")
"""Of our event ids. Changing it makes every unchanged report look like news to those who drop repeats."""

_NOT_CONTENT = frozenset({"revision", "event_id", "produced_at"})


class Window(msgspec.Struct, frozen=True):
    """Half-open `[start, end)` in event time, RFC 3339 in UTC."""

    start: str
    end: str
    size_seconds: int

    @classmethod
    def of(cls, start_ms: int, size_ms: int) -> Self:
        """The window as it is written."""
        return cls(start=format_time(start_ms), end=format_time(start_ms + size_ms), size_seconds=size_ms // 1000)


class CoverageExpected(msgspec.Struct, frozen=True):
    """What share of labels past windows of the model had at this age, and at the end."""

    now: float
    final: float


class LabelDelay(msgspec.Struct, frozen=True):
    """Percentiles of label time minus prediction time in seconds, to within 6 %; 0 for labels that came before."""

    p50: float
    p90: float
    p99: float


class Confusion(msgspec.Struct, frozen=True):
    """Counts of pairs: `counts[i][j]` have label `classes[i]` and prediction `classes[j]`.

    `classes` is sorted by code point.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Metric(msgspec.Struct, frozen=True):
    """One figure with its uncertainty; value, low and high are None where it is undefined.

    `low` and `high` bound it for the sampling of the labelled; `possible` is what the missing labels
    could still make of it; `bracket` bounds a value that is known only up to the width of a score bin.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    possible: tuple[float, float] | UnsetType = UNSET
    bracket: tuple[float, float] | UnsetType = UNSET
    classes_left_out: tuple[str, ...] | UnsetType = UNSET


class ClassFigures(msgspec.Struct, frozen=True):
    """One class against the rest; `support` is the number of its labels."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


class WindowReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about the answers of one window, from open until final.

    `predictions` leaves out `failed`; `coverage` = labelled / predictions, None without predictions;
    `undefined` names the reason for each metric whose value is None. `at_k` is how many items of a ranking count.
    """

    kind: Literal["quality"] = "quality"
    model: str
    model_version: str
    segment: Mapping[str, str]
    window: Window
    status: Literal["open", "provisional", "final", "incomplete"]
    missing: tuple[str, ...] | UnsetType = UNSET
    revision: int
    event_id: str
    predictions: int
    failed: int
    labelled: int
    never_labelled: int
    coverage: float | None
    coverage_expected: CoverageExpected | None
    label_delay_seconds: LabelDelay | None
    confusion: Confusion | None
    at_k: int | UnsetType = UNSET
    metrics: Mapping[str, Metric]
    undefined: Mapping[str, str]
    per_class: Mapping[str, ClassFigures] | UnsetType = UNSET
    config_hash: str
    produced_at: str


def report_key(
    *,
    kind: str = "quality",
    model: str,
    model_version: str,
    segment: Mapping[str, str],
    window_seconds: int,
    window_start_ms: int,
) -> bytes:
    """The record key of a report: a JSON array without spaces, equal for every revision of a window.

    >>> report_key(model="fraud", model_version="3", segment={"country": "DE"}, window_seconds=300,
    ...            window_start_ms=1_795_435_200_000)
    b'["quality","fraud","3",{"country":"DE"},300,"2026-11-23T12:00:00Z"]'
    """
    parts = [kind, model, model_version, dict(segment), window_seconds, format_time(window_start_ms)]
    return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)


def related_key(
    key: bytes, *, kind: str | None = None, segment: Mapping[str, str] | None = None, earlier_ms: int = 0
) -> bytes:
    """The key of a report on the same model version and size of window; what is not given stays.

    Args:
        key: from `report_key`.
        kind: of the other report.
        segment: that it is about.
        earlier_ms: how much earlier its window starts.

    >>> related_key(b'["quality","fraud","3",{},300,"2026-11-23T12:00:00Z"]', kind="stability", earlier_ms=86_400_000)
    b'["stability","fraud","3",{},300,"2026-11-22T12:00:00Z"]'
    """
    its_kind, model, version, its_segment, window_seconds, start = orjson.loads(key)
    return report_key(
        kind=its_kind if kind is None else kind,
        model=model,
        model_version=version,
        segment=its_segment if segment is None else segment,
        window_seconds=window_seconds,
        window_start_ms=parse_time_ms(start) - earlier_ms,
    )


def event_id(key: bytes, content: Mapping[str, Any]) -> str:
    """The id of a report: UUIDv5 over its key and the SHA-256 of its content.

    The name that is hashed is the key followed by the digest in lower-case hexadecimal. The digest is
    taken over the value as JSON without spaces and with sorted keys, `revision`, `event_id` and
    `produced_at` left out.

    Args:
        key: from `report_key`.
        content: the report as plain types (`msgspec.to_builtins`), with or without those three.
    """
    kept = {name: value for name, value in content.items() if name not in _NOT_CONTENT}
    digest = hashlib.sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return str(uuid.uuid5(NAMESPACE, key.decode() + digest))
