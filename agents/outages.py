"""Riding out outages: the same call again until it succeeds, and one log line every few seconds."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from streams.errors import TemporaryFailure
from streams.ports import Clock

__all__ = ["LOG_SECONDS", "Outages"]

_log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
LOG_SECONDS = 5.0

_Result = TypeVar("_Result")


class Outages:
    """Shared by all tasks of a worker, so that they complain with one voice."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = -math.inf
        self._logged = -math.inf
        self._failing = 0

    @property
    def is_on(self) -> bool:
        """Whether some call has failed and is being repeated."""
        return self._failing > 0

    async def ride_out(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """Repeat `call` while it raises `TemporaryFailure`; everything else passes through.

        The call must bear being repeated after it took effect without our knowing.
        """
        try:
            return await call()
        except TemporaryFailure as failure:
            if not self.is_on:
                self._began = self._clock.monotonic_seconds()
            self._complain(failure)
        self._failing += 1
        try:
            result = await self._repeated(call)
        finally:
            self._failing -= 1
        if not self.is_on:
            self._relax()
        return result

    async def _repeated(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause_seconds)
            try:
                return await call()
            except TemporaryFailure as failure:
                self._complain(failure)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)

    def _complain(self, failure: TemporaryFailure) -> None:
        now = self._clock.monotonic_seconds()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            _log.warning("%s; keeping the work and trying again, for %.0f s now", failure, now - self._began)

    def _relax(self) -> None:
        # What comes and goes has been complained of once in a while only, and its end is told as often.
        if self._logged >= self._began:
            _log.info("Back after %.1f s", self._clock.monotonic_seconds() - self._began)
