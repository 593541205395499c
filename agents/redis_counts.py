"""What the shards in Redis have counted, read window by window or many windows at once.

Counts are fields of a hash; what pairs, latencies and signals add up to stands in logs (`agents.pair_log`,
`agents.latency_log`), and whoever reads one that has become long puts it into its sums.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import hashlib
import itertools
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

from agents.commit_arguments import Argument
from agents.latency_log import is_long, packed_sums, told_sums
from agents.pair_log import CHUNK_BYTES, chunks, logged_sums
from agents.redis_connection import RedisClient, redis_failures
from agents.redis_script import RedisScript, pairs_of
from streams.identity import HASH_BYTES, SUM
from streams.ports import Cell, WindowCells

__all__ = ["WINDOW", "RedisCounts"]

CELL_BYTES = 3 * HASH_BYTES
"""Of the field of a count; the names of sums are shorter."""
WINDOWS_AT_ONCE = 16
"""Read in one call: a few milliseconds, unless they are very large."""
MOST_WINDOWS_AT_ONCE = 128
SMALL_REPLY = 2000
"""Fields and log entries in the answer to one call, up to which the next one asks for twice as many windows."""
LOG_BYTES = 64 * 1024
"""Of a window's pairs in one shard. Up to here, some 4,000 pairs, the log takes less memory than the sums would."""

WINDOW = struct.Struct(">8sQ")
"""Model version and start of a base window, as keys and arguments name it."""


class RedisCounts:
    """Reads counts; each method may block on the network and raises `TemporaryFailure`.

    Args:
        keys: hash tag of each shard.
    """

    def __init__(self, client: RedisClient, *, address: str, keys: Sequence[str]) -> None:
        self._client = client
        self._address = address
        self._keys = keys
        self._cells = RedisScript("cells")
        self._fold_pairs = RedisScript("fold_pairs")
        self._fold_latencies = RedisScript("fold_latencies")

    async def cells(self, shard: int, windows: Sequence[tuple[bytes, int]]) -> Sequence[WindowCells]:
        """See `streams.ports.Ledger.cells`."""
        found: list[WindowCells] = []
        async for window, fields, pairs, latencies in self._read(shard, windows):
            cells = {_cell(field): int(count) for field, count in fields}
            _add_sums(cells, _by_cell(await self._logged(shard, window, pairs)))
            cells.update(_by_slice(await self._latencies(shard, window, latencies)))
            found.append(cells)
        return found

    async def sums(self, groups: Sequence[Sequence[tuple[bytes, int]]]) -> Sequence[WindowCells]:
        """See `streams.ports.Ledger.sums`."""
        totals = [_Total() for _ in groups]
        await asyncio.gather(*(self._add_up(shard, groups, totals) for shard in range(len(self._keys))))
        return [total.cells() for total in totals]

    async def _add_up(
        self, shard: int, groups: Sequence[Sequence[tuple[bytes, int]]], totals: Sequence[_Total]
    ) -> None:
        """Add to each total what the shard has counted in the windows of its group."""
        of_windows = [total for total, group in zip(totals, groups, strict=True) for _ in group]
        at = 0
        async for window, fields, pairs, latencies in self._read(shard, list(itertools.chain.from_iterable(groups))):
            total = of_windows[at]
            at += 1
            for field, count in fields:
                total.counts[field] = total.counts.get(field, 0) + int(count)
            if _is_long(pairs):
                _add_sums(total.sums, _by_cell(await self._logged(shard, window, pairs)))
            else:
                total.add_pairs(pairs)
            if is_long(latencies):
                _add_sums(total.sums, _by_slice(await self._latencies(shard, window, latencies)))
            else:
                total.add_latencies(latencies)

    async def _read(
        self, shard: int, windows: Sequence[tuple[bytes, int]]
    ) -> AsyncIterator[tuple[bytes, Iterable[tuple[bytes, bytes]], Sequence[bytes], Sequence[bytes]]]:
        """Each window with its counts by field, logged pairs and logged latencies; those of a window are of one
        moment."""
        packed = [WINDOW.pack(*window) for window in windows]
        at, count = 0, WINDOWS_AT_ONCE
        while at < len(packed):
            chunk = packed[at : at + count]
            async with redis_failures(self._address):
                reply = await self._cells.run(self._client, [self._keys[shard]], *chunk)
            at += count
            is_small = sum(map(len, reply)) <= SMALL_REPLY
            count = min(2 * count, MOST_WINDOWS_AT_ONCE) if is_small else WINDOWS_AT_ONCE
            replies = zip(reply[::3], reply[1::3], reply[2::3], strict=True)
            for window, (fields, pairs, latencies) in zip(chunk, replies, strict=True):
                yield window, pairs_of(fields), pairs, latencies

    async def _logged(self, shard: int, window: bytes, log: Sequence[bytes]) -> Mapping[tuple[bytes, str], int]:
        """What the logged pairs of a window add to its sums; a log that has become long is put into them."""
        folds = _is_long(log)
        totals: collections.Counter[tuple[bytes, str]] = collections.Counter()
        for entries in chunks(log):
            content = b"".join(entries)
            sums = logged_sums(content)
            totals.update(sums)
            if folds:
                digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
                arguments: list[Argument] = [window, len(entries), digest]
                for (piece, name), increment in sums.items():
                    arguments += (piece + name.encode(), increment)
                async with redis_failures(self._address):
                    await self._fold_pairs.run(self._client, [self._keys[shard]], *arguments)
        return totals

    async def _latencies(self, shard: int, window: bytes, log: Sequence[bytes]) -> Mapping[bytes, Mapping[str, int]]:
        """What latencies and signals of a window add up to; a log that has become long is put into one entry."""
        content = b"".join(log)
        totals = told_sums(content)
        if is_long(log):
            digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            arguments = (window, len(log), digest, packed_sums(totals))
            async with redis_failures(self._address):
                await self._fold_latencies.run(self._client, [self._keys[shard]], *arguments)
        return totals


