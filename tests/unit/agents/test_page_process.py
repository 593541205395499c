"""The page in a process of its own: it tells what the worker tells, comes again, and never outlives or holds it up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import psutil
import pytest

from agents import worker_link
from agents.clock import SystemClock
from agents.exposition import Kind, Metric
from agents.page_process import PROGRAM, PageProcess
from agents.settings import Settings, WebSettings
from agents.web.listening import listen
from agents.worker_link import Told, WorkerLink, tell
from streams.errors import TemporaryFailure
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 120.0
BESIDE_IT = """
import asyncio, os
from agents.page_process import PageProcess
from agents.settings import WebSettings
from agents.web.listening import listen
from tests.unit.agents.test_page_process import Answering

async def main():
    listeners = await listen(WebSettings(port=0))
    async with PageProcess(listeners, os.environ, Answering()).running():
        print(listeners[0].getsockname()[1], flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


class Answering:
    """A worker that answers its page, and counts how often."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.unready: str | None = None
        self.answers = 0
        self.sent: list[Settings | None] = []

    def __call__(self, known: Settings | None) -> Told:
        self.answers += 1
        newer = None if known is self.settings else self.settings
        self.sent.append(newer)
        metric = Metric("answers_total", Kind.COUNTER, "Given.", self.answers)
        return Told(newer, is_running=True, unready=self.unready, metrics=(metric,), ends={})


async def get(port: int, path: str) -> tuple[int, str]:
    timeout = aiohttp.ClientTimeout(total=START_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


def the_page_of(pid: int) -> psutil.Process:
    """Among its children: a process that runs tests may have others, of tests before this one."""
    children = psutil.Process(pid).children()
    (page,) = [child for child in children if child.status() != psutil.STATUS_ZOMBIE and PROGRAM in child.cmdline()]
    return page


async def test_page_tells_what_the_worker_tells_comes_again_on_its_port_and_holds_no_end_up() -> None:
    worker = Answering()
    listeners = await listen(WebSettings(port=0))
    port = listeners[0].getsockname()[1]
    page = PageProcess(listeners, os.environ, worker)
    async with page.running():
        assert (200, "ok\n") == await get(port, "/healthz")
        assert "answers_total" in (await get(port, "/metrics"))[1]
        worker.unready = "it rests"
        await asyncio.sleep(worker_link.FRESH_SECONDS)
        assert (503, "it rests\n") == await get(port, "/readyz")
        first = the_page_of(os.getpid())
        # Who stops all processes of a worker means the worker.
        first.send_signal(signal.SIGTERM)
        assert (200, "ok\n") == await get(port, "/healthz")
        assert 1 == page.starts
        first.kill()
        with contextlib.suppress(ChildProcessError):
            await asyncio.to_thread(os.waitid, os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
        # Asked while there is nobody: the connection waits for whoever comes.
        assert (200, "ok\n") == await get(port, "/healthz")
        assert 2 == page.starts
        second = the_page_of(os.getpid())
        assert first.pid != second.pid
        second.suspend()
        began = time.monotonic()
    assert not second.is_running()
    assert time.monotonic() - began < 10
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_page_does_not_outlive_a_worker_that_was_killed() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BESIDE_IT),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    assert (200, "ok\n") == await get(port, "/healthz")
    child = the_page_of(process.pid)
    process.kill()
    await process.wait()
    wait_until(lambda: not child.is_running(), what="the page to go")


@contextlib.asynccontextmanager
async def joined(told: Callable[[Settings | None], Told]) -> AsyncIterator[WorkerLink]:
    """The page's end of a link whose other end answers."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    task = asyncio.create_task(tell(reader, writer, told))
    page_reader, page_writer = await asyncio.open_unix_connection(sock=theirs)
    try:
        yield WorkerLink(page_reader, page_writer, SystemClock())
    finally:
        page_writer.close()
        await asyncio.wait_for(task, 60)
        writer.close()


async def test_a_crowd_that_asks_at_once_costs_the_worker_one_answer() -> None:
    worker = Answering()
    async with joined(worker) as link:
        await asyncio.gather(*(link.ask() for _ in range(200)))
        assert 1 == worker.answers


async def test_settings_come_with_the_first_answer_and_when_they_are_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_link, "FRESH_SECONDS", 0.0)
    worker = Answering()
    async with joined(worker) as link:
        await link.ask()
        await link.ask()
        newer = worker.settings = Settings(confidence_level=0.9)
        await link.ask()
        await link.ask()
        assert [False, True, False, True] == [settings is None for settings in worker.sent]
        assert newer == link.settings


async def test_a_worker_that_does_not_answer_and_one_that_has_gone_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_link, "ANSWER_SECONDS", 0.2)
    ours, theirs = socket.socketpair()
    link = WorkerLink(*await asyncio.open_unix_connection(sock=theirs), SystemClock())
    with pytest.raises(TemporaryFailure, match="has not answered"):
        await link.ask()
    ours.close()
    with pytest.raises(TemporaryFailure, match="has gone"):
        await link.ask()
    await asyncio.wait_for(link.until_gone(), 10)


async def test_a_page_that_asks_nothing_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_link, "SILENT_SECONDS", 0.2)
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    with theirs, contextlib.closing(writer), pytest.raises(TimeoutError):
        await tell(reader, writer, Answering())
