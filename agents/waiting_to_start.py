"""A process that starts waits for what it needs, whatever it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agents.outages import LOG_SECONDS
from streams.errors import TemporaryFailure
from streams.ports import Clock

__all__ = ["wait_for"]

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

ASK_AGAIN_SECONDS = 0.2


async def wait_for(start: Callable[[], Awaitable[_Result]], *, clock: Clock, until_seconds: float) -> _Result:
    """Repeat `start` while it raises `TemporaryFailure`, until the monotonic time `until_seconds`.

    What it waits for, the failure says; it is logged at once and every few seconds.
    """
    logged_seconds = float("-inf")
    while True:
        try:
            return await start()
        except TemporaryFailure as failure:
            now = clock.monotonic_seconds()
            if now > until_seconds:
                raise
            if now - logged_seconds >= LOG_SECONDS:
                logged_seconds = now
                _log.warning("Waiting to start: %s", failure)
            await asyncio.sleep(ASK_AGAIN_SECONDS)
