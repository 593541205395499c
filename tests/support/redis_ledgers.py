"""Redis ledgers for tests, a history to feed them, and a reader that continues from what they have stored."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Mapping

from redis.asyncio.cluster import RedisCluster

from agents.redis_connection import RedisClient, connect
from agents.redis_ledger import RedisLedger
from streams.identity import registry_group
from streams.ledger.parts import CommitReply, Definitions, NameList, Outcome, Part, Source
from streams.ports import Ledger
from tests.support.histories import LABEL_HOLD_MS, UNIT_MS, Packer, draw_history, draw_models
from tests.support.world import FAR_FUTURE_MS, FOREVER_MS

__all__ = ["PREFIX", "LogReader", "connected", "draw_packer", "redis_ledger"]

PREFIX = "latelabel"


def redis_ledger(client: RedisClient, *, address: str, shards: int, prefix: str = PREFIX) -> RedisLedger:
    """A ledger that holds labels as long as the histories need and never drops a window."""
    return RedisLedger(
        client,
        address=address,
        prefix=prefix,
        shards=shards,
        label_hold_ms=LABEL_HOLD_MS,
        keep_windows_ms=FOREVER_MS,
    )


def draw_packer(seed: int, *, shards: int, ids: int) -> Packer:
    """A history of two models and two partitions for each topic."""
    rng = random.Random(seed)
    models = draw_models(rng)
    return Packer(models, draw_history(rng, models, ids=ids, disorder_ms=25 * UNIT_MS), shards)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisClient]:
    """A client that connects at its first call, as workers have it; redis-py's own contexts connect at once."""
    client = connect(url)
    try:
        yield client
    finally:
        await client.aclose()
        if isinstance(client, RedisCluster):
            # After a failure it believes that it has nothing to close.
            await client.nodes_manager.aclose()
            await client.nodes_manager.aclose("startup_nodes")


class LogReader:
    """Reads logs into a ledger as a worker that remembers nothing: every part begins where the shard stands."""

    def __init__(self, ledger: Ledger, packer: Packer, rng: random.Random) -> None:
        self.ledger = ledger
        self._packer = packer
        self._rng = rng
        # Every class has cells of its own, so that nothing is ever held back.
        names = packer.definitions().names
        groups = [registry_group("classes", model) for model in packer.models]
        self._definitions = Definitions(
            names, packer.definitions().terms, dict.fromkeys(groups, NameList(tuple(names)))
        )

    async def create(self) -> None:
        """Create every shard at the start of every log."""
        for shard in range(self.ledger.shards):
            await self.ledger.create(shard, ledger_id="test", sources=dict.fromkeys(self._packer.log, 0))

    async def next_part(self, shard: int) -> Part | None:
        """Some records of some log that the shard has not read to its end; None if it has read them all."""
        state = await self.ledger.state(shard)
        assert state is not None, f"shard {shard} is lost"
        stored = {source: each.next for source, each in state.sources.items()}
        unread = [source for source, records in self._packer.log.items() if stored[source] < len(records)]
        return self._part(shard, self._rng.choice(unread), stored) if unread else None

    def _part(self, shard: int, source: Source, stored: Mapping[Source, int]) -> Part:
        end = min(stored[source] + self._rng.randint(1, 6), len(self._packer.log[source]))
        return self._packer.part(shard, source, expected=stored[source], next_offset=end)

    async def commit(self, shard: int, part: Part) -> CommitReply:
        """Commit with everything that the rows refer to."""
        reply = await self.ledger.commit(shard, [part], self._definitions, forget_limit=self._rng.randrange(20))
        assert reply.parts[0].outcome is not Outcome.HELD_BACK, reply
        return reply

    async def close(self) -> None:
        """Raise every partition far past every horizon and forget everything."""
        for shard in range(self.ledger.shards):
            for source, records in self._packer.log.items():
                end = len(records)
                await self.commit(shard, Part(source=source, expected=end, next=end, raise_to_ms=FAR_FUTURE_MS))
            while await self.ledger.forget(shard, limit=100):
                pass

    async def read_some(self) -> bool:
        """One commit in one shard that has something left to read; False if none has."""
        for shard in self._rng.sample(range(self.ledger.shards), self.ledger.shards):
            if part := await self.next_part(shard):
                await self.commit(shard, part)
                return True
        return False

    async def read_all(self) -> None:
        """Commit until every shard has read every log."""
        while await self.read_some():
            pass
