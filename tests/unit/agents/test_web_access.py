"""Who may read the page: token, cookie, host, rate and headers, on every route that there is."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from agents.settings import WebSettings
from agents.web import access
from tests.support.page_server import ANY_PORT, serve_page
from tests.support.publishing import FakeAlerts, FakeReports

TOKEN = "correct horse battery staple"
ROUTES = (
    "/", "/app.js", "/page.css", "/vendor/uPlot.iife.min.js", "/metrics", "/api/v1/fleet", "/api/v1/models/x",
    "/api/v1/models/x/segments", "/api/v1/models/x/windows", "/api/v1/models/x/windows/2026-11-23T12:00:00Z",
    "/api/v1/models/x/explanations", "/api/v1/models/x/signals", "/api/v1/dead-letters", "/api/v1/dead-letters/0/0",
    "/api/v1/alerts", "/api/v1/system", "/api/v1/events", "/api/v1/openapi.json", "/api/v1/nothing", "/nothing",
)  # fmt: skip


@pytest.fixture
def guarded(tmp_path: Path) -> WebSettings:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return WebSettings(port=0, token_file=tmp_path / "token")


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def status(client: aiohttp.ClientSession, port: int, path: str, **headers: str) -> int:
    async with client.get(f"http://127.0.0.1:{port}{path}", headers=headers, allow_redirects=False) as response:
        return response.status


async def test_every_route_but_health_needs_the_token(client: aiohttp.ClientSession, guarded: WebSettings) -> None:
    async with serve_page(FakeReports(), FakeAlerts(), settings=guarded) as port:
        assert dict.fromkeys(ROUTES, 401) == {path: await status(client, port, path) for path in ROUTES}
        wrong = {path: await status(client, port, path, Authorization="Bearer guess") for path in ROUTES}
        assert dict.fromkeys(ROUTES, 401) == wrong
        shown = {path: await status(client, port, path, Authorization=f"Bearer {TOKEN}") for path in ROUTES}
        assert 401 not in shown.values()
        assert [200, 200] == [await status(client, port, path) for path in ("/healthz", "/readyz")]


async def test_routes_of_this_list_are_all_that_are_served(client: aiohttp.ClientSession) -> None:
    async with (
        serve_page(FakeReports(), FakeAlerts()) as port,
        client.get(f"http://127.0.0.1:{port}/api/v1/openapi.json") as response,
    ):
        described = (await response.json())["paths"].keys()
    concrete = {
        path.replace("{model}", "x").replace("{start}", "2026-11-23T12:00:00Z").replace("{partition}/{offset}", "0/0")
        for path in described
    }
    assert concrete <= set(ROUTES)


async def test_people_log_in_with_a_form_and_stay_so_by_a_cookie(guarded: WebSettings) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        serve_page(FakeReports(), FakeAlerts(), settings=guarded) as port,
        aiohttp.ClientSession(cookie_jar=jar) as client,
    ):
        root = f"http://127.0.0.1:{port}"
        async with client.get(f"{root}/", headers={"Accept": "text/html"}) as response:
            assert (401, True) == (response.status, '<form method="post" action="/login">' in await response.text())
        async with client.post(f"{root}/login", data={"token": "guess"}, allow_redirects=False) as response:
            assert (401, {}) == (response.status, dict(response.cookies))
        async with client.post(f"{root}/login", data={"token": TOKEN}, allow_redirects=False) as response:
            cookie = response.cookies["latelabel"]
            assert (303, "/", True, "Strict") == (
                response.status,
                response.headers["Location"],
                cookie["httponly"],
                cookie["samesite"],
            )
        assert 200 == await status(client, port, "/api/v1/fleet")


async def test_form_that_is_too_large_is_refused(client: aiohttp.ClientSession, guarded: WebSettings) -> None:
    async with (
        serve_page(FakeReports(), FakeAlerts(), settings=guarded) as port,
        client.post(f"http://127.0.0.1:{port}/login", data={"token": "x" * 10_000}) as response,
    ):
        assert 413 == response.status


async def test_page_is_off_where_others_reach_it_without_a_token_unless_that_is_wanted(
    client: aiohttp.ClientSession,
) -> None:
    settings = WebSettings(host="0.0.0.0", port=0)
    async with serve_page(FakeReports(), FakeAlerts(), settings=settings) as port:
        answers = [await status(client, port, path) for path in ("/", "/api/v1/fleet", "/metrics", "/healthz")]
        assert [403, 403, 200, 200] == answers
    async with serve_page(FakeReports(), FakeAlerts(), settings=dataclasses.replace(settings, open=True)) as port:
        assert [200, 200] == [await status(client, port, path) for path in ("/", "/api/v1/fleet")]


async def test_name_that_only_points_here_is_not_answered(client: aiohttp.ClientSession) -> None:
    async with serve_page(FakeReports(), FakeAlerts()) as port:
        answers = [
            await status(client, port, "/api/v1/fleet", Host=host)
            for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "attacker.example", "")
        ]
    assert [200, 200, 200, 421, 421] == answers


async def test_address_that_asks_too_often_is_told_to_wait(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "BURST_REQUESTS", 20.0)
    monkeypatch.setattr(access, "REQUESTS_PER_SECOND", 0.001)
    async with serve_page(FakeReports(), FakeAlerts()) as port:
        answers = [await status(client, port, "/api/v1/openapi.json") for _ in range(22)]
        assert [200] * 20 + [429] * 2 == answers
        assert 200 == await status(client, port, "/healthz")


async def test_every_answer_tells_browsers_what_not_to_do(client: aiohttp.ClientSession) -> None:
    async with serve_page(FakeReports(), FakeAlerts(), settings=ANY_PORT) as port:
        for path in ("/", "/app.js", "/api/v1/fleet", "/api/v1/nothing", "/nothing", "/healthz"):
            async with client.get(f"http://127.0.0.1:{port}{path}") as response:
                policy = response.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe-eval" not in policy
                assert ("nosniff", "DENY") == (
                    response.headers["X-Content-Type-Options"],
                    response.headers["X-Frame-Options"],
                )
