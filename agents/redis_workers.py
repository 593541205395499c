"""Numbers that workers are known by, in Redis.

    {<prefix>}:workers   hash   until when and at which address, by number

A number outlives its worker: whoever is started next takes the lowest that is free, so that there are as few as there
ever were workers side by side, and alerts on a worker have the same labels after it was replaced. Counting knows
nothing of them.
"""

from __future__ import annotations

from agents.redis_connection import RedisClient, redis_failures
from agents.redis_script import RedisScript
from streams.ports import Clock

__all__ = ["HELD_MS", "RedisWorkers"]

HELD_MS = 60_000
"""After so long without a sign of life a number is free. Whoever comes back to the same address has it at once."""


class RedisWorkers:
    """Both methods may raise `TemporaryFailure`, and may be repeated.

    Args:
        client: from `agents.redis_connection.connect`; not closed here.
        address: of Redis, for messages.
        prefix: of every key.
        clock: wall time; that of another worker may differ by a fraction of `HELD_MS`.
    """

    def __init__(self, client: RedisClient, *, address: str, prefix: str, clock: Clock) -> None:
        self._client = client
        self._address = address
        self._workers = f"{{{prefix}}}:workers"
        self._clock = clock
        self._script = RedisScript("worker_number")

    async def number(self, address: str) -> int:
        """The number of the worker at an address, from 1 on; it keeps it as long as it asks in time."""
        return await self._ask(address, HELD_MS)

    async def let_go(self, address: str) -> None:
        """Free the number for whoever is started next."""
        await self._ask(address, 0)

    async def _ask(self, address: str, held_ms: int) -> int:
        async with redis_failures(self._address):
            return int(await self._script.run(self._client, [self._workers], address, self._clock.now_ms(), held_ms))
