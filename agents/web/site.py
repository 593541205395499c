"""The wiring of page and API: what answers which path."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path

from aiohttp import web

from agents.web.alerts import AlertReader
from agents.web.api import ROOT, Api
from agents.web.changes import Changes
from agents.web.documents import SystemPage
from agents.web.fleet import FleetReader
from agents.web.openapi import openapi_document
from agents.web.reading import ReportReader
from agents.web.record_routes import record_routes
from agents.web.records import RecordReader
from agents.web.remembered import ReportReading
from streams.ports import Clock

__all__ = ["mount_site"]

FILES = Path(str(resources.files("agents.web") / "static"))
PAGE = "index.html"


def mount_site(
    app: web.Application,
    *,
    fleet: FleetReader,
    reader: ReportReader,
    alerts: AlertReader,
    store: ReportReading,
    system: Callable[[], Awaitable[SystemPage]],
    records: RecordReader,
    clock: Clock,
) -> None:
    """Add page, files, API and events to a server."""
    api = Api(fleet, reader, alerts, store, system, clock, record_routes(records))
    changes = Changes(store)
    document = openapi_document(api.routes)

    async def describe(_: web.Request) -> web.Response:
        return web.json_response(document)

    app.router.add_get(f"{ROOT}/openapi.json", describe)
    app.router.add_get(f"{ROOT}/events", changes.serve)
    api.add_to(app)
    for path in sorted(FILES.rglob("*")):
        if path.is_file():
            at = path.relative_to(FILES).as_posix()
            app.router.add_get("/" if at == PAGE else f"/{at}", _serve(path))

    async def close(_: web.Application) -> None:
        await changes.close()

    app.on_shutdown.append(close)


def _serve(path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A file that is read once; browsers ask each time whether it is still the same."""
    body = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'

    async def serve(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        response = web.Response(
            body=body,
            headers={"Content-Type": f"{kind}; charset=utf-8", "ETag": etag, "Cache-Control": "no-cache"},
        )
        response.enable_compression()
        return response

    return serve
