"""A real Chromium, and the page over a real Redis, served from a thread so that tests can drive the browser."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest
import redis.asyncio
from playwright.sync_api import Browser, Page, sync_playwright

from agents.redis_alerts import RedisAlerts
from agents.redis_reports import RedisReports
from agents.settings import WebSettings
from agents.web.records import RecordReader
from deploy.servers import RedisServer
from tests.support.page_server import serve_page

T = TypeVar("T")


class PageServer:
    """Stores in Redis and the page over them, which can be taken away and given back."""

    def __init__(self, server: RedisServer) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = server
        self._stop: asyncio.Event | None = None
        self._serving: Future[None] | None = None
        self.port = 0
        self.records: RecordReader | None = None
        self.run(self._connect())

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=150)

    def start(self) -> None:
        """Serve, on the same port as before if there was one."""
        started = threading.Event()
        self._serving = asyncio.run_coroutine_threadsafe(self._serve(started), self._loop)
        if not started.wait(60):
            self._serving.result(timeout=0)

    def stop(self) -> None:
        """Stop serving, as a worker does that ends."""
        if self._serving is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._serving.result(timeout=60)
            self._serving = None

    def close(self) -> None:
        self.stop()
        self.run(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=60)
        self._loop.close()

    async def _connect(self) -> None:
        self._client = redis.asyncio.Redis.from_url(self._server.unix_url)
        self.reports = RedisReports(self._client, address=self._server.address, prefix="page")
        self.alerts = RedisAlerts(self._client, address=self._server.address, prefix="page")

    async def _serve(self, started: threading.Event) -> None:
        self._stop = asyncio.Event()
        settings = WebSettings(port=self.port)
        async with serve_page(self.reports, self.alerts, settings=settings, records=self.records) as port:
            self.port = port
            started.set()
            await self._stop.wait()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser. Its driver runs an event loop in this thread, so it ends with the module: others run theirs."""
    path = shutil.which("chromium")
    if path is None:
        raise FileNotFoundError("there is no chromium; `make setup` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server(fresh_redis: RedisServer) -> Iterator[PageServer]:
    """The page over an empty Redis."""
    server = PageServer(fresh_redis)
    server.start()
    yield server
    server.close()


@pytest.fixture
def page(chromium: Browser, server: PageServer) -> Iterator[Page]:
    """A page that fails its test when a script does, or when anything is asked of another host."""
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, base_url=server.address, timezone_id="America/New_York", locale="en-US"
    )
    page = context.new_page()
    errors: list[str] = []
    elsewhere: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: elsewhere.append(request.url) if not _is_own(request.url, server) else None)
    page.set_default_timeout(20_000)
    yield page
    context.close()
    assert ([], []) == (errors, elsewhere)


def _is_own(url: str, server: PageServer) -> bool:
    return url.startswith((server.address, "data:", "blob:"))
