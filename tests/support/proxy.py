"""A TCP proxy that behaves as badly as networks do: slow, silent, cutting, or losing what was answered."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import threading
from collections.abc import Iterator
from typing import Self

__all__ = ["Fault", "Proxy", "proxy_in_a_thread"]

CHUNK_BYTES = 65_536


class Fault(enum.Enum):
    """What happens to connections while it lasts, old ones and new ones alike."""

    NONE = enum.auto()
    SILENT = enum.auto()
    """Half open: everything is accepted, nothing is passed on, not even that the target is gone."""
    LOSE_REPLIES = enum.auto()
    """Requests arrive; instead of the answer the client gets the end of its connection."""
    CUT = enum.auto()
    """Every connection is reset at its first byte."""


class Proxy:
    """Stands between clients and `target`, a `host:port`, on a port of its own at `host`.

    Attributes:
        fault: may be changed at any time.
        delay_seconds: added to every chunk, in both directions.
        requests: what clients sent first.
    """

    def __init__(self, target: str, *, host: str = "127.0.0.1") -> None:
        target_host, _, port = target.rpartition(":")
        self._target = target_host, int(port)
        self._host = host
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.fault = Fault.NONE
        self.delay_seconds = 0.0
        self.requests = bytearray()

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        assert self._server is not None
        return f"{self._host}:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self) -> None:
        """End every connection that is open now."""
        for connection in self._connections:
            connection.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                with contextlib.suppress(OSError):
                    await self._connect(reader, writer)
                if self.fault is Fault.SILENT:
                    while await reader.read(CHUNK_BYTES):
                        pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        try:
            pumps = {
                asyncio.create_task(self._pump(reader, server_writer, is_reply=False)),
                asyncio.create_task(self._pump(server_reader, writer, is_reply=True)),
            }
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            server_writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_reply: bool) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            if not is_reply and len(self.requests) < CHUNK_BYTES:
                self.requests += chunk
            if self.fault is Fault.CUT or (self.fault is Fault.LOSE_REPLIES and is_reply):
                return
            if self.fault is Fault.SILENT:
                continue
            await asyncio.sleep(self.delay_seconds)
            target.write(chunk)
            await target.drain()


@contextlib.contextmanager
def proxy_in_a_thread(target: str) -> Iterator[Proxy]:
    """A proxy with an event loop of its own, for tests that have none. `cut` must not be called."""
    proxy = Proxy(target)
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()
    ready = threading.Event()

    async def run() -> None:
        async with proxy:
            ready.set()
            await stopping.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="proxy", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()
