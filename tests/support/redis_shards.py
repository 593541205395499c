"""The Redis ledger with shards that can be put back to an earlier moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from agents.redis_ledger import RedisLedger, shard_tag
from streams.ports import Ledger

__all__ = ["RestorableRedis"]


class RestorableRedis:
    """A rollback replaces every key of the shard by its dump, as if the store had lost what came later."""

    def __init__(self, client: Redis, ledger: RedisLedger, *, prefix: str) -> None:
        self.ledger: Ledger = ledger
        self._client = client
        # The last one is the tag of what all shards share; see `tests.support.world.REGISTRY`.
        self._tags = [shard_tag(prefix, shard, shards=ledger.shards) for shard in range(ledger.shards)]
        self._tags.append("{" + prefix + "}")

    async def snapshot(self, shard: int) -> Any:
        keys = await self._keys(shard)
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.dump(key)
        return list(zip(keys, await pipeline.execute(), strict=True))

    async def restore(self, shard: int, snapshot: Any) -> None:
        keys = await self._keys(shard)
        pipeline = self._client.pipeline(transaction=True)
        if keys:
            # Not by `delete`, which a cluster's pipeline does not queue.
            pipeline.execute_command("DEL", *keys)
        for key, dump in snapshot:
            pipeline.restore(key, 0, dump)
        await pipeline.execute()

    async def _keys(self, shard: int) -> Sequence[bytes]:
        tag = self._tags[shard]
        return [key async for key in self._client.scan_iter(match=f"{tag}:*", count=1000)]
