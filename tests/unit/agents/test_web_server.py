"""The worker's HTTP server over real HTTP."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from agents.clock import SystemClock
from agents.exposition import Kind, Metric
from agents.settings import WebSettings
from agents.web.server import serve_web
from streams.errors import PermanentFailure

ANY_PORT = WebSettings(port=0)
CLOCK = SystemClock()


def no_complaint() -> None:
    return None


def one_metric() -> Iterator[Metric]:
    yield Metric("reads_total", Kind.COUNTER, "Read.", 7)


async def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_a_worker_with_nothing_to_complain_of_is_alive_and_ready() -> None:
    async with serve_web(ANY_PORT, CLOCK, unready=no_complaint, metrics=one_metric) as port:
        assert (200, "ok\n") == await get(port, "/healthz")
        assert (200, "ok\n") == await get(port, "/readyz")


async def test_a_worker_that_is_not_ready_says_why_and_lives() -> None:
    async with serve_web(ANY_PORT, CLOCK, unready=lambda: "waiting", metrics=one_metric) as port:
        assert (200, "ok\n") == await get(port, "/healthz")
        assert (503, "waiting\n") == await get(port, "/readyz")


async def test_metrics_are_in_the_text_format() -> None:
    async with serve_web(ANY_PORT, CLOCK, unready=no_complaint, metrics=one_metric) as port:
        assert (200, "# HELP reads_total Read.\n# TYPE reads_total counter\nreads_total 7\n") == await get(
            port, "/metrics"
        )


@pytest.mark.parametrize("path", ["/", "/table", "/router", "/performance/"])
async def test_nothing_else_is_served(path: str) -> None:
    async with serve_web(ANY_PORT, CLOCK, unready=no_complaint, metrics=one_metric) as port:
        assert 404 == (await get(port, path))[0]


async def test_a_token_guards_the_metrics_but_not_the_probes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    settings = WebSettings(port=0, token_file=tmp_path / "token")
    async with serve_web(settings, CLOCK, unready=no_complaint, metrics=one_metric) as port:
        assert 200 == (await get(port, "/healthz"))[0]
        assert 401 == (await get(port, "/metrics"))[0]
        assert 401 == (await get(port, "/metrics", Authorization="Bearer guess"))[0]
        assert 200 == (await get(port, "/metrics", Authorization="Bearer secret"))[0]


@pytest.mark.parametrize("content", [None, " \n"])
async def test_a_token_that_is_not_there_is_no_way_in(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    settings = WebSettings(port=0, token_file=tmp_path / "token")
    with pytest.raises(PermanentFailure, match=r"web\.token_file"):
        async with serve_web(settings, CLOCK, unready=no_complaint, metrics=one_metric):
            pass


async def test_a_port_in_use_is_named_with_the_remedy() -> None:
    async with serve_web(ANY_PORT, CLOCK, unready=no_complaint, metrics=one_metric) as port:
        second = serve_web(WebSettings(port=port), CLOCK, unready=no_complaint, metrics=one_metric)
        with pytest.raises(PermanentFailure, match=rf"127\.0\.0\.1:{port} .*0 takes any that is free"):
            async with second:
                pass


async def test_workers_side_by_side_need_no_ports_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with (
        serve_web(WebSettings(), CLOCK, unready=no_complaint, metrics=one_metric) as first,
        serve_web(WebSettings(), CLOCK, unready=no_complaint, metrics=one_metric) as second,
    ):
        assert first != second
        assert [(200, "ok\n")] * 2 == [await get(port, "/healthz") for port in (first, second)]
    usual = WebSettings().port
    assert f"Serving HTTP on http://127.0.0.1:{second}, as {usual} is taken" == caplog.messages[-1]
