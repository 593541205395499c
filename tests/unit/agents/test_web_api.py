"""The JSON API over real HTTP: what it answers, what it refuses, and when it says that nothing has changed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
import jsonschema
import pytest

from schemas.signals_report import SignalsReport
from streams.errors import TemporaryFailure
from streams.ports import LastReport
from tests.support.fleet import NOON_MS
from tests.support.page_server import serve_page
from tests.support.page_world import HOSTILE, keep, quality, revised, world
from tests.support.publishing import FakeAlerts, FakeReports
from tests.support.signal_reports import MOVES_AT

NOON = "2026-11-23T12:00:00Z"


class Asker:
    """Asks one server."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._root = f"http://127.0.0.1:{port}"

    async def get(self, path: str, **parameters: str) -> Any:
        status, answer, _ = await self.ask(path, parameters)
        assert 200 == status, answer
        return answer

    async def refused(self, path: str, **parameters: str) -> tuple[int, str | None]:
        status, answer, headers = await self.ask(path, parameters)
        assert "application/problem+json" == headers["Content-Type"]
        assert answer["detail"]
        return status, answer.get("field")

    async def ask(
        self, path: str, parameters: Mapping[str, str] | None = None, method: str = "GET", **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        async with self._session.request(method, self._root + path, params=parameters, headers=headers) as response:
            body = await response.read()
            return response.status, json.loads(body) if body else None, response.headers

    @contextlib.asynccontextmanager
    async def events(self, **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._session.get(f"{self._root}/api/v1/events", headers=headers) as response:
            yield response


@pytest.fixture
async def store() -> FakeReports:
    reports = FakeReports()
    await keep(reports, world())
    return reports


class CountedReports(FakeReports):
    """Tells how many reports were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_for = 0

    async def last(self, keys: Mapping[bytes, Sequence[bytes]]) -> Mapping[bytes, LastReport]:
        self.asked_for += sum(map(len, keys.values()))
        return await super().last(keys)


@pytest.fixture
async def api(store: FakeReports) -> AsyncIterator[Asker]:
    async with serve_page(store, FakeAlerts(store)) as port, aiohttp.ClientSession() as session:
        yield Asker(session, port)


async def test_fleet_lists_every_version_once_worst_first(api: Asker) -> None:
    rows = (await api.get("/api/v1/fleet"))["rows"]
    states = [row["state"] for row in rows]
    order = ["firing", "warning", "no_data", "labels_pending", "ok"]
    assert sorted(states, key=order.index) == states
    assert {
        ("fraud", "3"): "ok",
        ("fraud", "2"): "ok",
        ("churn", ""): "labels_pending",
        (HOSTILE, "3"): "ok",
        ("two hundred classes", "3"): "ok",
        ("price", "3"): "no_data",
        ("lost input", "3"): "warning",
    } == {(row["model"], row["version"]): row["state"] for row in rows}


async def test_row_holds_the_figures_of_the_report_it_is_judged_by(api: Asker, store: FakeReports) -> None:
    row = next(
        row for row in (await api.get("/api/v1/fleet"))["rows"] if (row["model"], row["version"]) == ("fraud", "3")
    )
    window = await api.get("/api/v1/models/fraud/windows/" + row["window"]["start"])
    report = window["reports"][0]
    assert report["coverage"] >= 0.5
    assert (report["metrics"]["accuracy"], report["labelled"], report["failed"]) == (
        row["figure"], row["labelled"], row["failed"],
    )  # fmt: skip
    assert 24 == len(row["spark"])
    assert [23 - at for at in range(24)] == [before for before, _, _ in row["spark"]]


async def test_model_tells_its_versions_sizes_and_metrics(api: Asker) -> None:
    page = await api.get("/api/v1/models/fraud")
    assert ("3", ["3", "2"], 3600, [3600], "accuracy") == (
        page["version"],
        [each["version"] for each in page["versions"]],
        page["size_seconds"],
        page["sizes"],
        page["metric"],
    )
    assert {"accuracy": "more", "log_loss": "less"}.items() <= {
        each["name"]: each["better"] for each in page["metrics"]
    }.items()


async def test_name_with_markup_slashes_and_emoji_is_found(api: Asker) -> None:
    page = await api.get("/api/v1/models/" + quote(HOSTILE, safe=""))
    assert HOSTILE == page["model"]


async def test_windows_come_oldest_first_within_the_span_and_page_by_page(api: Asker) -> None:
    path = "/api/v1/models/fraud/windows"
    whole = await api.get(path, metrics="accuracy,recall")
    starts = [point["start"] for point in whole["points"]]
    assert (24, sorted(starts), None) == (len(starts), starts, whole["next_until"])
    assert all(point["figures"].keys() == {"accuracy", "recall"} for point in whole["points"])
    pages: list[str] = []
    until: str | None = starts[-1]
    while until is not None:
        part = await api.get(path, limit="10", until=until)
        pages = [point["start"] for point in part["points"]] + pages
        until = part["next_until"]
    assert starts[:-1] == pages
    span = await api.get(path, since=starts[3], until=starts[6])
    assert starts[3:6] == [point["start"] for point in span["points"]]


async def test_windows_without_a_version_are_of_the_newest_one_and_only_its_reports_are_read() -> None:
    reports = CountedReports()
    await keep(reports, world())
    async with serve_page(reports, FakeAlerts(reports)) as port, aiohttp.ClientSession() as session:
        api = Asker(session, port)
        windows = await api.get("/api/v1/models/fraud/windows")
        asked_for = reports.asked_for
        newest = (await api.get("/api/v1/models/fraud"))["version"]

    assert newest == windows["version"]
    assert len(windows["points"]) == asked_for > 0


async def test_windows_of_a_segment_are_that_segments(api: Asker) -> None:
    part = await api.get("/api/v1/models/fraud/windows", segment='{"country":"DE"}', metrics="accuracy", limit="5")
    assert 5 == len(part["points"])
    assert all(point["segment"] == {"country": "DE"} for point in part["points"])
    none = await api.get("/api/v1/models/fraud/windows", segment='{"country":"ZZ"}')
    assert [] == none["points"]


async def test_windows_of_a_kind_that_has_targets_alone_are_found_too(api: Asker) -> None:
    part = await api.get(
        "/api/v1/models/fraud/windows", kind="resources", segment='{"target":"fraud-7f"}', metrics="rss_bytes"
    )
    assert (24, 3e8) == (len(part["points"]), part["points"][0]["figures"]["rss_bytes"]["value"])


async def test_signals_come_over_time_what_moved_most_first(api: Asker) -> None:
    answer = await api.get("/api/v1/models/fraud/signals")
    assert (2, ["margin", "vote_entropy"]) == (answer["known"], [each["signal"] for each in answer["series"]])
    margin, entropy = answer["series"]
    reports = [each for each in world() if isinstance(each, SignalsReport)]
    metrics = [report.metrics for report in reports]
    assert [each["signal.margin.p50"].value for each in metrics] == [point[6] for point in margin["points"]]
    assert [each["signal.margin.psi"].low for each in metrics] == [point[10] for point in margin["points"]]
    assert [at >= MOVES_AT for at in range(24)] == [point[12] for point in margin["points"]]
    assert {False} == {point[12] for point in entropy["points"]}
    assert [each["signal.vote_entropy.undefined_share"].value for each in metrics] == [
        point[3] for point in entropy["points"]
    ]
    assert ("2026-11-22T12:00:00Z", NOON, "3") == tuple(margin["level"][name] for name in ("start", "end", "version"))
    assert pytest.approx([0.265, 0.4, 0.535], rel=0.02) == margin["level"]["quartiles"]


async def test_signals_of_a_span_a_segment_and_a_number_are_those(api: Asker) -> None:
    path = "/api/v1/models/fraud/signals"
    some = await api.get(path, since="2026-11-23T13:00:00Z", until="2026-11-23T15:00:00Z", most="1")
    assert (2, ["margin"]) == (some["known"], [each["signal"] for each in some["series"]])
    assert ["2026-11-23T13:00:00Z", "2026-11-23T14:00:00Z"] == [point[0] for point in some["series"][0]["points"]]
    assert 1 == len((await api.get(path, limit="1"))["series"][0]["points"])
    assert [] == (await api.get(path, segment='{"country":"ZZ"}'))["series"]


async def test_segment_may_be_long_where_json_writes_one_character_as_twelve(api: Asker) -> None:
    asked = json.dumps({"country": "\N{GLOBE WITH MERIDIANS}" * 128})
    assert [] == (await api.get("/api/v1/models/fraud/windows", segment=asked))["points"]


async def test_window_has_the_reports_on_all_segments_as_they_were_published(api: Asker, store: FakeReports) -> None:
    window = await api.get(f"/api/v1/models/fraud/windows/{NOON}", version="3")
    segments = [report["segment"] for report in window["reports"]]
    countries = [{"country": "DE"}, {"country": "FR"}, {"country": "__missing__"}]
    assert [{}, *countries, {"target": "fraud-7f"}, {"target": "fraud-8a"}, {}, {}] == segments
    assert ["quality"] * 4 + ["resources"] * 2 + ["signals", "stability"] == [
        report["kind"] for report in window["reports"]
    ]
    better = window["better"]
    assert window["reports"][0]["metrics"].keys() == better.keys()
    assert {"accuracy": "more", "log_loss": "less"}.items() <= better.items()
    kept = [json.loads(report.value) for reports in store.reports.values() for report in reports.values()]
    assert all(report in kept for report in window["reports"])


@pytest.mark.parametrize(
    ("path", "parameters", "answer"),
    [
        ("/models/frud", {}, (404, "model")),
        ("/models/fraud", {"version": "9"}, (404, "version")),
        ("/models/fraud", {"size": "60"}, (404, "size")),
        ("/models/fraud/windows", {"size": "60"}, (404, "size")),
        ("/models/fraud/windows", {"kind": "poetry"}, (404, "kind")),
        ("/models/fraud/windows/1999-01-01T00:00:00Z", {}, (404, "start")),
        ("/models/fraud/windows/yesterday", {}, (400, "start")),
        ("/models/fraud", {"size": "1h"}, (400, "size")),
        ("/models/fraud", {"size": "-1"}, (400, "size")),
        ("/models/fraud/segments", {"size": "60"}, (404, "size")),
        ("/models/fraud/segments", {"most": "49"}, (400, "most")),
        ("/models/fraud/signals", {"most": "201"}, (400, "most")),
        ("/models/fraud/signals", {"size": "60"}, (404, "size")),
        ("/models/fraud/signals", {"version": "2"}, (404, "kind")),
        ("/models/fraud/windows", {"limit": "0"}, (400, "limit")),
        ("/models/fraud/windows", {"limit": "1001"}, (400, "limit")),
        ("/models/fraud/windows", {"since": "noon"}, (400, "since")),
        ("/models/fraud/windows", {"segment": "DE"}, (400, "segment")),
        ("/models/fraud/windows", {"segment": '{"country": 3}'}, (400, "segment")),
        ("/models/fraud/windows", {"segment": "x" * 4097}, (400, "segment")),
        ("/models/fraud/windows", {"metrics": "x" * 257}, (400, "metrics")),
        ("/models/fraud/windows", {"since": "x" * 257}, (400, "since")),
        ("/models/fraud/windows", {"metric": "accuracy"}, (400, "metric")),
        ("/alerts", {"phase": "angry"}, (400, "phase")),
        ("/fleet", {"page": "2"}, (400, "page")),
        ("/poetry", {}, (404, None)),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_the_field(
    api: Asker, path: str, parameters: dict[str, str], answer: tuple[int, str | None]
) -> None:
    assert answer == await api.refused("/api/v1" + path, **parameters)


async def test_nothing_can_be_changed(api: Asker) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert 405 == (await api.ask("/api/v1/fleet", method=method))[0]


async def test_parameter_given_twice_is_refused(api: Asker) -> None:
    assert (400, "size") == await api.refused("/api/v1/models/fraud?size=3600&size=60")


async def test_answer_that_is_known_already_is_not_sent_again(api: Asker, store: FakeReports) -> None:
    path = "/api/v1/models/fraud/windows?metrics=accuracy"
    _, before, headers = await api.ask(path)
    assert (304, None) == (await api.ask(path, None, "GET", **{"If-None-Match": headers["ETag"]}))[:2]
    changed = quality("fraud", "3")[0]
    await keep(store, [revised(changed, predictions=9_999)])
    status, after, _ = await api.ask(path, None, "GET", **{"If-None-Match": headers["ETag"]})
    assert (200, 9_999) == (status, after["points"][0]["predictions"])
    assert before != after


async def test_a_crowd_asks_the_store_one_thing_at_a_time(
    api: Asker, store: FakeReports, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, most = 0, 0

    async def changes() -> int:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0.01)
        asking -= 1
        return 1

    monkeypatch.setattr(store, "changes", changes)
    await asyncio.gather(*(api.get("/api/v1/models/fraud/windows", limit=str(1 + at)) for at in range(30)))
    assert 1 == most


async def test_redis_that_is_away_is_said(api: Asker, store: FakeReports, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> int:
        raise TemporaryFailure("Redis at nowhere does not answer")

    monkeypatch.setattr(store, "changes", away)
    assert (503, None) == await api.refused("/api/v1/fleet")


async def test_every_answer_is_what_the_description_says(api: Asker) -> None:
    document = await api.get("/api/v1/openapi.json")
    paths = {
        "/api/v1/fleet": "/api/v1/fleet",
        "/api/v1/models/{model}": "/api/v1/models/fraud",
        "/api/v1/models/{model}/windows": "/api/v1/models/fraud/windows?metrics=accuracy,mae",
        "/api/v1/models/{model}/segments": "/api/v1/models/fraud/segments?metric=recall",
        "/api/v1/models/{model}/signals": "/api/v1/models/fraud/signals",
        "/api/v1/models/{model}/windows/{start}": f"/api/v1/models/fraud/windows/{NOON}",
        "/api/v1/alerts": "/api/v1/alerts",
        "/api/v1/system": "/api/v1/system",
    }
    # Single records are in test_web_records.py.
    records = {
        "/api/v1/models/{model}/explanations",
        "/api/v1/dead-letters",
        "/api/v1/dead-letters/{partition}/{offset}",
    }
    assert paths.keys() | records | {"/api/v1/events"} == document["paths"].keys()
    for route, path in paths.items():
        content = document["paths"][route]["get"]["responses"]["200"]["content"]["application/json"]
        schema = {**content["schema"], "components": document["components"]}
        jsonschema.validate(await api.get(path), schema)


async def lines(response: aiohttp.ClientResponse, wanted: int) -> list[str]:
    """The next lines that are not empty."""
    found: list[str] = []
    async with asyncio.timeout(60):
        while len(found) < wanted:
            line = (await response.content.readline()).decode().strip()
            found += [line] if line else []
    return found


async def test_pages_are_told_of_a_change_and_of_the_last_one_when_they_come_back(
    api: Asker, store: FakeReports
) -> None:
    async with api.events() as stream:
        assert ["retry: 1000", f"id: {store.saves}", "event: changed", "data: {}"] == await lines(stream, 4)
        await keep(store, [next(world())])
        assert [f"id: {store.saves}", "event: changed", "data: {}"] == await lines(stream, 3)
    async with api.events(**{"Last-Event-ID": str(store.saves)}) as stream:
        # It has seen that one, so the next thing is a sign of life.
        assert ["retry: 1000", "event: alive", "data: {}"] == await lines(stream, 3)


async def test_open_pages_are_capped_and_do_not_hold_the_server_back(store: FakeReports) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with serve_page(store, FakeAlerts(store)) as port, contextlib.AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(session.get(f"http://127.0.0.1:{port}/api/v1/events"))
                for _ in range(80)
            ]
            assert {200: 64, 503: 16} == {
                status: [each.status for each in streams].count(status) for status in (200, 503)
            }
            started = asyncio.get_running_loop().time()
        # Leaving the block stops the server under 64 open streams.
        assert asyncio.get_running_loop().time() - started < 10


def test_world_starts_at_noon() -> None:
    assert NOON == next(world()).window.start
    assert NOON_MS == 1_795_435_200_000
