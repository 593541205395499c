"""The Redis ledger agrees with the in-memory reference on any history, step by step."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from agents.redis_ledger import RedisLedger
from deploy.servers import RedisServer
from streams.ledger.reference import ReferenceLedger
from tests.support.histories import LABEL_HOLD_MS, UNIT_MS, Packer, draw_history, draw_models, expected_cells
from tests.support.redis_shards import RestorableRedis
from tests.support.world import (
    EVERY_FAULT,
    Restorable,
    RestorableReference,
    World,
    exempt_because_of_cap,
    readable_cells,
)

SHARDS = 2
KEEP_MS = 10**13


@pytest.fixture
async def client(fresh_redis: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(fresh_redis.unix_url) as client:
        yield client


def redis_ledger(client: Redis, *, prefix: str) -> RedisLedger:
    return RedisLedger(
        client,
        address="the test's Redis",
        prefix=prefix,
        shards=SHARDS,
        label_hold_ms=LABEL_HOLD_MS,
        keep_windows_ms=KEEP_MS,
    )


@pytest.mark.parametrize("faults", [frozenset(), EVERY_FAULT], ids=["undisturbed", "every-fault"])
@pytest.mark.parametrize("disorder_units", [4, 25, 60])
async def test_redis_and_reference_agree_on_every_step_of_any_history(
    client: Redis, disorder_units: int, faults: frozenset[str]
) -> None:
    for seed in range(12):
        rng = random.Random(seed)
        models = draw_models(rng)
        log = draw_history(rng, models, ids=3, disorder_ms=disorder_units * UNIT_MS)
        packer = Packer(models, log, SHARDS)
        reference = ReferenceLedger(shards=SHARDS, label_hold_ms=LABEL_HOLD_MS, keep_windows_ms=KEEP_MS)
        ledger = redis_ledger(client, prefix=f"history-{seed}")
        both: list[Restorable] = [
            RestorableReference(reference),
            RestorableRedis(client, ledger, prefix=f"history-{seed}"),
        ]
        world = World(both, packer, rng, faults=faults)
        await world.start()
        for _ in range(40):
            await world.step()
        await world.drain()
        await world.close()
        if not exempt_because_of_cap(packer):
            assert expected_cells(models, log) == await readable_cells(ledger, list(models)), f"seed {seed}"
        left = {key async for key in client.scan_iter(match=b"{history-%d:*" % seed)}
        assert not [key for key in left if key.endswith(b":entries") or b":overdue" in key]