@dataclasses.dataclass(slots=True)
class _Total:
    """What a group of windows has come to so far: counts by field as Redis has them, sums, and logs not yet summed."""

    counts: dict[bytes, int] = dataclasses.field(default_factory=dict)
    sums: dict[Cell, int] = dataclasses.field(default_factory=dict)
    pairs: list[bytes] = dataclasses.field(default_factory=list)
    pair_bytes: int = 0
    latencies: list[bytes] = dataclasses.field(default_factory=list)
    latency_bytes: int = 0

    def add_pairs(self, log: Sequence[bytes]) -> None:
        """Keep logged pairs, until there are too many to be kept."""
        self.pairs += log
        self.pair_bytes += sum(map(len, log))
        if self.pair_bytes > CHUNK_BYTES:
            self._sum_pairs()

    def add_latencies(self, log: Sequence[bytes]) -> None:
        """Keep logged latencies and signals, until there are too many to be kept."""
        self.latencies += log
        self.latency_bytes += sum(map(len, log))
        if self.latency_bytes > CHUNK_BYTES:
            self._sum_latencies()

    def cells(self) -> WindowCells:
        """All of it together."""
        self._sum_pairs()
        self._sum_latencies()
        _add_sums(self.sums, ((_cell(field), count) for field, count in self.counts.items()))
        return self.sums

    def _sum_pairs(self) -> None:
        _add_sums(self.sums, _by_cell(logged_sums(b"".join(self.pairs))))
        self.pairs, self.pair_bytes = [], 0

    def _sum_latencies(self) -> None:
        _add_sums(self.sums, _by_slice(told_sums(b"".join(self.latencies))))
        self.latencies, self.latency_bytes = [], 0


def _add_sums(cells: dict[Cell, int], more: Iterable[tuple[Cell, int]]) -> None:
    """Add, in place; what becomes nothing leaves."""
    for cell, increment in more:
        total = cells.get(cell, 0) + increment
        if total:
            cells[cell] = total
        else:
            cells.pop(cell, None)


def _by_cell(sums: Mapping[tuple[bytes, str], int]) -> Iterator[tuple[Cell, int]]:
    return (((piece, SUM, name.encode()), total) for (piece, name), total in sums.items())


def _by_slice(sums: Mapping[bytes, Mapping[str, int]]) -> Iterator[tuple[Cell, int]]:
    return (((piece, SUM, name.encode()), total) for piece, named in sums.items() for name, total in named.items())


def _is_long(log: Sequence[bytes]) -> bool:
    return sum(map(len, log)) > LOG_BYTES


@functools.lru_cache(maxsize=65_536)
def _cell(packed: bytes) -> Cell:
    piece, rest = packed[:HASH_BYTES], packed[HASH_BYTES:]
    if len(packed) != CELL_BYTES:
        return piece, SUM, rest
    return piece, rest[:HASH_BYTES], rest[HASH_BYTES:]
