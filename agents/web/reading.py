"""From kept reports to the API's documents: a few round trips to Redis, however many models there are."""

from __future__ import annotations

import collections
import json
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from agents.web.alerts import AlertReader
from agents.web.documents import (
    AnyReport,
    Fleet,
    FleetRow,
    MetricMeaning,
    ModelPage,
    Point,
    SparkPoint,
    VersionSummary,
    WindowReports,
    Windows,
)
from agents.web.problems import NotFound
from schemas.times import format_time, parse_time_ms
from schemas.window_report import Metric, related_key
from streams.alerting.life_cycle import Phase
from streams.metric_definitions import METRIC_DEFINITIONS
from streams.ports import Clock, ReportStore, Shape, WindowQuery
from streams.standing import Standing, State, main_metric, standing_of, state_of, worst_first

__all__ = ["ReportReader", "WindowsAsked"]

QUALITY = "quality"
WINDOWS_OF_FLEET = 24
"""Newest windows that a sparkline shows, and among which the one is looked for that a version is judged by."""
SLICES_OF_A_WINDOW = 500
OTHERS_OF_FLEET = ("latency_p95_ms", "error_rate")

_decode = msgspec.json.Decoder(AnyReport).decode


class WindowsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Which windows of a model are wanted; None is the obvious choice."""

    version: str | None = None
    kind: str = QUALITY
    size_seconds: int | None = None
    metrics: tuple[str, ...] = ()
    segment: Mapping[str, str] | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    most: int = 300


class ReportReader:
    """Answers questions about reports.

    Args:
        store: where the newest report of each window is kept.
        alerts: which of them fire.
        clock: tells what has fallen silent.
        confidence_level: of the intervals in the reports.
        topics: their names by role, for whoever has published nothing yet.
    """

    def __init__(
        self,
        store: ReportStore,
        alerts: AlertReader,
        clock: Clock,
        *,
        confidence_level: float,
        topics: Mapping[str, str],
    ) -> None:
        self._store = store
        self._alerts = alerts
        self._clock = clock
        self._confidence_level = confidence_level
        self._topics = topics

    async def fleet(self) -> Fleet:
        """Every model version that has reports, worst first."""
        versions = list(await self._store.model_versions())
        shapes = dict(zip(versions, await self._store.shapes(versions), strict=True))
        sizes = {version: _largest(shapes[version]) for version in versions}
        queries = {
            version: WindowQuery(model_version=version, shape=Shape(QUALITY, size), most=WINDOWS_OF_FLEET)
            for version, size in sizes.items()
            if size is not None
        }
        reports = await self._reports(queries)
        standings = {version: standing_of(found) for version, found in reports.items() if found}
        others = await self._others(standings, shapes)
        alerts = await self._alerts.names()
        now_ms = self._clock.now_ms()
        versions_of = {standing.subject: version for version, standing in standings.items()}
        rows = []
        for standing in worst_first(standings.values()):
            version = versions_of[standing.subject]
            firing = tuple(alerts.get((*standing.subject, Phase.FIRING), ()))
            is_pending = (*standing.subject, Phase.PENDING) in alerts
            state = state_of(standing, now_ms=now_ms, fires=bool(firing), is_pending=is_pending)
            rows.append(_row(standing, reports[version], others.get(version, {}), state, firing))
        rows.sort(key=lambda row: _WORST_FIRST.index(row.state))
        return Fleet(rows=tuple(rows), confidence_level=self._confidence_level, topics=self._topics)

    async def model(self, name: str, *, version: str | None, size_seconds: int | None) -> ModelPage:
        """What there is of a model version.

        Raises: NotFound for an unknown model, version or size.
        """
        hashes = await self._versions_of(name)
        keys = list(hashes)
        shapes = dict(zip(keys, await self._store.shapes(keys), strict=True))
        newest = await self._reports(
            {
                each: WindowQuery(model_version=each, shape=Shape(QUALITY, size), most=WINDOWS_OF_FLEET)
                for each in keys
                if (size := _chosen_size(shapes[each], size_seconds)) is not None
            }
        )
        found = {hashes[each]: (each, reports) for each, reports in newest.items() if reports}
        if not found:
            raise NotFound(f"no report of model {name!r} with windows of {size_seconds} s", field="size")
        ordered = sorted(found, key=lambda each: found[each][1][0].window.start, reverse=True)
        chosen = _known(version, ordered) if version is not None else ordered[0]
        model_version, reports = found[chosen]
        standing = standing_of(reports)
        return ModelPage(
            model=name,
            version=chosen,
            versions=tuple(VersionSummary(each, found[each][1][0].window) for each in ordered),
            size_seconds=standing.judged.window.size_seconds,
            sizes=tuple(sorted({shape.size_seconds for shape in shapes[model_version] if shape.kind == QUALITY})),
            kinds=tuple(sorted({shape.kind for shape in shapes[model_version]})),
            metric=main_metric(standing.judged),
            metrics=tuple(_meanings(standing.judged)),
            judged=standing.judged.window.start,
            newest=standing.newest.window.start,
            confidence_level=self._confidence_level,
        )

    async def windows(self, name: str, asked: WindowsAsked) -> Windows:
        """Windows of one model version, oldest first.

        Raises: NotFound for an unknown model or version, or a size or kind it has no windows of.
        """
        model_version, version, size = await self._choose(name, asked.version, asked.kind, asked.size_seconds)
        query = WindowQuery(
            model_version=model_version,
            # What has segments alone, as resources have targets, is found by the windows of the model's predictions.
            shape=Shape(QUALITY if asked.segment else asked.kind, size),
            since_ms=asked.since_ms,
            until_ms=asked.until_ms,
            most=asked.most + 1,
        )
        keys = (await self._store.find([query]))[0]
        shown = [related_key(key, kind=asked.kind, segment=asked.segment) for key in keys[: asked.most]]
        last = await self._store.last({model_version: shown})
        reports = [_decode(last[key].value) for key in shown if key in last]
        return Windows(
            model=name,
            version=version,
            kind=asked.kind,
            size_seconds=size,
            points=tuple(_point(report, asked.metrics) for report in reversed(reports)),
            next_until=json.loads(shown[-1])[-1] if len(keys) > asked.most else None,
        )

    async def window(self, name: str, start_ms: int, *, version: str | None, size_seconds: int | None) -> WindowReports:
        """All reports of all kinds on one window.

        Raises: NotFound for an unknown model or version, or a window without reports.
        """
        model_version, version, size = await self._choose(name, version, QUALITY, size_seconds)
        kinds = sorted({shape.kind for shape in (await self._store.shapes([model_version]))[0]}, key=_quality_first)
        queries = [
            WindowQuery(
                model_version=model_version,
                shape=Shape(kind, size),
                since_ms=start_ms,
                until_ms=start_ms + 1,
                most=SLICES_OF_A_WINDOW,
                of_segments=of_segments,
            )
            for kind in kinds
            for of_segments in (False, True)
        ]
        keys = [key for found in await self._store.find(queries) for key in sorted(found)]
        last = await self._store.last({model_version: keys})
        reports = tuple(msgspec.Raw(last[key].value) for key in keys if key in last)
        if not reports:
            raise NotFound(f"no report on the window of {size} s that starts {format_time(start_ms)}", field="start")
        return WindowReports(
            model=name, version=version, size_seconds=size, start=format_time(start_ms), reports=reports
        )

    async def _choose(
        self, name: str, version: str | None, kind: str, size_seconds: int | None
    ) -> tuple[bytes, str, int]:
        hashes = await self._versions_of(name)
        if version is None:
            version = (await self.model(name, version=None, size_seconds=None)).version
        _known(version, hashes.values())
        model_version = next(each for each, text in hashes.items() if text == version)
        sizes = sorted(
            shape.size_seconds for shape in (await self._store.shapes([model_version]))[0] if shape.kind == kind
        )
        if not sizes:
            raise NotFound(f"version {version!r} of model {name!r} has no report of kind {kind!r}", field="kind")
        if size_seconds is not None and size_seconds not in sizes:
            there = ", ".join(map(str, sizes))
            raise NotFound(f"no windows of {size_seconds} s; there are {there}", field="size")
        return model_version, version, size_seconds or sizes[-1]

    async def _versions_of(self, name: str) -> dict[bytes, str]:
        named = {key: json.loads(text) for key, text in (await self._store.model_versions()).items()}
        found = {key: version for key, (model, version) in named.items() if model == name}
        if not found:
            models = sorted({model for model, _ in named.values()})
            there = f"there are {', '.join(map(repr, models[:20]))}" if models else "no model has any report yet"
            raise NotFound(f"no report of model {name!r}; {there}", field="model")
        return found

    async def _reports(self, queries: Mapping[bytes, WindowQuery]) -> dict[bytes, list[AnyReport]]:
        """The reports that answer each query, newest first; what was forgotten meanwhile is left out."""
        keys = dict(zip(queries, await self._store.find(list(queries.values())), strict=True))
        last = await self._store.last(keys)
        return {version: [_decode(last[key].value) for key in found if key in last] for version, found in keys.items()}

    async def _others(
        self, standings: Mapping[bytes, Standing[AnyReport]], shapes: Mapping[bytes, Collection[Shape]]
    ) -> Mapping[bytes, Mapping[str, Metric]]:
        """Figures of other kinds about the windows that versions are judged by."""
        queries = []
        for version, standing in standings.items():
            window = standing.judged.window
            start_ms = parse_time_ms(window.start)
            queries += [
                WindowQuery(model_version=version, shape=shape, since_ms=start_ms, until_ms=start_ms + 1, most=1)
                for shape in shapes[version]
                if shape.kind != QUALITY and shape.size_seconds == window.size_seconds
            ]
        keys: dict[bytes, list[bytes]] = collections.defaultdict(list)
        for query, found in zip(queries, await self._store.find(queries), strict=True):
            keys[query.model_version] += found
        last = await self._store.last(keys)
        return {
            version: {
                name: metric
                for key in found
                if key in last
                for name, metric in _decode(last[key].value).metrics.items()
                if name in OTHERS_OF_FLEET
            }
            for version, found in keys.items()
        }


_WORST_FIRST = [state.value for state in State]


def _row(
    standing: Standing[AnyReport],
    reports: Sequence[AnyReport],
    others: Mapping[str, Metric],
    state: State,
    firing: tuple[str, ...],
) -> FleetRow:
    judged = standing.judged
    name = main_metric(judged)
    before = [report for report in reports if report.window.start < judged.window.start]
    return FleetRow(
        model=judged.model,
        version=judged.model_version,
        state=state.value,
        window=judged.window,
        status=judged.status,
        metric=name,
        figure=None if name is None else judged.metrics[name],
        reason=None if name is None else judged.undefined.get(name),
        previous=next((value for report in before if (value := _value(report, name)) is not None), None),
        predictions=judged.predictions,
        failed=judged.failed,
        labelled=judged.labelled,
        coverage=judged.coverage,
        coverage_expected=judged.coverage_expected,
        others=others,
        firing=firing,
        newest=standing.newest.window,
        produced_at=standing.newest.produced_at,
        spark=tuple(_spark(report, name, standing.newest) for report in reversed(reports)),
    )


def _spark(report: AnyReport, name: str | None, newest: AnyReport) -> SparkPoint:
    size_ms = report.window.size_seconds * 1000
    before = (parse_time_ms(newest.window.start) - parse_time_ms(report.window.start)) // size_ms
    return SparkPoint(before, _drawn(_value(report, name)), _drawn(report.coverage))


def _drawn(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _point(report: AnyReport, metrics: Collection[str]) -> Point:
    return Point(
        start=report.window.start,
        status=report.status,
        segment=report.segment,
        revision=report.revision,
        produced_at=report.produced_at,
        predictions=report.predictions,
        failed=report.failed,
        labelled=report.labelled,
        never_labelled=report.never_labelled,
        figures={name: metric for name, metric in report.metrics.items() if name in metrics},
        undefined={name: reason for name, reason in report.undefined.items() if name in metrics},
    )


def _value(report: AnyReport, name: str | None) -> float | None:
    metric = None if name is None else report.metrics.get(name)
    return None if metric is None else metric.value


def _meanings(report: AnyReport) -> Iterable[MetricMeaning]:
    for name in report.metrics:
        known = METRIC_DEFINITIONS.get(name)
        better = "unknown" if known is None else known.better.name.lower()
        yield MetricMeaning(name, report.kind, "" if known is None else known.meaning, better)  # type: ignore[arg-type]


def _largest(shapes: Iterable[Shape]) -> int | None:
    return max((shape.size_seconds for shape in shapes if shape.kind == QUALITY), default=None)


def _chosen_size(shapes: Collection[Shape], asked: int | None) -> int | None:
    if asked is None:
        return _largest(shapes)
    return asked if Shape(QUALITY, asked) in shapes else None


def _known(version: str, versions: Collection[str]) -> str:
    if version not in versions:
        raise NotFound(f"no report of version {version!r}; there are {', '.join(map(repr, versions))}", field="version")
    return version


def _quality_first(kind: str) -> tuple[bool, str]:
    return kind != QUALITY, kind
