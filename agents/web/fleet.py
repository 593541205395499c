"""All model versions in one document: a few round trips to Redis, however many there are."""

from __future__ import annotations

import collections
import json
from collections.abc import Collection, Iterable, Mapping, Sequence

from agents.web.alerts import AlertReader
from agents.web.documents import Against, AnyReport, Fleet, FleetRow, MemoryTrend, Reference, SparkPoint
from agents.web.remembered import ReportReading
from agents.web.stored import QUALITY, WINDOWS_OF_FLEET, References, decode_report, largest_size, read_reports
from schemas.times import parse_time_ms
from schemas.window_report import Metric, report_key
from streams.alerting.life_cycle import Phase
from streams.fleet_figures import change_of, worst_memory
from streams.ports import Clock, Shape, WindowQuery
from streams.standing import (
    SILENT_WINDOWS,
    Standing,
    State,
    is_settled,
    main_metric,
    standing_of,
    state_of,
    worst_first,
)

__all__ = ["FleetReader"]

OTHERS_OF_FLEET = ("latency_p95_ms", "error_rate")
RESOURCES = "resources"
TARGETS_OF_FLEET = 50
"""Targets of one version whose memory is looked at."""
DAY_MS = 86_400_000

Standings = Mapping[bytes, Standing[AnyReport]]
Shapes = Mapping[bytes, Collection[Shape]]


class FleetReader:
    """Answers what there is of all models.

    Args:
        store: where the newest report of each window is kept.
        alerts: which of them fire.
        clock: tells what has fallen silent.
        confidence_level: of the intervals in the reports.
        references: tells the figures that the configuration names.
        topics: their names by role, for whoever has published nothing yet.
    """

    def __init__(
        self,
        store: ReportReading,
        alerts: AlertReader,
        clock: Clock,
        *,
        confidence_level: float,
        references: References,
        topics: Mapping[str, str],
    ) -> None:
        self._store = store
        self._alerts = alerts
        self._clock = clock
        self._confidence_level = confidence_level
        self._references = references
        self._topics = topics

    async def fleet(self) -> Fleet:
        """Every model version that has reports, worst first."""
        versions = list(await self._store.model_versions())
        shapes = dict(zip(versions, await self._store.shapes(versions), strict=True))
        queries = {
            version: WindowQuery(model_version=version, shape=Shape(QUALITY, size), most=WINDOWS_OF_FLEET)
            for version in versions
            if (size := largest_size(shapes[version])) is not None
        }
        reports = await read_reports(self._store, queries)
        standings = {version: standing_of(found) for version, found in reports.items() if found}
        beside = await self._beside(standings, shapes)
        alerts = await self._alerts.names()
        references = self._references()
        now_ms = self._clock.now_ms()
        versions_of = {standing.subject: version for version, standing in standings.items()}
        rows = []
        for standing in worst_first(standings.values()):
            version = versions_of[standing.subject]
            firing = tuple(alerts.get((*standing.subject, Phase.FIRING), ()))
            is_pending = (*standing.subject, Phase.PENDING) in alerts
            state = state_of(standing, now_ms=now_ms, fires=bool(firing), is_pending=is_pending)
            numbers = references.get(standing.judged.model, {})
            reference = _reference(standing.judged, numbers, reports[version], beside[version])
            rows.append(_row(standing, reports[version], beside[version], reference, state, firing))
        rows.sort(key=lambda row: _WORST_FIRST.index(row.state))
        return Fleet(rows=tuple(rows), confidence_level=self._confidence_level, topics=self._topics)

    async def _beside(self, standings: Standings, shapes: Shapes) -> Mapping[bytes, Sequence[AnyReport]]:
        """Of each version the reports of other kinds on the window that it is judged by, the newest on each of its
        targets, and the one on the like window a day before."""
        queries = [query for version, standing in standings.items() for query in _queries(version, standing, shapes)]
        keys: dict[bytes, list[bytes]] = collections.defaultdict(list)
        for query, found in zip(queries, await self._store.find(queries), strict=True):
            keys[query.model_version] += _newest_of_targets(found, query.shape) if query.of_segments else found
        for version, standing in standings.items():
            keys[version].append(_key_before(standing.judged, DAY_MS))
        last = await self._store.last(keys)
        return {
            version: [decode_report(last[key].value) for key in found if key in last] for version, found in keys.items()
        }


def _queries(version: bytes, standing: Standing[AnyReport], shapes: Shapes) -> list[WindowQuery]:
    size = standing.judged.window.size_seconds
    start_ms = parse_time_ms(standing.judged.window.start)
    queries = [
        WindowQuery(model_version=version, shape=shape, since_ms=start_ms, until_ms=start_ms + 1, most=1)
        for shape in shapes[version]
        if shape.kind not in (QUALITY, RESOURCES) and shape.size_seconds == size
    ]
    if Shape(RESOURCES, size) in shapes[version]:
        since_ms = parse_time_ms(standing.newest.window.start) - SILENT_WINDOWS * size * 1000
        shape = Shape(RESOURCES, size)
        queries.append(
            WindowQuery(
                model_version=version, shape=shape, since_ms=since_ms, most=2 * TARGETS_OF_FLEET, of_segments=True
            )
        )
    return queries


