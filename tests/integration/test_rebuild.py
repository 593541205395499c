"""A ledger that is founded anew in a real Redis."""

from __future__ import annotations

import random

import pytest

from agents.ledger_start import found_ledger, rebuild_ledger
from agents.partition_intake import LogBounds
from agents.redis_ledger import shard_tag
from deploy.servers import RedisServer
from tests.support.group_logs import StillLog
from tests.support.redis_ledgers import PREFIX, LogReader, connected, draw_packer, redis_ledger

BEFORE = 4


@pytest.mark.parametrize("shards", [2, 4, 6])
async def test_nothing_is_left_of_a_ledger_that_is_rebuilt_in_any_number_of_shards(
    fresh_redis: RedisServer, shards: int
) -> None:
    packer = draw_packer(1, shards=BEFORE, ids=20)
    bounds = {source: LogBounds(0, len(records)) for source, records in packer.log.items()}
    log = StillLog(bounds, is_committed=False)
    async with connected(fresh_redis.unix_url) as client:
        ledger = redis_ledger(client, address="the test's Redis", shards=BEFORE)
        await found_ledger(ledger, log, starts=dict.fromkeys(packer.log, 0))
        reader = LogReader(ledger, packer, random.Random(1))
        while await reader.read_some():
            pass
        counted = {key async for key in client.scan_iter(match=b"{%s:*" % PREFIX.encode())}
        assert any(key.endswith(b":entries") for key in counted)

        await rebuild_ledger(redis_ledger(client, address="the test's Redis", shards=shards), log)
        left = {key async for key in client.scan_iter(match=b"{%s:*" % PREFIX.encode())}
    ours = [shard_tag(PREFIX, shard, shards=shards) for shard in range(shards)]
    assert {f"{key}:{name}".encode() for key in ours for name in ("settings", "sources")} == left
