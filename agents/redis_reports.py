"""The report store in Redis: what was last published under each key, and when it is due again.

Keys of a model version share a hash tag, `{<prefix>:reports:<hash in hex>}`, followed by

    :last       hash         report key -> revision, published, watermark, contested flag, value
    :due        sorted set   report key by the watermark at which it has to be looked at again
    :evaluator  string       who claimed last
    :watermark  string       the largest watermark a report was made at, milliseconds
    :saves      string       how often evaluators have saved something new
    :news       sorted set   reports that no alert rule has looked at (`agents.redis_alerts`, which has more keys here)
    :references hash         what figures are compared with, by name
    :shapes     set          `<kind>:<window seconds>` of which there ever was a report
    :windows:<kind>:<window seconds>    sorted set   keys of reports about all predictions, by window start
    :slices:<kind>:<window seconds>     sorted set   keys of reports about segments, by window start

`<prefix>:reported` is a hash of the model versions that have any, by hash; `{<prefix>}:reports:changes` is counted up
with every change. Keys are indexed with their report or before it is kept, so a crash between the two leaves a key that
nothing is found under, never a report that is not found.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence

from agents.commit_arguments import Argument
from agents.redis_connection import RedisClient, execute, redis_failures
from agents.redis_script import RedisScript
from agents.redis_store import RedisStore
from schemas.times import parse_time_ms
from streams.ports import NEVER_DUE_MS, Claim, LastReport, Shape, WindowQuery

__all__ = ["RedisReports"]

_HEAD = struct.Struct(">QQQ?")
SAVE_REPORTS = 500
"""Reports in one script call: a few milliseconds during which the node serves nobody else."""


class RedisReports(RedisStore):
    """The report store port on Redis 7.0 or Valkey, alone or as a cluster."""

    def __init__(self, client: RedisClient, *, address: str, prefix: str) -> None:
        super().__init__(client, address=address, prefix=prefix)
        self._reported = f"{prefix}:reported"
        self._changes = f"{{{prefix}}}:reports:changes"
        self._save = RedisScript("reports_save")
        self._keep = RedisScript("reports_keep")

    async def model_versions(self) -> Mapping[bytes, str]:
        async with redis_failures(self._address):
            reported = await self._client.hgetall(self._reported)
        return {model_version: name.decode() for model_version, name in reported.items()}

    async def keys(self, model_version: bytes) -> Sequence[bytes]:
        async with redis_failures(self._address):
            keys: list[bytes] = await self._client.zrange(f"{self._key(model_version)}:due", 0, -1)
        return keys

    async def shapes(self, model_versions: Sequence[bytes]) -> Sequence[Collection[Shape]]:
        if not model_versions:
            return []
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for model_version in model_versions:
                pipeline.smembers(f"{self._key(model_version)}:shapes")
            replies = await execute(pipeline)
        return [frozenset(map(_shape, members)) for members in replies]

    async def find(self, queries: Sequence[WindowQuery]) -> Sequence[Sequence[bytes]]:
        if not queries:
            return []
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for query in queries:
                index = "slices" if query.of_segments else "windows"
                pipeline.zrevrangebyscore(
                    f"{self._key(query.model_version)}:{index}:{query.shape.kind}:{query.shape.size_seconds}",
                    "+inf" if query.until_ms is None else f"({query.until_ms}",
                    "-inf" if query.since_ms is None else query.since_ms,
                    start=0,
                    num=query.most,
                )
            found: list[list[bytes]] = await execute(pipeline)
        return found

    async def changes(self) -> int:
        async with redis_failures(self._address):
            return int(await self._client.get(self._changes) or 0)

    async def claim(self, model_versions: Sequence[bytes], *, evaluator: bytes, watermark_ms: int) -> Sequence[Claim]:
        if not model_versions:
            return []
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for model_version in model_versions:
                key = self._key(model_version)
                pipeline.set(f"{key}:evaluator", evaluator, get=True)
                pipeline.get(f"{key}:watermark")
                pipeline.zrangebyscore(f"{key}:due", "-inf", watermark_ms)
                pipeline.get(f"{key}:saves")
            replies = await execute(pipeline)
        return [
            Claim(
                undisturbed=before == evaluator, watermark_ms=int(reached or 0), due=tuple(due), saves=int(saves or 0)
            )
            for before, reached, due, saves in zip(*(replies[at::4] for at in range(4)), strict=True)
        ]

    async def count_due(self, model_versions: Sequence[bytes], *, watermark_ms: int) -> int:
        if not model_versions:
            return 0
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for model_version in model_versions:
                pipeline.zcount(f"{self._key(model_version)}:due", "-inf", watermark_ms)
            return sum(await execute(pipeline))

    async def last(self, wanted: Mapping[bytes, Sequence[bytes]]) -> Mapping[bytes, LastReport]:
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            asked: list[bytes] = []
            for model_version, keys in wanted.items():
                if keys:
                    pipeline.hmget(f"{self._key(model_version)}:last", keys)
                    asked += keys
                    pipeline.zmscore(f"{self._key(model_version)}:due", keys)
            replies = await execute(pipeline) if asked else []
        packed = itertools.chain.from_iterable(replies[::2])
        due = itertools.chain.from_iterable(replies[1::2])
        return {
            key: _unpack(key, stored, NEVER_DUE_MS if due_ms is None else int(due_ms))
            for key, stored, due_ms in zip(asked, packed, due, strict=True)
            if stored is not None
        }

    async def save(
        self, model_version: bytes, name: str, reports: Sequence[LastReport], *, evaluator: bytes, watermark_ms: int
    ) -> int:
        key = self._key(model_version)
        keys = [f"{key}:{part}" for part in ("last", "due", "evaluator", "watermark", "news", "saves")]
        replies = []
        async with redis_failures(self._address):
            if reports:
                await self._client.hset(self._reported, model_version, name)
            # Also without reports: the answer says whether the claim still stands.
            for at in range(0, max(1, len(reports)), SAVE_REPORTS):
                arguments: list[Argument] = [evaluator, watermark_ms]
                for report in reports[at : at + SAVE_REPORTS]:
                    arguments += (report.key, report.due_ms, _pack(report), *_place(report.key))
                replies.append(int(await self._save.run(self._client, keys, *arguments)))
            if reports:
                await self._client.incr(self._changes)
        return replies[-1] if all(replies) else 0

    async def keep(self, model_version: bytes, name: str | None, reports: Sequence[LastReport]) -> None:
        key = self._key(model_version)
        arguments: list[bytes | int] = []
        for report in reports:
            arguments += (report.key, report.revision, _pack(report))
        async with redis_failures(self._address):
            if name is not None:
                await self._client.hset(self._reported, model_version, name)
            await self._index(key, [report.key for report in reports])
            await self._keep.run(self._client, [f"{key}:last", f"{key}:news"], *arguments)
            if name is not None:
                await self._client.incr(self._changes)

    async def forget(self, model_version: bytes, keys: Sequence[bytes]) -> None:
        if not keys:
            return
        key = self._key(model_version)
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hdel(f"{key}:last", *keys)
            pipeline.zrem(f"{key}:due", *keys)
            pipeline.zrem(f"{key}:news", *keys)
            for index, members in _indexed(keys).items():
                pipeline.zrem(f"{key}:{index}", *members)
            pipeline.incr(self._changes)
            await execute(pipeline)

    async def reference(self, model_version: bytes, name: str) -> bytes | None:
        async with redis_failures(self._address):
            content: bytes | None = await self._client.hget(f"{self._key(model_version)}:references", name)
        return content

    async def keep_reference(self, model_version: bytes, name: str, content: bytes) -> bytes:
        async with redis_failures(self._address):
            await self._client.hsetnx(f"{self._key(model_version)}:references", name, content)
        return await self.reference(model_version, name) or content

    async def _index(self, key: str, report_keys: Sequence[bytes]) -> None:
        indexes = _indexed(report_keys)
        pipeline = self._client.pipeline(transaction=False)
        for index, members in indexes.items():
            pipeline.zadd(f"{key}:{index}", members)
        if indexes:
            pipeline.sadd(f"{key}:shapes", *{index.partition(":")[2] for index in indexes})
        await execute(pipeline)

    def _key(self, model_version: bytes) -> str:
        return f"{{{self._prefix}:reports:{model_version.hex()}}}"


def _indexed(report_keys: Iterable[bytes]) -> Mapping[str, dict[bytes, int]]:
    """By index, the keys that stand in it with the start of their windows, milliseconds."""
    indexes: dict[str, dict[bytes, int]] = collections.defaultdict(dict)
    for key in report_keys:
        index, start_ms = _place(key)
        indexes[index][key] = start_ms
    return indexes


@functools.lru_cache(maxsize=65_536)
def _place(key: bytes) -> tuple[str, int]:
    """The index that a report stands in and the start of its window. Remembered, because reports are revised."""
    kind, _, _, segment, size_seconds, start = json.loads(key)
    index = "slices" if segment else "windows"
    return f"{index}:{kind}:{size_seconds}", parse_time_ms(start)


def _shape(member: bytes) -> Shape:
    kind, _, size_seconds = member.decode().partition(":")
    return Shape(kind, int(size_seconds))


def _pack(report: LastReport) -> bytes:
    head = _HEAD.pack(report.revision, report.published_ms, report.watermark_ms, report.contested)
    return head + report.value


def _unpack(key: bytes, packed: bytes, due_ms: int) -> LastReport:
    revision, published_ms, watermark_ms, contested = _HEAD.unpack_from(packed)
    return LastReport(
        key=key,
        value=packed[_HEAD.size :],
        revision=revision,
        published_ms=published_ms,
        watermark_ms=watermark_ms,
        due_ms=due_ms,
        contested=contested,
    )
