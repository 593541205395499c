"""Hostile clients of a real server: whatever they do, connections are bounded and others are answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence

import aiohttp
import pytest
from aiohttp import web

from agents.clock import SystemClock
from agents.settings import WebSettings
from agents.web import access, changes, door
from agents.web.server import serve_web
from tests.support.page_server import serve_page
from tests.support.publishing import FakeAlerts, FakeReports

MOST = 20
ASKED_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door.Door.__init__, "__defaults__", (MOST,))
    monkeypatch.setattr(door, "GRACE_SECONDS", 0.0)


@contextlib.asynccontextmanager
async def opened(port: int, count: int, sent: bytes) -> AsyncIterator[Sequence[asyncio.StreamReader]]:
    """Connections that say this much and then nothing."""
    connections = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            connections.append((reader, writer))
            writer.write(sent)
        yield [reader for reader, _ in connections]
    finally:
        for _, writer in connections:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(mount: Callable[[web.Application], None] = lambda _: None) -> AsyncIterator[int]:
    async with serve_web(
        WebSettings(port=0), SystemClock(), unready=lambda: None, metrics=lambda: (), mount=mount
    ) as port:
        yield port


async def ask_health(port: int) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as response:
        return response.status


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
async def test_clients_that_say_no_more_make_room_for_who_does(sent: bytes) -> None:
    async with serving() as port, opened(port, 3 * MOST, sent) as readers:
        assert [200] * 5 == [await ask_health(port) for _ in range(5)]
        async with asyncio.timeout(20):
            cut_off = 0
            for reader in readers[:MOST]:
                with contextlib.suppress(ConnectionResetError):
                    while await reader.read(1000):
                        pass
                cut_off += 1
        assert MOST == cut_off


async def test_client_that_has_just_come_is_not_cut_off_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "GRACE_SECONDS", 600.0)
    async with serving() as port, opened(port, 3 * MOST, ASKED_HEALTH) as readers, asyncio.timeout(20):
        statuses = [(await reader.readline()).split()[1] for reader in readers]
        assert [b"200"] * MOST + [b"503"] * 2 * MOST == statuses


async def test_connection_beyond_those_that_are_being_answered_is_refused() -> None:
    release = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response(text="done\n")

    def mount(app: web.Application) -> None:
        app.router.add_get("/slow", slow)

    async with serving(mount) as port, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        asked = [asyncio.create_task(session.get(f"http://127.0.0.1:{port}/slow")) for _ in range(MOST)]
        async with asyncio.timeout(30):
            while await ask_health(port) != 503:
                pass
        async with session.get(f"http://127.0.0.1:{port}/healthz") as response:
            assert (503, "10") == (response.status, response.headers["Retry-After"])
        release.set()
        assert [200] * MOST == [(await each).status for each in asked]
        assert 200 == await ask_health(port)


async def test_client_that_does_not_take_its_answer_is_cut_off() -> None:
    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * (8 << 20))

    def mount(app: web.Application) -> None:
        app.router.add_get("/large", large)

    async with serving(mount) as port, opened(port, MOST, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        assert [200] * (MOST + 5) == [await ask_health(port) for _ in range(MOST + 5)]


async def test_form_that_comes_byte_by_byte_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "FORM_SECONDS", 0.1)
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    async with serving() as port, opened(port, 1, head + b"Content-Length: 100\r\n\r\ntok") as (reader,):
        async with asyncio.timeout(20):
            assert b"408" in await reader.readline()


async def test_streams_beyond_the_limit_are_refused_and_the_server_ends_while_all_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "MOST_CLIENTS", 6)
    reports = FakeReports()
    ask = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with asyncio.timeout(60), contextlib.AsyncExitStack() as clients:
        async with serve_page(reports, FakeAlerts(reports)) as port:
            readers = await clients.enter_async_context(opened(port, 12, ask))
            await clients.enter_async_context(opened(port, 5, b"GET / HT"))
            statuses = [(await reader.readline()).split()[1] for reader in readers]
            assert [b"200"] * 6 + [b"503"] * 6 == statuses
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
