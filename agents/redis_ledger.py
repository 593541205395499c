"""The ledger in Redis: one layout for all shards, one script per commit.

A shard's keys share a hash tag, so they live in one slot and one script changes them together. The scripts
are the twin of `streams.ledger.reference_shard`; `agents/lua/shard.lua` describes the keys.
"""

from __future__ import annotations

import binascii
import functools
import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import Self

from agents.commit_arguments import Argument, definition_arguments, part_arguments
from agents.redis_charter import amending_arguments, founding_arguments, read_charter
from agents.redis_connection import RedisClient, connect, execute, redis_failures
from agents.redis_counts import WINDOW, RedisCounts
from agents.redis_script import RedisScript, pairs_of
from agents.settings import Settings
from streams.errors import PermanentFailure, TemporaryFailure
from streams.identity import ANY_LABEL, OTHER, OTHER_WRONG
from streams.ledger.founding import Charter
from streams.ledger.join import MAX_LABELS
from streams.ledger.parts import (
    CommitReply,
    Definitions,
    Gap,
    NameList,
    Outcome,
    Part,
    PartReply,
    ShardState,
    Source,
    SourceState,
)
from streams.ports import ChangedWindow, WindowCells

__all__ = ["RedisLedger", "shard_tag"]

CLUSTER_SLOTS = 16384
SHARD_KEYS = (
    "sources",
    "entries",
    "overdue",
    "windows",
    "changes",
    "fates",
    "names",
    "terms",
    "lists",
    "gaps",
    "reported",
)
LEDGER_ID = "ledger"
"""Field of the settings hash: which ledger the shard belongs to, and behind a slash the edition of the agreements of
which it takes predictions; none for 0."""
_SHARD_SCRIPTS = ("shard", "counting", "join", "writing")
"""What scripts that join and forget begin with."""
_SOURCE = struct.Struct(">QQQ")


@functools.cache
def shard_tag(prefix: str, shard: int, *, shards: int) -> str:
    """A hash tag whose slot lies in the shard's share of all slots, so that a cluster is loaded evenly."""
    low, high = shard * CLUSTER_SLOTS // shards, (shard + 1) * CLUSTER_SLOTS // shards
    for attempt in itertools.count():
        tag = f"{prefix}:{shard}.{attempt}"
        if low <= binascii.crc_hqx(tag.encode(), 0) % CLUSTER_SLOTS < high:
            return "{" + tag + "}"
    raise AssertionError("unreachable")


