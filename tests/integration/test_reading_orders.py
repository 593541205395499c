"""Thirty days of event time with labels up to seven days late, read in the orders that break naive eviction.

Whoever forgets by count, by age in memory or by what was read last loses pairs in one of them. Here all give
the cells of the oracle, because only the slowest partition's watermark decides what is forgotten.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import pytest
from redis.asyncio import Redis

from agents.redis_ledger import RedisLedger
from deploy.servers import RedisServer
from streams.ledger.parts import Role, Source
from streams.ledger.reference import ReferenceLedger
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel
from tests.support.histories import (
    CLASSES,
    LATENESS_MS,
    START_MS,
    Label,
    Log,
    Packer,
    Prediction,
    Record,
    expected_outcome,
)
from tests.support.redis_shards import RestorableRedis
from tests.support.world import FOREVER_MS, Restorable, RestorableReference, SideBySide, readable_cells

SHARDS = 4
PREDICTIONS = 1_500
SPAN_MS, DELAY_MS, SKEW_MS = 30 * DAY_MS, 7 * DAY_MS, 5 * MINUTE_MS
BATCH = 250
MODELS = {
    name: MonitoredModel(
        name=name,
        base_window_ms=6 * HOUR_MS,
        report_windows_ms=(6 * HOUR_MS,),
        label_horizon_ms=DELAY_MS,
        allowed_skew_ms=SKEW_MS,
    )
    for name in "AB"
}


def month() -> Log:
    """Two partitions a topic; a tenth of the labels never comes, a tenth is repeated, some come a little early."""
    rng = random.Random(30)
    delivered: list[tuple[float, Record]] = []

    def deliver(record: Prediction | Label) -> None:
        delivered.append((record.time_ms + rng.uniform(0, LATENESS_MS), record))

    for number in range(PREDICTIONS):
        time_ms = START_MS + rng.randrange(SPAN_MS)
        prediction = Prediction(f"r{number}", rng.choice("AB"), time_ms, rng.choice(CLASSES))
        deliver(prediction)
        for _ in range(rng.choice([0, 1, 1, 1, 1, 1, 1, 1, 1, 2])):
            delay_ms = rng.choice([-SKEW_MS, DELAY_MS, rng.randrange(DELAY_MS), rng.randrange(DELAY_MS)])
            deliver(Label(prediction.request_id, time_ms + delay_ms, rng.choice(CLASSES)))
    delivered.sort(key=lambda item: item[0])
    log: dict[Source, list[Record]] = {Source(role, p): [] for role in Role for p in range(2)}
    for _, record in delivered:
        role = Role.LABELS if isinstance(record, Label) else Role.PREDICTIONS
        log[Source(role, rng.randrange(2))].append(record)
    return log


LOG = month()
ORACLE = expected_outcome(MODELS, LOG).all_cells()
Turns = Iterable[Source]


def to_the_end(sources: Iterable[Source]) -> Turns:
    """One partition after the other."""
    for source in sources:
        yield from [source] * (len(LOG[source]) // BATCH + 1)


def labels_first() -> Turns:
    return to_the_end(sorted(LOG, key=lambda source: source.role == Role.PREDICTIONS))


def predictions_first() -> Turns:
    return to_the_end(sorted(LOG, key=lambda source: source.role == Role.LABELS))


def shuffled() -> Turns:
    turns = list(to_the_end(LOG))
    random.Random(7).shuffle(turns)
    return turns


def one_partition_stalled() -> Turns:
    stalled = Source(Role.PREDICTIONS, 1)
    return [*(source for source in shuffled() if source != stalled), *to_the_end([stalled])]


@pytest.fixture
async def sides(fresh_redis: RedisServer) -> AsyncIterator[SideBySide]:
    settings = {"label_hold_ms": SKEW_MS, "keep_windows_ms": FOREVER_MS}
    async with Redis.from_url(fresh_redis.unix_url) as client:
        ledger = RedisLedger(client, address="the test's Redis", prefix="orders", shards=SHARDS, **settings)
        reference = ReferenceLedger(shards=SHARDS, **settings)
        both: list[Restorable] = [RestorableReference(reference), RestorableRedis(client, ledger, prefix="orders")]
        sides = SideBySide(both, Packer(MODELS, LOG, SHARDS))
        await sides.start()
        yield sides


@pytest.mark.parametrize("order", [labels_first, predictions_first, one_partition_stalled, shuffled])
async def test_every_reading_order_gives_the_cells_of_the_oracle(
    sides: SideBySide, order: Callable[[], Sequence[Source]]
) -> None:
    for source in order():
        for shard in range(SHARDS):
            await sides.read(shard, source, length=BATCH, forget_limit=1_000)
    await sides.close()
    assert len(LOG) == len(sides.at_end())
    for each in sides.ledgers:
        assert await readable_cells(each.ledger, MODELS) == ORACLE
    await sides.check_outcome()


def test_the_month_is_worth_reading() -> None:
    """Most predictions have a label, some only at the very end of their horizon, and none is late."""
    expected = expected_outcome(MODELS, LOG).fates
    assert PREDICTIONS == expected["matched"] + expected["never_labelled"]
    assert PREDICTIONS * 0.8 < expected["matched"] < PREDICTIONS * 0.95
    assert LATENESS_MS < SKEW_MS
