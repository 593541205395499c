"""The worker's HTTP server: health, metrics, API and page.

    GET /healthz   200 if it answers at all: the event loop turns, and a watchdog ends what does not get on
    GET /readyz    200, or 503 and why: it does not read yet, or not at present
    GET /metrics   Prometheus' text format
    GET /          the page, and what it asks under /api/v1, from Redis alone

Health and metrics ask Kafka and Redis nothing: a worker that rides out an outage lives, and restarting it would not
end the outage.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
from collections.abc import AsyncIterator, Callable, Iterable

from aiohttp import web

from agents.exposition import CONTENT_TYPE, Metric, expose
from agents.settings import WebSettings
from agents.web.access import Access, log_in, read_token, show_login
from agents.web.door import Door
from streams.errors import PermanentFailure
from streams.ports import Clock

__all__ = ["serve_web"]

_log = logging.getLogger(__name__)

STOP_SECONDS = 1.0
LARGEST_BODY_BYTES = 4096
"""Of the one form there is."""
LONGEST_LINE_BYTES = 32_768
"""Of a request: every parameter at its longest, each byte of it escaped."""

Complaint = Callable[[], str | None]
"""Says what is wrong; None if nothing is."""


@contextlib.asynccontextmanager
async def serve_web(
    settings: WebSettings,
    clock: Clock,
    *,
    unready: Complaint,
    metrics: Callable[[], Iterable[Metric]],
    mount: Callable[[web.Application], None] = lambda _: None,
) -> AsyncIterator[int]:
    """Serve until the block is left.

    Args:
        clock: for the rate of requests.
        unready: why it does not read.
        metrics: asked for at every scrape.
        mount: adds further routes.

    Returns: the port that is listened on.

    Raises:
        PermanentFailure: the address cannot be listened on, or the token not be read.
    """
    access = Access(settings, read_token(settings.token_file), clock)

    async def live(_: web.Request) -> web.Response:
        return _answer(None)

    async def read(_: web.Request) -> web.Response:
        return _answer(unready())

    async def measure(_: web.Request) -> web.Response:
        return web.Response(body=expose(metrics()).encode(), headers={"Content-Type": CONTENT_TYPE})

    door = Door()
    app = web.Application(middlewares=[door.middleware, access.middleware], client_max_size=LARGEST_BODY_BYTES)
    app.router.add_get("/healthz", live)
    app.router.add_get("/readyz", read)
    app.router.add_get("/metrics", measure)
    app.router.add_get("/login", show_login)
    app.router.add_post("/login", log_in(access))
    mount(app)
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=STOP_SECONDS, keepalive_timeout=30, max_line_size=LONGEST_LINE_BYTES
    )
    await runner.setup()
    assert runner.server is not None
    listener: asyncio.Server | None = None
    try:
        try:
            listener = await _listen(functools.partial(door.protocol_of, runner.server), settings)
        except OSError as error:
            raise PermanentFailure(
                f"cannot listen on {settings.host}:{settings.port} (web.host, web.port): {error.strerror}. Stop what "
                "uses the port, or give this worker another one; 0 takes any that is free"
            ) from error
        port: int = listener.sockets[0].getsockname()[1]
        _log.info("Serving HTTP on http://%s:%d", settings.host, port)
        yield port
    finally:
        if listener is not None:
            listener.close()
        await runner.cleanup()


async def _listen(protocol: Callable[[], asyncio.BaseProtocol], settings: WebSettings) -> asyncio.Server:
    """On the port of the settings. Where nobody chose one, workers side by side take what is free."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(protocol, settings.host, settings.port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or settings.port != WebSettings().port:
            raise
        return await loop.create_server(protocol, settings.host, 0)


def _answer(complaint: str | None) -> web.Response:
    return web.Response(text="ok\n") if complaint is None else web.Response(text=f"{complaint}\n", status=503)
