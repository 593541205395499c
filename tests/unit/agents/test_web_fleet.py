"""What the fleet says beside the main figure, and segments over time, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import aiohttp
import msgspec

from schemas.resource_report import ResourceReport
from schemas.window_report import WindowReport
from tests.support.page_server import serve_page
from tests.support.page_world import Report, keep, many_segments, quality, world
from tests.support.publishing import FakeAlerts, FakeReports

HOURS = "2026-11-23T{:02}:00:00Z"


async def ask(reports: Iterable[Report], path: str, **parameters: str) -> Any:
    """The answer over a store of these reports."""
    store = FakeReports()
    await keep(store, reports)
    async with (
        serve_page(store, FakeAlerts(store)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}/api/v1/") as session,
        session.get(path.removeprefix("/"), params=parameters) as response,
    ):
        assert 200 == response.status
        return json.loads(await response.read())


async def fraud(reports: Iterable[Report], version: str = "3", model: str = "fraud") -> Any:
    """The fleet's row on a model version."""
    rows = (await ask(reports, "/fleet"))["rows"]
    return next(row for row in rows if (row["model"], row["version"]) == (model, version))


async def test_figure_is_compared_with_the_reference_of_the_configuration() -> None:
    row = await fraud(world())
    assert {"against": "reference", "value": 0.94, "low": 0.94, "high": 0.94, "change": "worse"} == row["reference"]
    good = await fraud(world(), version="2")
    assert ("reference", "better") == (good["reference"]["against"], good["reference"]["change"])


def renamed(report: WindowReport, start: str | None = None) -> WindowReport:
    """The same report on a model that the configuration has no reference of."""
    window = report.window if start is None else msgspec.structs.replace(report.window, start=start)
    return msgspec.structs.replace(report, model="theft", window=window)


async def test_figure_without_a_reference_is_compared_with_the_day_before() -> None:
    windows = [renamed(report) for report in quality("fraud", "3")]
    judged = next(report for report in windows if report.window.start == "2026-11-24T10:00:00Z")
    day_before = renamed(windows[0], start="2026-11-23T10:00:00Z")
    row = await fraud([*windows, day_before], model="theft")
    assert judged.metrics["accuracy"].value == row["figure"]["value"]
    accuracy = day_before.metrics["accuracy"]
    assert {
        "against": "1d", "value": accuracy.value, "low": accuracy.low, "high": accuracy.high, "change": "worse",
    } == row["reference"]  # fmt: skip


async def test_figure_is_compared_with_the_window_before_where_the_day_before_has_too_few_labels() -> None:
    windows = [renamed(report) for report in quality("fraud", "3")]
    day_before = msgspec.structs.replace(renamed(windows[0], start="2026-11-23T10:00:00Z"), coverage=0.4)
    row = await fraud([*windows, day_before], model="theft")
    assert ("before", windows[-3].metrics["accuracy"].value) == (row["reference"]["against"], row["reference"]["value"])


async def test_what_has_no_figure_is_compared_with_nothing() -> None:
    assert (await fraud(world(), version="", model="churn"))["reference"] is None


async def test_memory_of_the_target_in_the_worst_way_stands_for_all() -> None:
    row = await fraud(world())
    assert {
        "target": "fraud-7f",
        "targets": 2,
        "state": "suspected_leak",
        "bytes": 760_000_000,
        "limit_bytes": 960_000_000,
        "bytes_per_hour": 2e7,
        "seconds_to_limit": 36_000.0,
    } == row["memory"]
    assert (await fraud(world(), version="2"))["memory"] is None


async def test_memory_of_targets_that_ended_hours_ago_is_left_out() -> None:
    ended = [
        report
        for report in world()
        if not (
            isinstance(report, ResourceReport)
            and report.segment == {"target": "fraud-7f"}
            and report.window.start >= "2026-11-24T09:00:00Z"
        )
    ]
    row = await fraud(ended)
    assert ("fraud-8a", 1, "stable") == (row["memory"]["target"], row["memory"]["targets"], row["memory"]["state"])


async def test_segments_come_worst_first_by_what_their_labels_make_certain() -> None:
    answer = await ask(many_segments(5), "/models/sliced/segments", most="3")
    assert (5, "accuracy", "2026-11-24T09:00:00Z") == (answer["known"], answer["metric"], answer["judged"])
    assert ["C04", "C03", "C02"] == [each["segment"]["country"] for each in answer["series"]]


async def test_segment_over_time_has_the_figures_of_its_reports() -> None:
    reports = list(many_segments(2))
    answer = await ask(reports, "/models/sliced/segments", metric="recall")
    expected = [
        [each.window.start, each.status, recall.value, recall.low, recall.high, recall.n, each.coverage]
        for each in reports
        if each.segment == {"country": "C01"}
        for recall in [each.metrics["recall"]]
    ]
    assert 24 == len(expected)
    assert expected == next(each["points"] for each in answer["series"] if each["segment"] == {"country": "C01"})


async def test_segments_of_a_span_are_judged_by_a_window_of_that_span() -> None:
    span = {"since": "2026-11-23T14:00:00Z", "until": "2026-11-23T17:00:00Z"}
    answer = await ask(many_segments(2), "/models/sliced/segments", **span)
    assert "2026-11-23T16:00:00Z" == answer["judged"]
    assert [HOURS.format(hour) for hour in (14, 15, 16)] == [point[0] for point in answer["series"][0]["points"]]


async def test_model_without_windows_in_the_span_has_no_segments() -> None:
    answer = await ask(many_segments(2), "/models/sliced/segments", until="2020-01-01T00:00:00Z")
    assert (None, 0, []) == (answer["judged"], answer["known"], answer["series"])


async def test_metric_that_reports_lack_has_no_value_in_any_segment() -> None:
    answer = await ask(many_segments(2), "/models/sliced/segments", metric="poetry")
    assert {(None, None, None, 0)} == {tuple(point[2:6]) for each in answer["series"] for point in each["points"]}


async def test_model_tells_the_references_of_the_configuration() -> None:
    assert {"accuracy": 0.94} == (await ask(world(), "/models/fraud"))["references"]
