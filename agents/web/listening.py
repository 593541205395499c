"""Where a server listens: bound and listening at once, so that whoever asks before it accepts only waits."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence

from agents.settings import WebSettings
from streams.errors import PermanentFailure

__all__ = ["listen"]

BACKLOG = 100
"""Of connections that wait to be accepted, as asyncio has it."""


async def listen(settings: WebSettings) -> Sequence[socket.socket]:
    """A socket for each address of the host, all on one port.

    Raises: PermanentFailure: it cannot be listened on.
    """
    try:
        return await _bound(settings)
    except OSError as error:
        raise PermanentFailure(
            f"cannot listen on {settings.host}:{settings.port} (web.host, web.port): {error.strerror}. Stop what "
            "uses the port, or give this worker another one; 0 takes any that is free"
        ) from error


async def _bound(settings: WebSettings) -> Sequence[socket.socket]:
    """On the port of the settings. Where nobody chose one, workers side by side take what is free."""
    try:
        return await _bound_to(settings.host, settings.port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or settings.port != WebSettings().port:
            raise
        return await _bound_to(settings.host, 0)


async def _bound_to(host: str, port: int) -> Sequence[socket.socket]:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    try:
        sockets = [socket.socket(fileno=os.dup(each.fileno())) for each in server.sockets]
    finally:
        server.close()
    try:
        for each in sockets:
            each.setblocking(False)
            each.listen(BACKLOG)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets
