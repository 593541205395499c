"""Stopped partitions in Redis, two hashes by source, such as `predictions/0`.

<prefix>:stopped    JSON: offset, in_a_row, recent, since_ms, tried_ms, marks, earlier_in_a_row
<prefix>:accepted   the offset before which an operator lets everything through
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agents.redis_connection import RedisClient, execute, redis_failures
from agents.redis_store import RedisStore
from streams.dead_letter_limits import Excess, Stop
from streams.ledger.parts import Source

__all__ = ["RedisStops"]


class _Stored(msgspec.Struct):
    offset: int
    in_a_row: int
    recent: int
    since_ms: int
    tried_ms: int
    marks: str
    earlier_in_a_row: int


class RedisStops(RedisStore):
    """The port `StopStore` on Redis 7.0 or Valkey, alone or as a cluster."""

    def __init__(self, client: RedisClient, *, address: str, prefix: str) -> None:
        super().__init__(client, address=address, prefix=prefix)
        self._stopped = f"{{{prefix}}}:stopped"
        self._accepted = f"{{{prefix}}}:accepted"

    async def stops(self) -> Mapping[Source, Stop]:
        async with redis_failures(self._address):
            stored = await self._client.hgetall(self._stopped)
        return {Source.parse(source.decode()): _unpack(packed) for source, packed in stored.items()}

    async def stop(self, source: Source, stop: Stop) -> None:
        async with redis_failures(self._address):
            await self._client.hset(self._stopped, str(source), _pack(stop))

    async def release(self, source: Source) -> None:
        async with redis_failures(self._address):
            await self._client.hdel(self._stopped, str(source))

    async def forget(self, source: Source) -> None:
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hdel(self._stopped, str(source))
            pipeline.hdel(self._accepted, str(source))
            await execute(pipeline)

    async def accept(self, source: Source, *, until: int) -> None:
        async with redis_failures(self._address):
            await self._client.hset(self._accepted, str(source), until)

    async def accepted_until(self, source: Source) -> int:
        async with redis_failures(self._address):
            until = await self._client.hget(self._accepted, str(source))
        return int(until or 0)


def _pack(stop: Stop) -> bytes:
    stored = _Stored(
        offset=stop.excess.offset,
        in_a_row=stop.excess.in_a_row,
        recent=stop.excess.recent,
        since_ms=stop.since_ms,
        tried_ms=stop.tried_ms,
        marks=stop.marks,
        earlier_in_a_row=stop.earlier_in_a_row,
    )
    return msgspec.json.encode(stored)


def _unpack(packed: bytes) -> Stop:
    stored = msgspec.json.decode(packed, type=_Stored)
    return Stop(
        excess=Excess(offset=stored.offset, in_a_row=stored.in_a_row, recent=stored.recent),
        since_ms=stored.since_ms,
        tried_ms=stored.tried_ms,
        marks=stored.marks,
        earlier_in_a_row=stored.earlier_in_a_row,
    )
