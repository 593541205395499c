"""From the windows of a target to its reports: content, whether it is news, and whether it is time.

A window is reported when it changed and its last report is old enough, as reports on quality are; a final one at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import msgspec

from schemas.codec import cloud_event_headers, encode
from schemas.resource_report import Memory, ResourceReport
from schemas.times import format_time
from schemas.window_report import Window, event_id, report_key
from streams.ports import LastReport, OutgoingMessage
from streams.stability.resource_figures import resource_figures
from streams.stability.resource_series import ResourceSeries, Told, WindowPlace
from streams.stability.resource_sums import Sums

__all__ = ["AGE_SHARE", "ReportSettings", "ResourceRevision", "due_reports"]

AGE_SHARE = 0.01
"""Of a window's age that passes between two of its revisions, if that is longer than the interval."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """Where reports go, how they name their sender and the settings they depend on, and how they are spaced."""

    topic: str
    source: str
    config_hash: str
    interval_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceRevision:
    """A report to publish and, once it is acknowledged, to keep."""

    place: WindowPlace
    message: OutgoingMessage
    kept: LastReport
    told: Told


def due_reports(
    series: ResourceSeries, *, now_ms: int, settings: ReportSettings, everything: bool = False
) -> Iterator[ResourceRevision]:
    """The reports on a target that are news, and due.

    Args:
        now_ms: wall clock; spaces revisions and orders them.
        everything: whatever is news is due.
    """
    for place in series.places():
        told = series.told.get(told_name(place))
        age_ms = max(0, now_ms - place.start_ms)
        spacing_ms = max(settings.interval_ms, AGE_SHARE * age_ms)
        if told is None or everything or place.is_final or now_ms - told.published_ms >= spacing_ms:
            revision = _revision(series, place, told, now_ms, settings)
            if revision is not None:
                yield revision


def told_name(place: WindowPlace) -> str:
    """Under which `ResourceSeries.told` keeps what was said of a window."""
    return f"{place.size_ms}:{place.start_ms}"


def _revision(
    series: ResourceSeries, place: WindowPlace, told: Told | None, now_ms: int, settings: ReportSettings
) -> ResourceRevision | None:
    key = report_key(
        kind="resources",
        model=series.model,
        model_version=series.model_version,
        segment={"target": series.target},
        window_seconds=place.size_ms // 1000,
        window_start_ms=place.start_ms,
    )
    content = _report(series, place, series.sums_of(place), settings)
    identity = event_id(key, msgspec.to_builtins(content))
    if told is not None and told.event_id == identity:
        return None
    number = now_ms if told is None else max(told.revision + 1, now_ms)
    value = encode(
        msgspec.structs.replace(content, revision=number, event_id=identity, produced_at=format_time(now_ms))
    )
    headers = cloud_event_headers("report", event_id=identity, source=settings.source, time_ms=now_ms)
    return ResourceRevision(
        place=place,
        message=OutgoingMessage(topic=settings.topic, key=key, value=value, headers=headers),
        kept=LastReport(
            key=key, value=value, revision=number, published_ms=now_ms, watermark_ms=series.closed_ms, due_ms=0
        ),
        told=Told(number, now_ms, identity),
    )


def _report(series: ResourceSeries, place: WindowPlace, sums: Sums, settings: ReportSettings) -> ResourceReport:
    metrics, undefined = resource_figures(sums)
    outlook = sums.outlook
    return ResourceReport(
        model=series.model,
        model_version=series.model_version,
        segment={"target": series.target},
        window=Window.of(place.start_ms, place.size_ms),
        status="final" if place.is_final else "open",
        revision=0,
        event_id="",
        samples=sums.samples,
        memory=None
        if outlook is None
        else Memory(state=outlook.growth.state.value, bytes=outlook.memory_bytes, limit_bytes=outlook.limit_bytes),
        metrics=metrics,
        undefined=undefined,
        config_hash=settings.config_hash,
        produced_at="",
    )
