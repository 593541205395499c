"""Ends a process that is stuck: at once, because what is stuck may never stop, and without harm, because whoever
continues does so from what is stored.

`LoopWatch` notices what nothing in the event loop could notice: that the loop does not turn any more. `LoopLag` tells
of one that turns late.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from typing import NoReturn

__all__ = ["LAG_KEPT_SECONDS", "LoopLag", "LoopWatch", "end_process"]

_log = logging.getLogger(__name__)

LAG_KEPT_SECONDS = 60.0
TICK_SECONDS = 1.0
EXIT_CODE = 1


def end_process(reason: str) -> NoReturn:
    """Say why, and exit; to be started again by whoever supervises the worker."""
    _log.critical("Ending, so that the worker is started again: %s", reason)
    os._exit(EXIT_CODE)


class LoopLag:
    """How late the event loop came to what was due, over the last minute.

    >>> lag = LoopLag()
    >>> for now_seconds, late_seconds in ((1.0, 0.25), (2.0, 0.5), (62.5, 0.125)):
    ...     lag.note(late_seconds, now_seconds=now_seconds)
    >>> lag.longest(since_seconds=0.0), lag.longest(since_seconds=100.0)
    (0.125, 0.0)
    """

    def __init__(self) -> None:
        self._noted: deque[tuple[float, float]] = deque()

    def note(self, late_seconds: float, *, now_seconds: float) -> None:
        """Something was due so many seconds ago; time is monotonic."""
        self._noted.append((now_seconds, late_seconds))
        while self._noted[0][0] < now_seconds - LAG_KEPT_SECONDS:
            self._noted.popleft()

    def longest(self, *, since_seconds: float) -> float:
        """The longest delay noted since then; 0 without any."""
        return max((late for at, late in self._noted if at >= since_seconds), default=0.0)


class LoopWatch:
    """A thread that counts its own ticks, not time: while the whole process stands still, so does the count."""

    def __init__(self, *, limit_seconds: float = 60.0) -> None:
        self._limit_seconds = limit_seconds
        self._ticks = 0
        self._stopped = threading.Event()

    def beat(self) -> None:
        """Called by the loop, more often than every second."""
        self._ticks = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Watch until the block is left."""
        thread = threading.Thread(target=self._run, name="loop-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(TICK_SECONDS):
            self._ticks += 1
            if self._ticks * TICK_SECONDS >= self._limit_seconds:
                end_process(f"the event loop has not turned for {self._limit_seconds:g} s")
