"""The worker's HTTP server: whether it lives, whether it reads, and its metrics for Prometheus.

    GET /healthz   200 if it answers at all: the event loop turns, and a watchdog ends what does not get on
    GET /readyz    200, or 503 and why: it does not read yet, or not at present
    GET /metrics   Prometheus' text format

None of them asks Kafka or Redis anything: a worker that rides out an outage lives, and restarting it would not end
the outage.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from aiohttp import web

from agents.exposition import CONTENT_TYPE, Metric, expose
from agents.settings import WebSettings
from streams.errors import PermanentFailure

__all__ = ["serve_health"]

_log = logging.getLogger(__name__)

STOP_SECONDS = 1.0

Complaint = Callable[[], str | None]
"""Says what is wrong; None if nothing is."""


@contextlib.asynccontextmanager
async def serve_health(
    settings: WebSettings, *, unready: Complaint, metrics: Callable[[], Iterable[Metric]]
) -> AsyncIterator[int]:
    """Serve until the block is left.

    Args:
        unready: why it does not read.
        metrics: asked for at every scrape.

    Returns: the port that is listened on.

    Raises:
        PermanentFailure: the address cannot be listened on, or the token not be read.
    """
    token = None if settings.token_file is None else _read_token(settings.token_file)

    async def live(_: web.Request) -> web.Response:
        return _answer(None)

    async def read(_: web.Request) -> web.Response:
        return _answer(unready())

    async def measure(request: web.Request) -> web.Response:
        if token is not None and not _shows(request, token):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        return web.Response(body=expose(metrics()).encode(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/healthz", live)
    app.router.add_get("/readyz", read)
    app.router.add_get("/metrics", measure)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        try:
            await _listen(runner, settings)
        except OSError as error:
            raise PermanentFailure(
                f"cannot listen on {settings.host}:{settings.port} (web.host, web.port): {error.strerror}. Stop what "
                "uses the port, or give this worker another one; 0 takes any that is free"
            ) from error
        port: int = runner.addresses[0][1]
        _log.info("Health and metrics on http://%s:%d", settings.host, port)
        yield port
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: WebSettings) -> None:
    """On the port of the settings. Where nobody chose one, workers side by side take what is free."""
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE or settings.port != WebSettings().port:
            raise
        await web.TCPSite(runner, settings.host, 0).start()


def _answer(complaint: str | None) -> web.Response:
    return web.Response(text="ok\n") if complaint is None else web.Response(text=f"{complaint}\n", status=503)


def _read_token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentFailure(f"cannot read the token in {path} (web.token_file): {error}") from error
    if not token:
        raise PermanentFailure(f"{path} (web.token_file) holds no token; remove the setting to ask for none")
    return token


def _shows(request: web.Request, token: str) -> bool:
    given = request.headers.get("Authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
