"""What is kept in Redis of the explanations that reports on attribution are made from.

    {<prefix>:attributions:<model version>}:<start>   string       a cell: revision in 8 bytes, then packed
    {<prefix>:attributions:<model version>}:cells     sorted set   starts of the cells of windows that are not final, by
                                                                   their revision
    {<prefix>}:attributions:versions                  hash         model and version as JSON, by hash
    {<prefix>}:attributions:newest                    sorted set   hash, by event time of the newest that was explained
    {<prefix>}:attributions:heard                     sorted set   hash, by wall time of the last explanation read
    {<prefix>}:attributions:finished                  sorted set   hash, by the event time up to which windows are final
    {<prefix>}:attributions:offsets                   hash         offset wanted next, by partition of explanations

Times are in milliseconds. A cell that nobody finishes leaves by itself. Explanations are told apart by their request,
so an offset that is behind the cells only costs reading them again.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Collection, Mapping

from agents.redis_connection import RedisClient, execute, redis_failures
from agents.redis_script import RedisScript
from agents.redis_store import RedisStore
from streams.explanation.attribution_sample import Cell

__all__ = ["RedisAttributions", "StoredCell"]

StoredCell = tuple[int, Cell]
"""Its revision, 0 if nothing is stored, and what is in it."""

_HEAD = struct.Struct(">Q")


class RedisAttributions(RedisStore):
    """Every method may raise `TemporaryFailure`, and may be repeated then."""

    def __init__(self, client: RedisClient, *, address: str, prefix: str) -> None:
        super().__init__(client, address=address, prefix=prefix)
        self._common = f"{{{prefix}}}:attributions"
        self._save = RedisScript("state_save")

    async def versions(self) -> Mapping[bytes, tuple[str, str]]:
        """Model and version of everything that explanations were read of, by hash."""
        async with redis_failures(self._address):
            lines = await self._client.hgetall(f"{self._common}:versions")
        return {version: tuple(json.loads(line)) for version, line in lines.items()}

    async def hear(self, version: bytes, named: tuple[str, str], *, newest_ms: int, now_ms: int) -> None:
        """Note a model version, and how far it has come."""
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hset(f"{self._common}:versions", version, json.dumps(named, ensure_ascii=False))
            pipeline.zadd(f"{self._common}:newest", {version: newest_ms}, gt=True)
            pipeline.zadd(f"{self._common}:heard", {version: now_ms}, gt=True)
            await execute(pipeline)

    async def progress(self, versions: Collection[bytes]) -> Mapping[bytes, tuple[int, int]]:
        """By hash the newest event time, and when an explanation was last read; those nobody heard of are left out."""
        if not versions:
            return {}
        async with redis_failures(self._address):
            newest = await self._client.zmscore(f"{self._common}:newest", versions)
            heard = await self._client.zmscore(f"{self._common}:heard", versions)
        return {
            version: (int(newest_ms), int(heard_ms))
            for version, newest_ms, heard_ms in zip(versions, newest, heard, strict=True)
            if newest_ms is not None and heard_ms is not None
        }

    async def finished_ms(self, version: bytes) -> int:
        """The event time before which nothing is taken in any more."""
        async with redis_failures(self._address):
            return int(await self._client.zscore(f"{self._common}:finished", version) or 0)

    async def load(self, version: bytes, starts_ms: Collection[int]) -> list[StoredCell]:
        """Cells of a model version, in the order asked for."""
        if not starts_ms:
            return []
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for start_ms in starts_ms:
                pipeline.get(self._key(version, start_ms))
            stored = await execute(pipeline)
        # Of a large window these are megabytes, for which counting must not wait.
        return await asyncio.to_thread(lambda: [_unpacked(each) for each in stored])

    async def save(self, version: bytes, start_ms: int, cell: Cell, *, revision: int, keep_ms: int) -> bool:
        """Keep a cell over the one of this revision. False if another worker was faster: then load it anew."""
        content = _HEAD.pack(revision + 1) + cell.packed()
        async with redis_failures(self._address):
            # First, and again when it was kept already: a cell that is not listed would never be reported.
            await self._client.zadd(self._key(version, "cells"), {str(start_ms): revision + 1}, gt=True)
            return bool(await self._save.run(self._client, [self._key(version, start_ms)], revision, keep_ms, content))

    async def cells(self, versions: Collection[bytes]) -> Mapping[bytes, Mapping[int, int]]:
        """By hash the starts of the cells that may have to be reported, with the revision of each."""
        if not versions:
            return {}
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for version in versions:
                pipeline.zrange(self._key(version, "cells"), 0, -1, withscores=True)
            replies = await execute(pipeline)
        return {
            version: {int(start): int(revision) for start, revision in reply}
            for version, reply in zip(versions, replies, strict=True)
        }

    async def finish(self, version: bytes, starts_ms: Collection[int], *, until_ms: int) -> None:
        """Forget cells whose windows are all final, and take in nothing more before `until_ms`."""
        async with redis_failures(self._address):
            await self._client.zadd(f"{self._common}:finished", {version: until_ms}, gt=True)
            pipeline = self._client.pipeline(transaction=False)
            pipeline.zrem(self._key(version, "cells"), *map(str, starts_ms))
            for start_ms in starts_ms:
                pipeline.unlink(self._key(version, start_ms))
            await execute(pipeline)

    async def drop_version(self, version: bytes) -> None:
        """Forget a model version that has no cells."""
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hdel(f"{self._common}:versions", version)
            for name in ("newest", "heard", "finished"):
                pipeline.zrem(f"{self._common}:{name}", version)
            await execute(pipeline)

    async def offsets(self) -> Mapping[int, int]:
        """The offset wanted next of each partition of which anything was read."""
        async with redis_failures(self._address):
            stored = await self._client.hgetall(f"{self._common}:offsets")
        return {int(partition): int(offset) for partition, offset in stored.items()}

    async def save_offsets(self, offsets: Mapping[int, int]) -> None:
        """Note how far the cells have come."""
        if offsets:
            async with redis_failures(self._address):
                await self._client.hset(
                    f"{self._common}:offsets", mapping={str(at): offset for at, offset in offsets.items()}
                )

    def _key(self, version: bytes, part: str | int) -> str:
        return f"{{{self._prefix}:attributions:{version.hex()}}}:{part}"


def _unpacked(stored: bytes | None) -> StoredCell:
    if stored is None:
        return 0, Cell()
    return _HEAD.unpack_from(stored)[0], Cell.unpacked(memoryview(stored)[_HEAD.size :])
