"""Power loss: Redis killed and its append-only file cut at any byte, twice in a row.

What kill -9 leaves is complete, because the kernel still writes it; only the cut loses something. Redis 7.0 logs
a script as MULTI ... EXEC:

    ... EXEC | MULTI HSET HINCRBY          first start: the half is skipped, but stays in the file
    ... EXEC | MULTI HSET HINCRBY | MULTI HSET ... EXEC
                                           second start: the half is the beginning of what follows, and counts

`RedisServer` cuts the half off before it starts, as every deployment must.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.clock import SystemClock
from agents.outages import Outages
from deploy.servers import RedisServer
from tests.support.histories import Cells, expected_outcome, order_matters
from tests.support.redis_ledgers import LogReader, connected, draw_packer, redis_ledger
from tests.support.world import readable_cells

SHARDS = 2
LOSSES = 2
COMMITS_BETWEEN = 25
CONTROLS = 4


class UnrepairedServer(RedisServer):
    """A server that is started without looking at what a crash left: the control."""

    def _repair(self) -> None:
        """Leave everything as it is."""


@contextlib.asynccontextmanager
async def reading(server: RedisServer, seed: int) -> AsyncIterator[tuple[LogReader, Cells]]:
    """A reader of a history that no order of reading changes, and the cells that it must end with."""
    packer = draw_packer(seed, shards=SHARDS, ids=40)
    assert not order_matters(packer.log)
    async with connected(server.url) as client:
        reader = LogReader(redis_ledger(client, address=server.address, shards=SHARDS), packer, random.Random(seed))
        await reader.create()
        yield reader, expected_outcome(packer.models, packer.log).all_cells()


async def read_on(reader: LogReader, *, commits: int) -> bool:
    """Some commits, riding out that the connections are gone; False if all is read."""
    outages = Outages(SystemClock())
    for _ in range(commits):
        if not await outages.ride_out(reader.read_some):
            return False
    return True


async def final_cells(reader: LogReader) -> Cells:
    """What is counted when all is read and nothing can change any more."""
    assert not await read_on(reader, commits=10_000)
    await reader.close()
    return await readable_cells(reader.ledger, ["A", "B"])


def newest_log(server: RedisServer) -> Path:
    """The file to which commands are appended."""
    (log,) = server.append_only_folder.glob("*.incr.aof")
    return log


def lose_power(server: RedisServer, rng: random.Random, *, first_byte: int) -> None:
    """Kill the server and cut its file at a random byte from `first_byte` on."""
    server.kill()
    size_bytes = newest_log(server).stat().st_size
    cut_at = rng.randrange(first_byte, size_bytes)
    print(f"{size_bytes - cut_at} of {size_bytes} bytes are lost")
    os.truncate(newest_log(server), cut_at)


@pytest.mark.parametrize("seed", range(6))
async def test_cells_are_right_after_the_file_was_cut_twice(seed: int) -> None:
    rng = random.Random(seed)
    with RedisServer() as server:
        async with reading(server, seed) as (reader, expected):
            created_bytes = newest_log(server).stat().st_size
            for _ in range(LOSSES):
                assert await read_on(reader, commits=COMMITS_BETWEEN)
                lose_power(server, rng, first_byte=created_bytes)
                server.start()
            assert expected == await final_cells(reader)


def cut_inside_a_commit(server: RedisServer) -> None:
    """Kill the server and cut its file in the last commit that counted, inside the command after the count."""
    server.kill()
    content = newest_log(server).read_bytes()
    counted = content.rindex(b":cells:", 0, content.rindex(b"EXEC"))
    os.truncate(newest_log(server), content.index(b"\r\n*", counted) + len(b"\r\n*"))


@pytest.mark.parametrize("server_type", [RedisServer, UnrepairedServer])
async def test_half_a_commit_comes_back_only_if_the_file_is_not_repaired(server_type: type[RedisServer]) -> None:
    """The control: with the repair taken away, the same crash must be seen in the cells."""
    wrong = 0
    for seed in range(CONTROLS):
        with server_type() as server:
            async with reading(server, seed) as (reader, expected):
                await read_on(reader, commits=COMMITS_BETWEEN)
                cut_inside_a_commit(server)
                server.start()
                await read_on(reader, commits=COMMITS_BETWEEN)
                server.kill()
                server.start()
                wrong += expected != await final_cells(reader)
    print(f"    {wrong} of {CONTROLS} runs are wrong")
    assert wrong == 0 if server_type is RedisServer else wrong > 0
