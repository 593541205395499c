"""Models run in time that other programs leave: no niceness keeps a cache warm, so what counting needs is left to it.

A credit of processor seconds grows with what the machine had idle, and is used up by the processes of the models. While
there is any, jobs begin. What models use is not idle: they take at most half of what others leave, and time that is
taken from others earns them nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Callable, Iterable

import psutil

from streams.ports import Clock

__all__ = ["SpareTime", "seconds_left", "seconds_used"]

TICK_SECONDS = 0.25
MOST_SAVED_SECONDS = 1.0
MOST_OWED_SECONDS = 1.0
"""So that one long job does not keep the next waiting for minutes. An explainer begins with this debt: one that is
killed again and again computes nothing on a busy machine."""


class SpareTime:
    """What models may use of the processors.

    Args:
        reserved_cores: what they may use even if others need all.
        left, used: processor seconds so far, see `seconds_left` and `seconds_used`.
    """

    def __init__(
        self, reserved_cores: float, clock: Clock, *, left: Callable[[], float], used: Callable[[], float]
    ) -> None:
        self._reserved_cores = reserved_cores
        self._clock = clock
        self._left = left
        self._used = used
        self._credit_seconds = -MOST_OWED_SECONDS
        self._has_credit = asyncio.Event()

    @property
    def is_short(self) -> bool:
        """Whether models wait for others."""
        return not self._has_credit.is_set()

    async def turn(self) -> None:
        """Wait until there is time for a job."""
        await self._has_credit.wait()

    async def keep(self) -> None:
        """Keep the account until cancelled."""
        then, left, used = self._clock.monotonic_seconds(), self._left(), self._used()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now, left_now, used_now = self._clock.monotonic_seconds(), self._left(), self._used()
            granted = max(left_now - left, self._reserved_cores * (now - then))
            self._enter(granted - (used_now - used))
            then, left, used = now, left_now, used_now

    def _enter(self, seconds: float) -> None:
        self._credit_seconds = min(max(self._credit_seconds + seconds, -MOST_OWED_SECONDS), MOST_SAVED_SECONDS)
        if self._credit_seconds > 0:
            self._has_credit.set()
        else:
            self._has_credit.clear()


def seconds_left() -> float:
    """What the machine's processors have been idle since its start."""
    times = psutil.cpu_times()
    return float(times.idle + getattr(times, "iowait", 0.0))


def seconds_used(running: Iterable[int]) -> float:
    """What the children of this process have used: those that are `running`, and all that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for pid in running:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(psutil.Process(pid).cpu_times()[:4])
    return total