def _newest_of_targets(keys: Sequence[bytes], shape: Shape) -> list[bytes]:
    """Of keys from the newest window on, the first of each target; those that ended windows ago are left out."""
    newest: dict[str, tuple[bytes, int]] = {}
    for key in keys:
        _, _, _, segment, _, start = json.loads(key)
        newest.setdefault(segment.get("target", ""), (key, parse_time_ms(start)))
    until_ms = max((start_ms for _, start_ms in newest.values()), default=0)
    return [key for key, start_ms in newest.values() if start_ms >= until_ms - shape.size_seconds * 1000]


def _key_before(report: AnyReport, earlier_ms: int) -> bytes:
    return report_key(
        model=report.model,
        model_version=report.model_version,
        segment={},
        window_seconds=report.window.size_seconds,
        window_start_ms=parse_time_ms(report.window.start) - earlier_ms,
    )


def _reference(
    judged: AnyReport, numbers: Mapping[str, float], reports: Sequence[AnyReport], beside: Sequence[AnyReport]
) -> Reference | None:
    """What the main figure is compared with, the best there is."""
    name = main_metric(judged)
    figure = None if name is None else judged.metrics[name]
    if name is None or figure is None or figure.value is None:
        return None
    if name in numbers:
        number = numbers[name]
        return _compared(name, figure, "reference", Metric(number, number, number, 0))
    a_day_before = [report for report in beside if report.kind == QUALITY and is_settled(report)]
    before = [report for report in reports if report.window.start < judged.window.start]
    likes: Iterable[tuple[Against, list[AnyReport]]] = (("1d", a_day_before), ("before", before))
    for against, found in likes:
        for like in found:
            if _value(like, name) is not None:
                return _compared(name, figure, against, like.metrics[name])
    return None


def _compared(name: str, figure: Metric, against: Against, before: Metric) -> Reference:
    value = before.value
    assert value is not None
    low = value if before.low is None else before.low
    high = value if before.high is None else before.high
    change = change_of(name, figure, low=low, high=high)
    return Reference(against=against, value=value, low=low, high=high, change=change.value)


_WORST_FIRST = [state.value for state in State]


def _row(
    standing: Standing[AnyReport],
    reports: Sequence[AnyReport],
    beside: Sequence[AnyReport],
    reference: Reference | None,
    state: State,
    firing: tuple[str, ...],
) -> FleetRow:
    judged = standing.judged
    name = main_metric(judged)
    return FleetRow(
        model=judged.model,
        version=judged.model_version,
        state=state.value,
        window=judged.window,
        status=judged.status,
        metric=name,
        figure=None if name is None else judged.metrics[name],
        reason=None if name is None else judged.undefined.get(name),
        reference=reference,
        predictions=judged.predictions,
        failed=judged.failed,
        labelled=judged.labelled,
        coverage=judged.coverage,
        coverage_expected=judged.coverage_expected,
        others={
            name: metric
            for report in beside
            if report.kind not in (QUALITY, RESOURCES)
            for name, metric in report.metrics.items()
            if name in OTHERS_OF_FLEET
        },
        memory=_memory([report for report in beside if report.kind == RESOURCES]),
        firing=firing,
        newest=standing.newest.window,
        produced_at=standing.newest.produced_at,
        spark=tuple(_spark(report, name, standing.newest) for report in reversed(reports)),
    )


def _memory(reports: Sequence[AnyReport]) -> MemoryTrend | None:
    report = worst_memory(reports)
    if report is None or report.memory is None:
        return None
    return MemoryTrend(
        target=report.segment.get("target", ""),
        targets=len(reports),
        state=report.memory.state,
        bytes=report.memory.bytes,
        limit_bytes=report.memory.limit_bytes,
        bytes_per_hour=_value(report, "memory_growth_bytes_per_hour"),
        seconds_to_limit=_value(report, "seconds_to_memory_limit"),
    )


def _spark(report: AnyReport, name: str | None, newest: AnyReport) -> SparkPoint:
    size_ms = report.window.size_seconds * 1000
    before = (parse_time_ms(newest.window.start) - parse_time_ms(report.window.start)) // size_ms
    return SparkPoint(before, _drawn(_value(report, name)), _drawn(report.coverage))


def _drawn(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _value(report: AnyReport, name: str | None) -> float | None:
    metric = None if name is None else report.metrics.get(name)
    return None if metric is None else metric.value
