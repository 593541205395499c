"""The configuration of a running worker, read again on SIGHUP: all of it or nothing.

    SIGHUP -> read and check -> take what may change at once -> every taker prepares -> every taker adopts
                  |                      |                            |
              a mistake:          said what has to wait        one refuses:
              all stays                                        all stays

A taker is what a part of the worker does with new settings. Preparing may fail and changes nothing; what it returns
changes something and cannot fail.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from agents.settings import Settings
from agents.settings_changes import adopt
from streams.errors import LatelabelError
from streams.ports import Clock

__all__ = ["Reloading", "Taker"]

_log = logging.getLogger(__name__)

Taker = Callable[[Settings], Awaitable[Callable[[], None]]]
"""Prepares for new settings, and returns what adopts them. Raises LatelabelError to have them refused."""


class Reloading:
    """What holds at present, and the way to something newer.

    Args:
        settings: those the worker starts with.
        read: reads the configuration again; raises ConfigurationError.
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings], clock: Clock) -> None:
        self.settings = settings
        self.succeeded = True
        self.succeeded_ms = clock.now_ms()
        self._read = read
        self._clock = clock
        self._takers: Sequence[Taker] | None = None
        self._is_asked = False
        self._work: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Have the configuration read again, at the latest when the worker has started. From the event loop only."""
        self._is_asked = True
        if self._takers is not None and (self._work is None or self._work.done()):
            self._work = asyncio.ensure_future(self._reload())

    def begin(self, takers: Sequence[Taker]) -> None:
        """Hand new settings to these from now on; those asked for meanwhile at once."""
        self._takers = takers
        if self._is_asked:
            self.ask()

    async def _reload(self) -> None:
        while self._is_asked:
            self._is_asked = False
            try:
                await self._take(self._read())
            except LatelabelError as error:
                self.succeeded = False
                _log.error("The configuration was not read again, all stays as it is: %s", error)

    async def _take(self, read: Settings) -> None:
        adoption = adopt(self.settings, read)
        adopting = [await prepare(adoption.settings) for prepare in self._takers or ()]
        for adopt_now in adopting:
            adopt_now()
        self.settings = adoption.settings
        self.succeeded, self.succeeded_ms = True, self._clock.now_ms()
        changed = ", ".join(change.path for change in adoption.adopted) or "no setting"
        _log.info("Read the configuration again; changed at once: %s", changed)
        for change in adoption.refused:
            _log.warning("%s", change)
