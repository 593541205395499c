"""The page and its API, served by a worker: how soon they answer, paint and show news, and what they cost counting.

page       reports of a model's day in Redis; API latency counts from the plan of requests (no coordinated omission)
hostile    the backlog, counted by a worker by turns alone and among clients that nobody wants, who are its page's alone
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import operator
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright
from redis.asyncio import Redis

from agents.redis_reports import RedisReports
from deploy.server_process import free_port
from schemas.window_report import WindowReport
from streams.monitored_model import DAY_MS, MINUTE_MS, MonitoredModel, Task
from tests.bench import hostile_clients
from tests.bench.backlog import Shape
from tests.bench.errors import BenchError
from tests.bench.figures import Figure
from tests.bench.process_cost import cpu_seconds
from tests.bench.workers import LEAST_SHARE, ROOT, Installation, Log, Services, check_cells, wait_for
from tests.support.fleet import binary_cells, report_on
from tests.support.page_world import keep, many_versions, revised

__all__ = ["hostile", "page"]

MODEL = MonitoredModel(name="a day", task=Task.BINARY, positive_class="fraud", segments=("country",))
DAY_START_MS = 1_795_392_000_000
SIZE_MS = 5 * MINUTE_MS
COUNTRIES = ("DE", "FR", "IT")
PER_SECOND = 50
SECONDS = 10
PAINTS = 5
UPDATES = 10
API_BAR_MS = 50
PAINT_BAR_SECONDS = 1.0
UPDATE_BAR_SECONDS = 1.0
COUNTING_BAR = 0.95
PATIENCE_SECONDS = 120.0
HOSTILE_PREDICTIONS = 400_000
LEAST_CROWD = 100
FIRST_SHARE, LAST_SHARE = 0.1, 0.9
"""Of the log, between which speed is measured: a worker that begins or ends does other things."""
ROWS_SHOWN = "document.querySelectorAll('table.fleet tbody tr').length > 0"
CHART_SHOWN = "document.querySelector('.chart canvas') !== null"
WATCH = """new Promise((resolve) => {
  const look = () => ((CONDITION) ? resolve(performance.timeOrigin + performance.now()) : requestAnimationFrame(look));
  look();
})"""


_wait = functools.partial(wait_for, seconds=PATIENCE_SECONDS)


@dataclasses.dataclass(frozen=True, slots=True)
class _Serving:
    installation: Installation
    port: int
    pid: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def text(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path, timeout=30) as response:
            return str(response.read().decode())


@contextlib.contextmanager
def _serving(services: Services, log: Log, port: int) -> Iterator[_Serving]:
    """A worker with its page."""
    installation = services.installation(log, web={"port": port})
    with installation.running() as worker:
        serving = _Serving(installation, port, worker.pid)
        _wait(lambda: serving.text("/healthz") == "ok\n", what="the worker to serve")
        yield serving


# --- page --------------------------------------------------------------------------------------------------------


def page(services: Services) -> Iterator[Figure]:
    """The API under a steady rate, the first paint of both main views, and how soon a revision is on the page."""
    nothing = services.empty_log(Shape(predictions=100), partitions=1)
    with _serving(services, nothing, free_port()) as serving:
        _wait(lambda: serving.text("/readyz") == "ok\n", what="the worker to read")
        asyncio.run(_fill(services, serving.installation))
        seconds = max(2.0, SECONDS * services.scale)
        for what, varies in (("each another question", True), ("what open pages ask", False)):
            latencies = asyncio.run(_latencies_ms(serving, seconds=seconds, varies=varies))
            name = f"API, a model's day at {PER_SECOND} requests/s, {what}"
            yield Figure(f"{name}: p50", (float(np.percentile(latencies, 50)),), "ms")
            bar = API_BAR_MS if varies else None
            yield Figure(f"{name}: p99", (float(np.percentile(latencies, 99)),), "ms", bar)
        yield from _in_a_browser(services, serving)


def _day() -> Iterator[WindowReport]:
    for number in range(DAY_MS // SIZE_MS):
        for at, segment in enumerate(({}, *({"country": country} for country in COUNTRIES))):
            yield report_on(
                MODEL,
                binary_cells(60 + number % 7, 12, 6, 400 - at, 5),
                start_ms=DAY_START_MS + number * SIZE_MS,
                size_ms=SIZE_MS,
                watermark_ms=DAY_START_MS + DAY_MS,
                segment=segment,
            )


@contextlib.asynccontextmanager
async def _reports(services: Services, installation: Installation) -> AsyncIterator[RedisReports]:
    client = Redis.from_url(services.redis.unix_url)
    try:
        yield RedisReports(client, address="redis", prefix=installation.name)
    finally:
        await client.aclose()


async def _fill(services: Services, installation: Installation) -> None:
    async with _reports(services, installation) as reports:
        await keep(reports, [*_day(), *many_versions(models=100, versions=3)])


async def _latencies_ms(serving: _Serving, *, seconds: float, varies: bool) -> Sequence[float]:
    """Of requests that are sent when they are due, however long others take."""
    model = "/api/v1/models/a%20day"
    found: list[float] = []

    async def ask(session: aiohttp.ClientSession, number: int, due: float) -> None:
        await asyncio.sleep(due - time.monotonic())
        limit = 288 + number % 700 if varies else 300
        start = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime((DAY_START_MS + number % 288 * SIZE_MS) / 1000))
        paths = (
            f"{model}/windows?version=3&metrics=accuracy&limit={limit}",
            f"{model}/windows?version=3&metrics=accuracy,precision,recall,f1&limit={limit}",
            f"{model}/windows/{start if varies else '2026-11-23T00:00:00Z'}?version=3",
        )
        async with session.get(serving.address + paths[number % len(paths)]) as response:
            body = await response.read()
            if response.status != 200:
                raise BenchError(f"the API answered {response.status}: {body[:200]!r}")
        found.append(1000 * (time.monotonic() - due))

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        began = time.monotonic() + 0.5
        for number in range(round(PER_SECOND * seconds)):
            group.create_task(ask(session, number, began + number / PER_SECOND))
    return found


def _in_a_browser(services: Services, serving: _Serving) -> Iterator[Figure]:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise BenchError("there is no chromium; `make setup` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        views = (("300 model versions", "/", ROWS_SHOWN), ("a model's day", "/?model=a+day&version=3", CHART_SHOWN))
        for what, view, condition in views:
            # Each in a context of its own: nothing is cached.
            paints = [_paint(browser.new_page(base_url=serving.address), view, condition) for _ in range(PAINTS)]
            yield Figure(f"page, {what}: first paint", tuple(first for first, _ in paints), "s", PAINT_BAR_SECONDS)
            yield Figure(f"page, {what}: figures shown", tuple(shown for _, shown in paints), "s", PAINT_BAR_SECONDS)
        shown = browser.new_page(base_url=serving.address)
        shown.goto("/")
        shown.locator("#connection[data-state=live]").wait_for()
        updates = [_update(services, serving, shown, number) for number in range(UPDATES)]
        yield Figure("page: revision kept in Redis until it is shown", tuple(updates), "s", UPDATE_BAR_SECONDS)
        browser.close()


def _when(condition: str) -> str:
    """A promise of the moment, milliseconds since the epoch, at which a frame shows what is wanted."""
    return WATCH.replace("CONDITION", condition)


def _paint(page: Page, view: str, condition: str) -> tuple[float, float]:
    """Seconds from the navigation to the first paint, and to what was asked for."""
    page.goto(view, wait_until="commit")
    shown = page.evaluate(f"{_when(condition)}.then((at) => at - performance.timeOrigin)")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    first = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    page.context.close()
    return first / 1000, shown / 1000


def _update(services: Services, serving: _Serving, shown: Page, number: int) -> float:
    """From the moment a revision is kept until its figure is on the page."""
    text = f"{700_000 + number:,}"
    report = next(many_versions(models=1, versions=1))

    async def save() -> None:
        async with _reports(services, serving.installation) as reports:
            newer = revised(report, predictions=700_000 + number, revision=report.revision + 1 + number)
            await keep(reports, [newer])

    # In an object, or it would be waited for here.
    shown.evaluate(f"window.seen = {{ at: {_when(f'document.body.textContent.includes({text!r})')} }}; 0")
    # At another moment of the look each time.
    time.sleep(0.7 + number * 0.05)
    began = time.time()
    # The browser's loop runs in this thread.
    with ThreadPoolExecutor(1) as beside:
        beside.submit(asyncio.run, save()).result()
    return float(shown.evaluate("window.seen.at")) / 1000 - began


# --- hostile -----------------------------------------------------------------------------------------------------


def hostile(services: Services) -> Iterator[Figure]:
    """Counting speed among hostile clients, of that without, pair by pair."""
    shape = Shape(predictions=services.scaled(HOSTILE_PREDICTIONS), bare=True)
    pairs = [
        (_speed(services, shape, among=False), _speed(services, shape, among=True)) for _ in range(services.repeats)
    ]
    what = (
        f"counting among {hostile_clients.STREAMS:,} streams, {hostile_clients.HALF_OPEN} half-open sockets,"
        f" {hostile_clients.REQUESTS_PER_SECOND} requests/s"
    )
    yield Figure(
        "counting alone: records per second of processor time", tuple(each.per_cpu for each, _ in pairs), "records/s"
    )
    # The clients take the machine too, which theirs would not be.
    by_cpu = tuple(crowded.per_cpu / quiet.per_cpu for quiet, crowded in pairs)
    yield Figure(f"{what}: by processor time, of alone", by_cpu, "", COUNTING_BAR, operator.ge)
    by_clock = tuple(crowded.per_clock / quiet.per_clock for quiet, crowded in pairs)
    yield Figure(f"{what}: by the clock, of alone", by_clock, "")
    yield Figure("what the page's process took meanwhile", tuple(crowded.page_cores for _, crowded in pairs), "cores")


@dataclasses.dataclass(frozen=True, slots=True)
class _Speed:
    per_cpu: float
    per_clock: float
    page_cores: float


def _speed(services: Services, shape: Shape, *, among: bool) -> _Speed:
    """Records a second between two shares of the log; every cell is compared afterwards."""
    expected, log, port = services.expected(shape), services.log(shape), free_port()
    with _crowd(port) if among else contextlib.nullcontext(), _serving(services, log, port) as serving:
        marks = []
        for share in (FIRST_SHARE, LAST_SHARE):
            wanted = share * expected.records
            counted = _once_counted(serving, wanted)
            (page,) = psutil.Process(serving.pid).children()
            marks.append((counted, cpu_seconds(serving.pid), cpu_seconds(page.pid), time.monotonic()))
        connections = len(page.net_connections("tcp"))
        if among and connections < LEAST_CROWD:
            raise BenchError(f"{connections} connections are no crowd")
        _once_counted(serving, expected.records)
        (first, cpu, page_cpu, clock), (last, cpu_then, page_cpu_then, clock_then) = marks
        if last - first < LEAST_SHARE * expected.records:
            raise BenchError("the log is too short: raise the scale")
    # The records counted last have been read, and were not committed when the worker was told to stop.
    serving.installation.run_until_caught_up()
    check_cells(expected.cells, serving.installation.counted())
    seconds = clock_then - clock
    return _Speed((last - first) / (cpu_then - cpu), (last - first) / seconds, (page_cpu_then - page_cpu) / seconds)


def _once_counted(serving: _Serving, records: float) -> int:
    """How many are, once they are that many."""
    counted = 0

    def look() -> bool:
        nonlocal counted
        counted = serving.installation.records_counted()
        return counted >= records

    _wait(look, what=f"{records:,.0f} records to be counted")
    return counted


@contextlib.contextmanager
def _crowd(port: int) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.hostile_clients", str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as crowd:
        try:
            yield
        finally:
            crowd.kill()
