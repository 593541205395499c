"""An HTTP server: health and metrics of every process that serves, API and page of workers.

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
import functools
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from aiohttp import web

from agents.exposition import CONTENT_TYPE, Metric, expose
from agents.settings import WebSettings
from agents.web.access import Access, log_in, read_token, show_login
from agents.web.door import Door
from agents.web.listening import listen
from streams.errors import TemporaryFailure
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


async def _nothing() -> None:
    pass


@contextlib.asynccontextmanager
async def serve_web(
    settings: WebSettings,
    clock: Clock,
    *,
    unready: Complaint,
    metrics: Callable[[], Iterable[Metric]],
    mount: Callable[[web.Application], None] = lambda _: None,
    listeners: Sequence[socket.socket] | None = None,
    renew: Callable[[], Awaitable[None]] = _nothing,
) -> AsyncIterator[int]:
    """Serve until the block is left.

    Args:
        clock: for the rate of requests.
        unready: why it does not read.
        metrics: asked for at every scrape.
        mount: adds further routes.
        listeners: sockets that listen already; without them those of `settings`.
        renew: awaited before `unready` and `metrics` are asked; raises TemporaryFailure if there is no knowing.

    Returns: the port that is listened on.

    Raises:
        PermanentFailure: the address cannot be listened on, or the token not be read.
    """
    access = Access(settings, read_token(settings.token_file), clock)

    def told(answer: Callable[[], web.Response]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def serve(_: web.Request) -> web.Response:
            try:
                await renew()
            except TemporaryFailure as failure:
                return _answer(str(failure))
            return answer()

        return serve

    def measure() -> web.Response:
        return web.Response(body=expose(metrics()).encode(), headers={"Content-Type": CONTENT_TYPE})

    door = Door()
    app = web.Application(middlewares=[door.middleware, access.middleware], client_max_size=LARGEST_BODY_BYTES)
    app.router.add_get("/healthz", told(lambda: _answer(None)))
    app.router.add_get("/readyz", told(lambda: _answer(unready())))
    app.router.add_get("/metrics", told(measure))
    app.router.add_get("/login", show_login)
    app.router.add_post("/login", log_in(access))
    mount(app)
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=STOP_SECONDS, keepalive_timeout=30, max_line_size=LONGEST_LINE_BYTES
    )
    await runner.setup()
    assert runner.server is not None
    servers: list[asyncio.Server] = []
    try:
        sockets = await listen(settings) if listeners is None else listeners
        protocol = functools.partial(door.protocol_of, runner.server)
        loop = asyncio.get_running_loop()
        servers += [await loop.create_server(protocol, sock=each) for each in sockets]
        port: int = sockets[0].getsockname()[1]
        taken = f", as {settings.port} is taken" if settings.port not in (0, port) else ""
        _log.info("Serving HTTP on http://%s:%d%s", settings.host, port, taken)
        yield port
    finally:
        for server in servers:
            server.close()
        await runner.cleanup()


def _answer(complaint: str | None) -> web.Response:
    return web.Response(text="ok\n") if complaint is None else web.Response(text=f"{complaint}\n", status=503)
