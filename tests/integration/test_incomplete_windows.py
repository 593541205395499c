"""A loss that the ledger in Redis remembers makes the reports incomplete that were published before it."""

from __future__ import annotations

import redis.asyncio

from agents.redis_ledger import RedisLedger
from agents.redis_reports import RedisReports
from deploy.servers import RedisServer
from streams.ledger.parts import Role
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS
from tests.support.evaluation import FRAUD, NOON_MS, EvaluatedWorld


async def test_final_reports_are_revised_when_redis_remembers_a_gap(fresh_redis: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(fresh_redis.unix_url) as client:
        place = {"address": fresh_redis.address, "prefix": "losses"}
        durations = {"label_hold_ms": HOUR_MS, "keep_windows_ms": 30 * DAY_MS}
        ledger = RedisLedger(client, address=fresh_redis.address, prefix="losses", shards=2, **durations)
        world = await EvaluatedWorld(other=ledger).start()
        for minute in (0, 5):
            await world.label(await world.predict("ok", at_ms=NOON_MS + minute * MINUTE_MS), "ok", at_ms=NOON_MS)
        settled_ms = NOON_MS + 5 * MINUTE_MS + FRAUD.label_horizon_ms
        await world.advance(settled_ms)
        await world.evaluator(store=RedisReports(client, **place)).evaluate()
        before = world.reports()
        assert ["final", "provisional"] == [each.status for each in before if each.window.size_seconds == 300]

        await world.lose(Role.LABELS, lost=3, to_ms=settled_ms + 10 * MINUTE_MS)
        world.clock.wall_ms += 1
        # Another worker: what the first one knew is gone, the reports and the gap are not.
        evaluated = await world.evaluator(store=RedisReports(client, **place)).evaluate()
    after = world.reports()[len(before) :]
    assert len(after) == evaluated.published
    assert [(300, "2026-11-23T12:05:00Z"), (3600, "2026-11-23T12:00:00Z"), (86400, "2026-11-23T00:00:00Z")] == [
        (each.window.size_seconds, each.window.start) for each in after
    ]
    lost = "up to 3 records of labels/0, from 2026-11-23T14:05:00Z to 2026-11-23T14:15:00Z"
    assert {("incomplete", (lost,))} == {(each.status, each.missing) for each in after}
    predictions = {each.event_id: each.predictions for each in before}
    assert set(predictions).isdisjoint(each.event_id for each in after)
    assert sorted(predictions.values())[1:] == sorted(each.predictions for each in after)
