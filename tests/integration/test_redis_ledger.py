"""The Redis ledger agrees with the in-memory reference on any history, step by step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
from redis.asyncio import Redis

from agents import latency_log as latency_log_module
from agents import redis_counts as redis_counts_module
from agents.redis_ledger import RedisLedger
from deploy.servers import RedisServer
from streams.identity import signal_hash
from streams.ledger.join import MAX_LABELS
from streams.ledger.reference import ReferenceLedger
from streams.monitored_model import MonitoredModel
from streams.stability.latency_words import NOTHING
from tests.support.histories import (
    LABEL_HOLD_MS,
    UNIT_MS,
    Packer,
    draw_history,
    draw_list_models,
    draw_models,
    kept_labels,
)
from tests.support.ledger_writer import Writer
from tests.support.redis_shards import RestorableRedis
from tests.support.world import EVERY_TROUBLE, FOREVER_MS, Restorable, RestorableReference, World

SHARDS = 2
ANY_LATENCY = bytes.fromhex("000000bbaee0")


@pytest.fixture
async def client(fresh_redis: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(fresh_redis.unix_url) as client:
        yield client


def redis_ledger(client: Redis, *, prefix: str, max_labels: int) -> RedisLedger:
    return RedisLedger(
        client,
        address="the test's Redis",
        prefix=prefix,
        shards=SHARDS,
        label_hold_ms=LABEL_HOLD_MS,
        keep_windows_ms=FOREVER_MS,
        max_labels=max_labels,
    )


@pytest.mark.no_cover
@pytest.mark.parametrize("log_bytes", [redis_counts_module.LOG_BYTES, 100, 0])
@pytest.mark.parametrize("faults", [frozenset(), EVERY_TROUBLE], ids=["undisturbed", "every-trouble"])
@pytest.mark.parametrize("disorder_units", [4, 25, 60])
@pytest.mark.parametrize("draw", [draw_models, draw_list_models])
async def test_redis_and_reference_agree_on_every_step_of_any_history(
    client: Redis,
    draw: Callable[[random.Random], Mapping[str, MonitoredModel]],
    disorder_units: int,
    faults: frozenset[str],
    log_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether logged pairs, latencies and signals are put into the sums never, at times or whenever they are read."""
    for seed in range(4):
        monkeypatch.setattr(redis_counts_module, "LOG_BYTES", log_bytes)
        monkeypatch.setattr(latency_log_module, "LONG_BYTES", log_bytes)
        rng, prefix = random.Random(seed), f"history-{seed}"
        models = draw(rng)
        kept = kept_labels(models)
        log = draw_history(rng, models, ids=3, disorder_ms=disorder_units * UNIT_MS)
        reference = ReferenceLedger(
            shards=SHARDS, label_hold_ms=LABEL_HOLD_MS, keep_windows_ms=FOREVER_MS, max_labels=kept
        )
        ledger = redis_ledger(client, prefix=prefix, max_labels=kept)
        both: list[Restorable] = [RestorableReference(reference), RestorableRedis(client, ledger, prefix=prefix)]
        await World(both, Packer(models, log, SHARDS), rng, faults=faults, class_limit=rng.choice([2, 200])).run(40)
        left = {key async for key in client.scan_iter(match=b"{history-%d:*" % seed)}
        assert not [key for key in left if key.endswith(b":entries") or b":overdue" in key]
        monkeypatch.setattr(redis_counts_module, "LOG_BYTES", 0)
        monkeypatch.setattr(latency_log_module, "LONG_BYTES", 0)
        for shard in range(SHARDS):
            windows = await reference.windows(shard)
            # Several readers at once may put the same pairs into the sums.
            read = await asyncio.gather(*(ledger.cells(shard, windows) for _ in range(4)))
            read.append(await ledger.cells(shard, windows))
            assert [await reference.cells(shard, windows)] * 5 == read
        everything = await reference.windows(0)
        groups = [everything[:1], everything[1:3], everything[3:], []]
        assert await reference.sums(groups) == await ledger.sums(groups)


async def test_signals_need_no_command_beyond_those_of_latencies(client: Redis) -> None:
    calls = []
    for prefix, signals in (("without", None), ("with", {"margin": 0.5, "norm": -3.0})):
        ledger = redis_ledger(client, prefix=prefix, max_labels=MAX_LABELS)
        writer = Writer(ledger)
        await writer.start()
        await writer.predict("first", "a", latency=NOTHING)
        await client.config_resetstat()
        for number in range(5):
            await writer.predict(f"r{number}", "a", latency=ANY_LATENCY, signals=signals)
            await writer.label(f"r{number}", "b")
        stats = await client.info("commandstats")
        calls.append({name: each["calls"] for name, each in stats.items()})
        told = await writer.signals()
        assert {signal_hash(name): 5 for name in signals or {}} == {name: each.n for name, each in told.items()}
    assert calls[0] == calls[1]
