"""From the kept reports on one model to the API's documents."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import cast

import msgspec

from agents.web.documents import (
    AnyReport,
    Direction,
    MetricMeaning,
    ModelPage,
    Point,
    PointReport,
    SegmentPoint,
    Segments,
    SegmentSeries,
    VersionSummary,
    WindowReports,
    Windows,
)
from agents.web.problems import NotFound
from agents.web.remembered import ReportReading
from agents.web.signal_documents import Signals
from agents.web.signals import decode_signals, signal_series
from agents.web.stored import QUALITY, WINDOWS_OF_FLEET, References, decode_report, largest_size, read_reports
from schemas.times import format_time, parse_time_ms
from schemas.window_report import Metric, related_key
from streams.metric_definitions import METRIC_DEFINITIONS
from streams.ports import Shape, WindowQuery
from streams.quality.definitions import Better
from streams.signals.definitions import SIGNAL_DEFINITIONS, figure_of
from streams.standing import main_metric, standing_of, worst_segments_first

__all__ = ["ReportReader", "SegmentsAsked", "SignalsAsked", "WindowsAsked"]

SLICES_OF_A_WINDOW = 500
SIGNALS = "signals"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which windows of a model are looked at, and at most how many; None is the obvious choice."""

    version: str | None = None
    size_seconds: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    windows: int = 300

    def query(self, model_version: bytes, shape: Shape, *, more: int = 0) -> WindowQuery:
        """Finds them, and some that come before them."""
        return WindowQuery(
            model_version=model_version,
            shape=shape,
            since_ms=self.since_ms,
            until_ms=self.until_ms,
            most=self.windows + more,
        )


class WindowsAsked(Asked, frozen=True, kw_only=True):
    """What of each window is wanted."""

    kind: str = QUALITY
    metrics: tuple[str, ...] = ()
    segment: Mapping[str, str] | None = None


class SegmentsAsked(Asked, frozen=True, kw_only=True):
    """Which metric of at most how many segments is wanted."""

    metric: str | None = None
    most: int = 12


class SignalsAsked(Asked, frozen=True, kw_only=True):
    """At most how many signals of which slice are wanted."""

    segment: Mapping[str, str] | None = None
    most: int = 12


