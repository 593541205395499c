"""How full the store is, asked now and then: a Redis that is full refuses commits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from agents.redis_facts import RedisFacts
from streams.ports import Clock

__all__ = ["StoreMemory"]

LOOK_SECONDS = 15.0


class StoreMemory:
    """The fullest server's memory.

    Args:
        facts: asks all servers; may raise `TemporaryFailure`.
        clock: to know when to ask again.

    `used_bytes` and `limit_bytes` are 0 until they are known; the limit is the machine's memory where Redis has none.
    """

    def __init__(self, facts: Callable[[], Awaitable[Sequence[RedisFacts]]], clock: Clock) -> None:
        self.used_bytes = 0
        self.limit_bytes = 0
        self._facts = facts
        self._clock = clock
        self._asked_seconds = float("-inf")

    async def look(self) -> None:
        """Ask if it is time."""
        now = self._clock.monotonic_seconds()
        if now - self._asked_seconds < LOOK_SECONDS:
            return
        self._asked_seconds = now
        sizes = [
            (each.used_memory_bytes, each.maxmemory_bytes or each.system_memory_bytes) for each in await self._facts()
        ]
        self.used_bytes, self.limit_bytes = max(sizes, key=lambda size: size[0] / size[1])
