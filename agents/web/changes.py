"""Server-sent events: `changed` whenever the store has changed, so that pages ask again for what they show.

    id: 1841                     the store's change number; a page that comes back says the last one it saw
    event: changed
    data: {}

One look at Redis serves all clients, and only while there are any. `alive` every few seconds tells a page that silence
is no news rather than a dead worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from aiohttp import web

from agents.web.remembered import ReportReading
from streams.errors import TemporaryFailure

__all__ = ["Changes"]

_log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
HEARTBEAT_SECONDS = 5.0
MOST_CLIENTS = 64
WRITE_SECONDS = 5.0
"""A client that takes no more bytes for so long is let go."""


class Changes:
    """Tells pages that something has changed.

    Args:
        store: asked for its change number.
    """

    def __init__(self, store: ReportReading) -> None:
        self._store = store
        self._number: int | None = None
        self._changed = asyncio.Condition()
        self._clients: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._is_closing = False

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Stay with one client until it leaves, or the server stops."""
        if len(self._clients) >= MOST_CLIENTS or self._is_closing:
            return web.Response(status=503, text="too many pages are open\n", headers={"Retry-After": "10"})
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        task = asyncio.ensure_future(self._tell(response, request.headers.get("Last-Event-ID")))
        self._clients.add(task)
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._look())
        try:
            await task
        except asyncio.CancelledError:
            task.cancel()
            if not self._is_closing:
                raise
        except (ConnectionError, TimeoutError):
            pass
        finally:
            self._clients.discard(task)
            if not self._clients and self._watch is not None:
                self._watch.cancel()
                self._watch = None
        return response

    async def close(self) -> None:
        """Let every client go."""
        self._is_closing = True
        tasks = [*self._clients, *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, response: web.StreamResponse, seen: str | None) -> None:
        last = int(seen) if seen is not None and seen.isascii() and seen.isdigit() and len(seen) < 20 else None
        await _write(response, "retry: 1000\n\n")
        while True:
            number = await self._next(last)
            if number is None:
                await _write(response, "event: alive\ndata: {}\n\n")
            else:
                last = number
                await _write(response, f"id: {number}\nevent: changed\ndata: {{}}\n\n")

    async def _next(self, last: int | None) -> int | None:
        """The number once it is another than the last; None when it has stayed the same for a while."""
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS), self._changed:
                await self._changed.wait_for(lambda: self._number not in (None, last))
        except TimeoutError:
            return None
        return self._number

    async def _look(self) -> None:
        while True:
            # Redis may be away; pages learn that from their next question.
            with contextlib.suppress(TemporaryFailure):
                number = await self._store.changes()
                if number != self._number:
                    async with self._changed:
                        self._number = number
                        self._changed.notify_all()
            await asyncio.sleep(LOOK_SECONDS)


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(text.encode())