class RedisLedger:
    """The ledger port on Redis 7.0 or Valkey, alone or as a cluster."""

    def __init__(
        self,
        client: RedisClient,
        *,
        address: str,
        prefix: str,
        shards: int,
        label_hold_ms: int,
        keep_windows_ms: int,
        max_labels: int = MAX_LABELS,
    ) -> None:
        self._client = client
        self._address = address
        self._root = "{" + prefix + "}"
        self._prefix = prefix
        self._keys = [shard_tag(prefix, shard, shards=shards) for shard in range(shards)]
        self._settings: tuple[Argument, ...] = (label_hold_ms, keep_windows_ms)
        self._max_labels = max_labels
        self._ledger_id: str | None = None
        self._commit = RedisScript(*_SHARD_SCRIPTS, "commit")
        self._forget = RedisScript(*_SHARD_SCRIPTS, "forget")
        self._counts = RedisCounts(client, address=address, keys=self._keys)
        self._found = RedisScript("found")
        self._create = RedisScript("create")
        self._amend = RedisScript("amend_charter")
        self._hold_edition = RedisScript("hold_edition")
        self._admit = RedisScript("admit")
        self._clear_changes = RedisScript("clear_changes")

    @classmethod
    def from_settings(cls, settings: Settings, client: RedisClient | None = None) -> Self:
        """A ledger as configured, by a client of its own if there is none; connects at the first call."""
        return cls(
            connect(settings.redis.url) if client is None else client,
            address=settings.redis.address,
            prefix=settings.redis.prefix,
            shards=settings.redis.shards,
            label_hold_ms=settings.label_hold_ms,
            keep_windows_ms=settings.keep_windows_ms,
            max_labels=settings.max_labels,
        )

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    @property
    def shards(self) -> int:
        return len(self._keys)

    async def charter(self) -> Charter | None:
        async with redis_failures(self._address):
            fields = await self._client.hgetall(f"{self._root}:charter")
        return read_charter(fields) if fields else None

    async def found(self, charter: Charter) -> Charter:
        async with redis_failures(self._address):
            await self._found.run(self._client, [f"{self._root}:charter"], *founding_arguments(charter))
        stored = await self.charter()
        if stored is None:
            raise TemporaryFailure(f"Redis at {self._address} lost the charter while it was written")
        return stored

    async def finish_founding(self) -> None:
        async with redis_failures(self._address):
            await self._client.hdel(f"{self._root}:charter", "creating")

    async def amend_charter(self, before: Charter, after: Charter) -> bool:
        arguments = amending_arguments(before, after)
        async with redis_failures(self._address):
            return bool(await self._amend.run(self._client, [f"{self._root}:charter"], *arguments))

    async def hold_edition(self, shard: int, edition: int) -> int:
        async with redis_failures(self._address):
            held = await self._hold_edition.run(self._client, [self._keys[shard]], self._ledger_id or "", edition)
        if held is None:
            raise self._not_ours(shard)
        return int(held)

    async def state(self, shard: int) -> ShardState | None:
        key = self._keys[shard]
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hget(f"{key}:settings", LEDGER_ID)
            pipeline.hgetall(f"{key}:sources")
            stored_id, packed = await execute(pipeline)
        if stored_id is None:
            return None
        ledger_id, _, edition = stored_id.decode().partition("/")
        self._ledger_id = self._ledger_id or ledger_id
        sources = {Source.parse(name.decode()): SourceState(*_SOURCE.unpack(state)) for name, state in packed.items()}
        return ShardState(ledger_id, sources, int(edition or 0))

    async def create(self, shard: int, *, ledger_id: str, sources: Mapping[Source, int]) -> None:
        key = self._keys[shard]
        arguments: list[Argument] = [ledger_id]
        for source, offset in sources.items():
            arguments += (str(source), _SOURCE.pack(offset, 0, 0))
        async with redis_failures(self._address):
            stored_id = await self._create.run(self._client, [key], *arguments)
        self._ledger_id = self._ledger_id or stored_id.decode().partition("/")[0]

    async def drop(self, shard: int, *, shards: int) -> None:
        """All keys of a shard are found by its indexes, so nothing is scanned."""
        key = shard_tag(self._prefix, shard, shards=shards)
        async with redis_failures(self._address):
            minutes = await self._client.zrange(f"{key}:overdue", 0, -1)
            windows = await self._client.zrange(f"{key}:windows", 0, -1)
            # Not by `unlink`, which a cluster's pipeline does not queue but run.
            pipeline = self._client.pipeline(transaction=False)
            # The settings go first: from then on no commit is accepted.
            pipeline.execute_command("UNLINK", f"{key}:settings")
            for minute in minutes:
                pipeline.execute_command("UNLINK", f"{key}:overdue:".encode() + minute)
            for window in windows:
                pipeline.execute_command("UNLINK", f"{key}:cells:".encode() + window)
                pipeline.execute_command("UNLINK", f"{key}:pairs:".encode() + window)
                pipeline.execute_command("UNLINK", f"{key}:latencies:".encode() + window)
            for name in SHARD_KEYS:
                pipeline.execute_command("UNLINK", f"{key}:{name}")
            await execute(pipeline)

    async def drop_charter(self) -> None:
        async with redis_failures(self._address):
            await self._client.unlink(f"{self._root}:charter", f"{self._root}:registry")

    async def commit(
        self, shard: int, parts: Sequence[Part], definitions: Definitions, *, forget_limit: int
    ) -> CommitReply:
        arguments = [*self._settings, forget_limit, ANY_LABEL, OTHER, OTHER_WRONG, self._ledger_id or ""]
        arguments.append(self._max_labels)
        arguments += definition_arguments(definitions)
        for part in parts:
            arguments += part_arguments(part)
        async with redis_failures(self._address):
            reply = await self._commit.run(self._client, [self._keys[shard]], *arguments)
        if not reply:
            raise self._not_ours(shard)
        watermark_ms, outcomes, undecided, unknown = reply
        return CommitReply(
            tuple(
                PartReply(Outcome(outcome.decode()), None if stored < 0 else stored)
                for outcome, stored in pairs_of(outcomes)
            ),
            watermark_ms,
            tuple(sorted(pairs_of(undecided))),
            tuple(sorted(unknown)),
        )

    def _not_ours(self, shard: int) -> PermanentFailure:
        return PermanentFailure(
            f"shard {shard} in Redis at {self._address} no longer belongs to ledger {self._ledger_id}: it was "
            "emptied or rebuilt. Restart the worker; it says what to do."
        )

    async def forget(self, shard: int, *, limit: int) -> int:
        async with redis_failures(self._address):
            visited: int = await self._forget.run(self._client, [self._keys[shard]], *self._settings, limit)
        return visited

    async def admit(self, group: bytes, names: Sequence[bytes], *, limit: int, known: NameList) -> NameList:
        used, full = b"".join(known.admitted), int(known.full)
        async with redis_failures(self._address):
            packed = await self._admit.run(self._client, [self._root], group, limit, full, used, b"".join(names))
        return NameList.unpack(packed)

    async def registry(self) -> Mapping[bytes, NameList]:
        return await self._lists(f"{self._root}:registry")

    async def name_lists(self, shard: int) -> Mapping[bytes, NameList]:
        return await self._lists(f"{self._keys[shard]}:lists")

    async def _lists(self, key: str) -> Mapping[bytes, NameList]:
        async with redis_failures(self._address):
            packed = await self._client.hgetall(key)
        return {group: NameList.unpack(names) for group, names in packed.items()}

    async def changed_windows(self, shard: int) -> Sequence[ChangedWindow]:
        async with redis_failures(self._address):
            marks = await self._client.zrange(f"{self._keys[shard]}:changes", 0, -1, withscores=True)
        changed = []
        for window, mark in marks:
            model_version, start_ms = WINDOW.unpack(window)
            changed.append(ChangedWindow(model_version, start_ms, int(mark)))
        return sorted(changed, key=lambda window: (window.start_ms, window.model_version))

    async def clear_changed(self, shard: int, windows: Sequence[ChangedWindow]) -> None:
        if not windows:
            return
        arguments: list[Argument] = []
        for window in windows:
            arguments += (WINDOW.pack(window.model_version, window.start_ms), window.mark)
        async with redis_failures(self._address):
            await self._clear_changes.run(self._client, [self._keys[shard]], *arguments)

    async def note_reported(self, shard: int, watermarks: Mapping[bytes, int]) -> None:
        if watermarks:
            async with redis_failures(self._address):
                await self._client.hset(f"{self._keys[shard]}:reported", mapping=dict(watermarks))

    async def cells(self, shard: int, windows: Sequence[tuple[bytes, int]]) -> Sequence[WindowCells]:
        return await self._counts.cells(shard, windows)

    async def sums(self, groups: Sequence[Sequence[tuple[bytes, int]]]) -> Sequence[WindowCells]:
        return await self._counts.sums(groups)

    async def windows(self, shard: int) -> Sequence[tuple[bytes, int]]:
        async with redis_failures(self._address):
            packed = await self._client.zrange(f"{self._keys[shard]}:windows", 0, -1)
        windows: list[tuple[bytes, int]] = [WINDOW.unpack(window) for window in packed]
        return sorted(windows, key=lambda window: (window[1], window[0]))

    async def names(self, shard: int) -> Mapping[bytes, str]:
        async with redis_failures(self._address):
            names = await self._client.hgetall(f"{self._keys[shard]}:names")
        return {name: text.decode() for name, text in names.items()}

    async def gaps(self, shard: int) -> Sequence[Gap]:
        async with redis_failures(self._address):
            packed = await self._client.lrange(f"{self._keys[shard]}:gaps", 0, -1)
        gaps = []
        for gap in packed:
            source, lost, from_ms, to_ms = gap.decode().split()
            gaps.append(Gap(source=Source.parse(source), lost=int(lost), from_ms=int(from_ms), to_ms=int(to_ms)))
        return gaps

    async def fates(self, shard: int) -> Mapping[str, int]:
        async with redis_failures(self._address):
            fates = await self._client.hgetall(f"{self._keys[shard]}:fates")
        return {fate.decode(): int(count) for fate, count in fates.items()}
