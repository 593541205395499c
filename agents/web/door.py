"""How many connections the server has: bounded, so that no client can take its memory, its files or its end.

    a new one ──> room? ──> served
                   │ no
                   ├──> the oldest that has long waited for its client is cut off, and the new one served
                   └──> all are being answered, or have just come: 503, and closed

A connection whose client says nothing, sends a header byte by byte, or does not take its answer, waits for its client;
so a supervisor that asks for health is let in however many of those there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

__all__ = ["Door"]

MOST_CONNECTIONS: Final = 256
"""Four times the pages that may be open; each takes some tens of kilobytes."""
GRACE_SECONDS = 1.0
"""Nobody is cut off so soon: the request may be on its way."""
MOST_REFUSALS: Final = 128
"""Under way; beyond it connections are cut off without a word."""
GOODBYE_SECONDS: Final = 1.0

_TEXT: Final = b"too many connections\n"
_REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 10\r\nConnection: close\r\n"
    b"Content-Length: " + str(len(_TEXT)).encode() + b"\r\n\r\n" + _TEXT
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """Makes the protocol of each new connection.

    Args:
        most: connections at a time.
    """

    def __init__(self, most: int = MOST_CONNECTIONS) -> None:
        self._most = most
        self._answered: set[asyncio.BaseProtocol] = set()
        self._refusals: set[asyncio.BaseProtocol] = set()
        self._came_seconds: dict[asyncio.BaseProtocol, float] = {}
        self.refused = 0
        self.cut_off = 0

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Remember whose request is being answered."""
        connection = request.protocol
        self._answered.add(connection)
        try:
            return await handler(request)
        finally:
            self._answered.discard(connection)

    def protocol_of(self, server: web.Server) -> asyncio.BaseProtocol:
        """For a connection that has just come."""
        connections = server.connections
        now = asyncio.get_running_loop().time()
        if len(connections) >= self._most:
            waiting = next((each for each in connections if self._may_be_cut_off(each, now)), None)
            if waiting is None or waiting.transport is None:
                self.refused += 1
                return _Refusal(self._refusals)
            self.cut_off += 1
            # Not closed: what its client does not take would keep it.
            waiting.transport.abort()
        if len(self._came_seconds) >= 2 * self._most:
            self._came_seconds = {each: self._came_seconds.get(each, now) for each in connections}
        connection = server()
        self._came_seconds[connection] = now
        return connection

    def _may_be_cut_off(self, connection: web.RequestHandler, now: float) -> bool:
        transport = connection.transport
        has_left = transport is None or transport.is_closing()
        return (
            not has_left
            and connection not in self._answered
            and now >= self._came_seconds.get(connection, now) + GRACE_SECONDS
        )


class _Refusal(asyncio.Protocol):
    """Says that there is no room, whatever it is asked."""

    def __init__(self, others: set[asyncio.BaseProtocol]) -> None:
        self._others = others
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if len(self._others) >= MOST_REFUSALS:
            transport.abort()
            return
        self._others.add(self)
        self._transport = transport
        transport.write(_REFUSAL)
        # Closed before the request is read, it would be reset, and the client not learn why.
        asyncio.get_running_loop().call_later(GOODBYE_SECONDS, transport.abort)

    def data_received(self, _: bytes) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        self._others.discard(self)