class ReportReader:
    """Answers questions about the reports on one model.

    Args:
        store: where the newest report of each window is kept.
        confidence_level: of the intervals in the reports.
        references: tells the figures that the configuration names.
    """

    def __init__(self, store: ReportReading, *, confidence_level: float, references: References) -> None:
        self._store = store
        self._confidence_level = confidence_level
        self._references = references

    async def model(self, name: str, *, version: str | None, size_seconds: int | None) -> ModelPage:
        """What there is of a model version.

        Raises: NotFound for an unknown model, version or size.
        """
        hashes = await self._versions_of(name)
        keys = list(hashes)
        shapes = dict(zip(keys, await self._store.shapes(keys), strict=True))
        newest = await read_reports(
            self._store,
            {
                each: WindowQuery(model_version=each, shape=Shape(QUALITY, size), most=WINDOWS_OF_FLEET)
                for each in keys
                if (size := _chosen_size(shapes[each], size_seconds)) is not None
            },
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
            references=self._references().get(name, {}),
            judged=standing.judged.window.start,
            newest=standing.newest.window.start,
            confidence_level=self._confidence_level,
        )

    async def windows(self, name: str, asked: WindowsAsked) -> Windows:
        """Windows of one model version, oldest first.

        Raises: NotFound for an unknown model or version, or a size or kind it has no windows of.
        """
        model_version, version, size = await self._choose(name, asked.version, asked.kind, asked.size_seconds)
        # What has segments alone, as resources have targets, is found by the windows of the model's predictions.
        shape = Shape(QUALITY if asked.segment else asked.kind, size)
        keys = (await self._store.find([asked.query(model_version, shape, more=1)]))[0]
        shown = keys[: asked.windows]
        if asked.segment:
            shown = [related_key(key, kind=asked.kind, segment=asked.segment) for key in shown]
        last = await self._store.last({model_version: shown})
        reports = [_decode_point(last[key].value) for key in shown if key in last]
        return Windows(
            model=name,
            version=version,
            kind=asked.kind,
            size_seconds=size,
            points=tuple(_point(report, asked.metrics) for report in reversed(reports)),
            next_until=json.loads(shown[-1])[-1] if len(keys) > asked.windows else None,
        )

    async def segments(self, name: str, asked: SegmentsAsked) -> Segments:
        """One metric of the worst segments over time.

        Raises: NotFound for an unknown model or version, or a size it has no windows of.
        """
        model_version, version, size = await self._choose(name, asked.version, QUALITY, asked.size_seconds)
        shape = Shape(QUALITY, size)
        keys = (await self._store.find([asked.query(model_version, shape)]))[0]
        last = await self._store.last({model_version: keys[:WINDOWS_OF_FLEET]})
        newest = [decode_report(last[key].value) for key in keys[:WINDOWS_OF_FLEET] if key in last]
        judged = standing_of(newest).judged if newest else None
        metric = asked.metric or (None if judged is None else main_metric(judged)) or ""
        slices = [] if judged is None else await self._slices(model_version, shape, parse_time_ms(judged.window.start))
        shown = [slice_.segment for slice_ in worst_segments_first(slices, metric)[: asked.most]]
        wanted = {related_key(key, segment=segment): at for at, segment in enumerate(shown) for key in reversed(keys)}
        last = await self._store.last({model_version: list(wanted)})
        points: list[list[SegmentPoint]] = [[] for _ in shown]
        for key, at in wanted.items():
            if key in last:
                points[at].append(_segment_point(decode_report(last[key].value), metric))
        return Segments(
            model=name,
            version=version,
            size_seconds=size,
            metric=metric,
            judged=None if judged is None else judged.window.start,
            known=len(slices),
            series=tuple(SegmentSeries(segment, tuple(found)) for segment, found in zip(shown, points, strict=True)),
        )

    async def signals(self, name: str, asked: SignalsAsked) -> Signals:
        """What a model said of its own state, over time.

        Raises: NotFound for an unknown model or version, or a size it has no windows with signals of.
        """
        model_version, version, size = await self._choose(name, asked.version, SIGNALS, asked.size_seconds)
        query = asked.query(model_version, Shape(SIGNALS, size))
        keys = [related_key(key, segment=asked.segment) for key in (await self._store.find([query]))[0]]
        last = await self._store.last({model_version: keys})
        series = signal_series([decode_signals(last[key].value) for key in reversed(keys) if key in last])
        return Signals(
            model=name, version=version, size_seconds=size, known=len(series), series=tuple(series[: asked.most])
        )

    async def _slices(self, model_version: bytes, shape: Shape, start_ms: int) -> list[AnyReport]:
        query = WindowQuery(
            model_version=model_version,
            shape=shape,
            since_ms=start_ms,
            until_ms=start_ms + 1,
            most=SLICES_OF_A_WINDOW,
            of_segments=True,
        )
        return (await read_reports(self._store, {model_version: query}))[model_version]

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
            model=name,
            version=version,
            size_seconds=size,
            start=format_time(start_ms),
            better={metric: _better(metric) for metric in decode_report(reports[0]).metrics},
            reports=reports,
        )

    async def _choose(
        self, name: str, version: str | None, kind: str, size_seconds: int | None
    ) -> tuple[bytes, str, int]:
        hashes = await self._versions_of(name)
        if version is None:
            version = await self._newest_version(name, hashes)
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

    async def _newest_version(self, name: str, hashes: Mapping[bytes, str]) -> str:
        """The version with the newest window on quality, as `model` chooses it; no report is read."""
        shapes = await self._store.shapes(list(hashes))
        queries = [
            WindowQuery(model_version=each, shape=Shape(QUALITY, size), most=1)
            for each, found in zip(hashes, shapes, strict=True)
            if (size := _chosen_size(found, None)) is not None
        ]
        starts = {
            query.model_version: json.loads(keys[0])[-1]
            for query, keys in zip(queries, await self._store.find(queries), strict=True)
            if keys
        }
        if not starts:
            raise NotFound(f"no report of model {name!r} on quality", field="size")
        return hashes[max(starts, key=lambda each: starts[each])]

    async def _versions_of(self, name: str) -> dict[bytes, str]:
        named = {key: json.loads(text) for key, text in (await self._store.model_versions()).items()}
        found = {key: version for key, (model, version) in named.items() if model == name}
        if not found:
            models = sorted({model for model, _ in named.values()})
            there = f"there are {', '.join(map(repr, models[:20]))}" if models else "no model has any report yet"
            raise NotFound(f"no report of model {name!r}; {there}", field="model")
        return found


_decode_point = msgspec.json.Decoder(PointReport).decode


def _point(report: PointReport, metrics: Collection[str]) -> Point:
    figures = {name: report.metrics[name] for name in metrics if name in report.metrics}
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
        # What the description of the API says they are; here they are its JSON already.
        figures=cast("Mapping[str, Metric]", figures),
        undefined={name: report.undefined[name] for name in metrics if name in report.undefined},
    )


def _segment_point(report: AnyReport, name: str) -> SegmentPoint:
    figure = report.metrics.get(name, _NONE)
    return SegmentPoint(
        report.window.start, report.status, figure.value, figure.low, figure.high, figure.n, report.coverage
    )


_NONE = Metric(None, None, None, 0)


def _meanings(report: AnyReport) -> Iterable[MetricMeaning]:
    for name in report.metrics:
        known, figure = METRIC_DEFINITIONS.get(name), figure_of(name)
        meaning = SIGNAL_DEFINITIONS[figure].meaning if figure else "" if known is None else known.meaning
        yield MetricMeaning(name, report.kind, meaning, _better(name))


def _better(metric: str) -> Direction:
    known = METRIC_DEFINITIONS.get(metric)
    return "unknown" if known is None else _DIRECTIONS[known.better]


_DIRECTIONS: Mapping[Better, Direction] = {
    Better.MORE: "more",
    Better.LESS: "less",
    Better.NEAR_ZERO: "near_zero",
}


def _chosen_size(shapes: Collection[Shape], asked: int | None) -> int | None:
    if asked is None:
        return largest_size(shapes)
    return asked if Shape(QUALITY, asked) in shapes else None


def _known(version: str, versions: Collection[str]) -> str:
    if version not in versions:
        raise NotFound(f"no report of version {version!r}; there are {', '.join(map(repr, versions))}", field="version")
    return version


def _quality_first(kind: str) -> tuple[bool, str]:
    return kind != QUALITY, kind
