"""What is kept in Redis of the targets that probes watch.

    {<prefix>:resources:<hash in hex>}   string   one target and model version: revision in 8 bytes, then msgpack
    {<prefix>}:resources:targets         hash     partition, model, version, target as JSON, by that hash
    {<prefix>}:resources:offsets         hash     offset wanted next, by partition of the samples

A target that nothing is heard of for days leaves by itself; its line in the list is dropped when it is next looked for.
Samples are told apart by their time, so an offset that is behind the states only costs reading them again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Mapping

import msgspec

from agents.redis_connection import RedisClient, execute, redis_failures
from agents.redis_script import RedisScript
from agents.redis_store import RedisStore
from streams.monitored_model import DAY_MS
from streams.stability.resource_series import ResourceSeries

__all__ = ["KEEP_MS", "RedisResources", "TargetLine", "series_key"]

KEEP_MS = 2 * DAY_MS
"""Of targets without samples, and of reports on resources."""

_HEAD = struct.Struct(">Q")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ResourceSeries).decode


def series_key(model: str, model_version: str, target: str) -> bytes:
    """Names a target and model version."""
    text = json.dumps([model, model_version, target], ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"resources").digest()


@dataclasses.dataclass(frozen=True, slots=True)
class TargetLine:
    """Which target a key is about, and in which partition its samples stand."""

    partition: int
    model: str
    model_version: str
    target: str


class RedisResources(RedisStore):
    """Every method may raise `TemporaryFailure`, and may be repeated then."""

    def __init__(self, client: RedisClient, *, address: str, prefix: str) -> None:
        super().__init__(client, address=address, prefix=prefix)
        self._targets = f"{{{prefix}}}:resources:targets"
        self._offsets = f"{{{prefix}}}:resources:offsets"
        self._save = RedisScript("state_save")

    async def targets(self) -> Mapping[bytes, TargetLine]:
        """All targets that may have a state, by key."""
        async with redis_failures(self._address):
            lines = await self._client.hgetall(self._targets)
        return {key: TargetLine(*json.loads(line)) for key, line in lines.items()}

    async def load(self, key: bytes) -> ResourceSeries | None:
        """The state of a target; None if there is none."""
        async with redis_failures(self._address):
            stored = await self._client.get(self._key(key))
        return None if stored is None else _decode(memoryview(stored)[_HEAD.size :])

    async def save(self, key: bytes, series: ResourceSeries) -> bool:
        """Keep a state whose revision is the stored one, and count its revision up.

        False if another worker was faster; the series is of no use then.
        """
        expected, series.revision = series.revision, series.revision + 1
        line = json.dumps([series.partition, series.model, series.model_version, series.target], ensure_ascii=False)
        arguments: list[bytes | int] = [expected, KEEP_MS, _HEAD.pack(series.revision) + _encode(series)]
        async with redis_failures(self._address):
            # The line first: one without a state is dropped, a state without a line would never be looked at again.
            await self._client.hset(self._targets, key, line)
            return bool(await self._save.run(self._client, [self._key(key)], *arguments))

    async def drop_lines(self, keys: list[bytes]) -> None:
        """Take targets whose state has left off the list."""
        if keys:
            async with redis_failures(self._address):
                await self._client.hdel(self._targets, *keys)

    async def offsets(self) -> Mapping[int, int]:
        """The offset wanted next of each partition of which anything was read."""
        async with redis_failures(self._address):
            stored = await self._client.hgetall(self._offsets)
        return {int(partition): int(offset) for partition, offset in stored.items()}

    async def save_offsets(self, offsets: Mapping[int, int]) -> None:
        """Note how far the states have come."""
        if offsets:
            async with redis_failures(self._address):
                pipeline = self._client.pipeline(transaction=False)
                pipeline.hset(self._offsets, mapping={str(at): offset for at, offset in offsets.items()})
                await execute(pipeline)

    def _key(self, key: bytes) -> str:
        return f"{{{self._prefix}:resources:{key.hex()}}}"
