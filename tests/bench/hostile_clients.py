"""Clients that nobody wants: open streams, half-open sockets and a steady rate of requests, until they are ended.

    python -m tests.bench.hostile_clients PORT

They come as soon as somebody listens, from an address of their own, so that who measures is not refused with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import sys

__all__ = ["FROM", "HALF_OPEN", "REQUESTS_PER_SECOND", "STREAMS"]

STREAMS = 1000
HALF_OPEN = 300
REQUESTS_PER_SECOND = 100
FROM = ("127.0.0.2", 0)
AGAIN_SECONDS = 10.0
"""As `Retry-After` says, and as the page waits."""
KNOCK_SECONDS = 0.2
"""While nobody listens."""
PATHS = ("/api/v1/fleet", "/api/v1/system", "/api/v1/alerts", "/")


async def _connect(port: int, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=FROM)
    writer.write(sent)
    return reader, writer


async def _stay(port: int, sent: bytes) -> None:
    """Be served for ever, and come again when that ends."""
    while True:
        try:
            reader, writer = await _connect(port, sent)
        except ConnectionRefusedError:
            await asyncio.sleep(KNOCK_SECONDS)
            continue
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        writer.transport.abort()
        await asyncio.sleep(AGAIN_SECONDS)


async def _ask(port: int, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(OSError):
        reader, writer = await _connect(port, request.encode())
        while await reader.read(65_536):
            pass
        writer.transport.abort()


async def _crowd(port: int) -> None:
    streams = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with asyncio.TaskGroup() as group:
        for _ in range(STREAMS):
            group.create_task(_stay(port, streams))
        for _ in range(HALF_OPEN):
            group.create_task(_stay(port, b"GET /api/v1/fl"))
        began = asyncio.get_running_loop().time()
        for number in itertools.count():
            group.create_task(_ask(port, PATHS[number % len(PATHS)]))
            await asyncio.sleep(began + number / REQUESTS_PER_SECOND - asyncio.get_running_loop().time())


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, most), most))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_crowd(int(sys.argv[1])))
