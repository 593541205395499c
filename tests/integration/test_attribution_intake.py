"""Explanations in memory and on a real Redis, and read by workers from a real Kafka: each counted once, by whomever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

from agents.attribution_intake import AttributionIntake
from agents.redis_attributions import RedisAttributions
from agents.redis_reports import RedisReports
from deploy.servers import RedisServer
from schemas.explain_request import WhyAsked
from schemas.explanation import Explanation
from streams.errors import TemporaryFailure
from streams.explanation.attribution_sample import MOST_ROWS, ExplanationFate
from streams.identity import model_version_hash
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS
from streams.ports import Shape, WindowQuery
from tests.support.attributions import AttributionWorld, MemoryCells
from tests.support.explanations import NOON_MS, explanation, explanations
from tests.support.publishing import FakeReports
from tests.support.redis_ledgers import connected
from tests.support.services import unique_name

FIVE = b'["attribution","fraud","3",{},300,"2026-11-23T12:00:00Z"]'
HOUR = b'["attribution","fraud","3",{},3600,"2026-11-23T12:00:00Z"]'
VERSION = model_version_hash("fraud", "3")
USUAL = {"amount": 0.4, "country": 0.2, "age": -0.1}


@pytest.fixture(params=["memory", "redis"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[AttributionWorld]:
    if request.param == "memory":
        yield AttributionWorld(MemoryCells(), FakeReports())
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    async with connected(server.url) as client:
        place = {"address": "redis", "prefix": unique_name("attributions")}
        yield AttributionWorld(RedisAttributions(client, **place), RedisReports(client, **place))  # type: ignore[arg-type]


def sampled(count: int = 40, *, seed: int = 1, at_ms: int = NOON_MS) -> list[Explanation]:
    """So many of wrong predictions, and so many for comparison."""
    errors = USUAL | {"amount": -0.3}
    wrong = explanations(
        count, means=errors, seed=seed, prefix=f"w{seed}-", at_ms=at_ms, rate=0.5, reason=WhyAsked.WRONG
    )
    return wrong + explanations(count, means=USUAL, seed=seed + 100, prefix=f"b{seed}-", at_ms=at_ms, rate=0.1)


def counted(*intakes: AttributionIntake) -> dict[ExplanationFate, int]:
    return {fate: count for fate in ExplanationFate if (count := sum(each.fates[fate] for each in intakes))}


async def test_explanations_are_reported_kept_and_found_by_window(world: AttributionWorld) -> None:
    intake = await world.intake()
    acknowledged = await world.read(intake, sampled())
    assert [] == acknowledged
    await intake.flush()
    assert [0] == acknowledged
    reports = world.newest()
    assert {FIVE, HOUR} == reports.keys()
    report = reports[FIVE]
    assert ("open", 40, 40, 400.0) == (
        report["status"], report["wrong"]["explained"], report["base"]["explained"], report["base"]["stands_for"],
    )  # fmt: skip
    assert report["metrics"]["attribution_error_difference"]["value"] < 0.2
    amount = report["features"][0]
    assert "amount" == amount["feature"]
    assert amount["difference"]["mean"]["high"] < -0.6
    shape = Shape("attribution", 300)
    (found,) = await world.reports.find([WindowQuery(model_version=VERSION, shape=shape, most=9)])
    assert [FIVE] == list(found)
    kept = (await world.reports.last({VERSION: found}))[FIVE]
    assert report == msgspec.json.decode(kept.value)


async def test_what_was_not_kept_is_read_again_and_what_was_is_not_counted_twice(world: AttributionWorld) -> None:
    found = sampled(50)
    first = await world.intake()
    await world.read(first, found[:50])
    await first.flush()
    await world.read(first, found[50:70])  # and then it dies
    second = await world.intake()
    assert {0: 50} == await second.assign(frozenset(range(4)))
    for _ in range(2):
        await world.read(second, found[30:])
        await second.flush()
    assert {ExplanationFate.COUNTED: 50, ExplanationFate.REPEATED: 90} == counted(second)
    assert (50, 50) == tuple(world.newest()[HOUR][sample]["explained"] for sample in ("wrong", "base"))


async def test_workers_that_share_a_model_version_count_all_of_it_and_one_publishes(world: AttributionWorld) -> None:
    found = sampled(60)
    alone = await world.intake()
    await world.read(alone, found)
    await alone.flush()
    expected = world.newest()[HOUR]
    await world.store.finish(VERSION, [NOON_MS], until_ms=0)
    await world.reports.forget(VERSION, [FIVE, HOUR])
    world.publisher.sent.clear()
    workers = [await world.intake(partition) for partition in range(4)]
    for at in range(0, 120, 12):
        for partition, worker in enumerate(workers):
            await world.read(worker, found[at + partition * 3 : at + partition * 3 + 3], partition=partition)
        await asyncio.gather(*(worker.flush() for worker in workers))
    for worker in workers:
        await worker.flush()
    owner = int.from_bytes(VERSION) % 4
    sent = len(world.publisher.sent)
    assert {ExplanationFate.COUNTED: 120} == counted(*workers)
    report = world.newest()[HOUR]
    for name in ("wrong", "base", "features", "metrics"):
        assert expected[name] == report[name]
    world.clock.wall_ms += MINUTE_MS
    await world.read(workers[owner - 1], [explanation("another", USUAL)], partition=(owner - 1) % 4)
    await workers[owner - 1].flush()
    assert sent == len(world.publisher.sent)
    await workers[owner].flush()
    assert sent + 2 == len(world.publisher.sent)


async def test_a_failure_between_publishing_and_keeping_repeats_the_report_with_its_event_id(
    world: AttributionWorld,
) -> None:
    intake = await world.intake()
    await world.read(intake, sampled())
    world.publisher.failure = TemporaryFailure("the broker went away after writing")
    with pytest.raises(TemporaryFailure):
        await intake.flush()
    world.clock.wall_ms += 5000
    await intake.flush()
    ids = [(message.key, msgspec.json.decode(message.value or b"")["event_id"]) for message in world.publisher.sent]
    assert (3, 2) == (len(ids), len(set(ids)))


async def until_final(world: AttributionWorld, intake: AttributionIntake) -> None:
    """Let ten minutes of wall time pass."""
    for _ in range(12):
        world.clock.wall_ms += MINUTE_MS
        await intake.flush()


async def test_window_is_provisional_then_final_and_what_comes_later_is_late(world: AttributionWorld) -> None:
    intake = await world.intake()
    statuses = []
    later = [explanation(f"later{at}", USUAL, at_ms=NOON_MS + at) for at in (15 * MINUTE_MS, DAY_MS + 80 * MINUTE_MS)]
    for found in (sampled(), [later[0]], [later[1]]):
        await world.read(intake, found)
        await intake.flush()
        statuses.append(tuple(world.newest()[key]["status"] for key in (FIVE, HOUR)))
    assert [("open", "open"), ("provisional", "open"), ("provisional", "provisional")] == statuses
    await until_final(world, intake)
    assert ["final", "final"] == [world.newest()[key]["status"] for key in (FIVE, HOUR)]
    sent = len(world.publisher.sent)
    await world.read(intake, sampled(seed=2))
    await until_final(world, intake)
    assert 80 == intake.fates[ExplanationFate.LATE]
    assert sent == len(world.publisher.sent)
    assert {NOON_MS + DAY_MS + 80 * MINUTE_MS} == set((await world.store.cells([VERSION]))[VERSION])


async def test_what_a_dead_worker_left_open_becomes_final_under_the_next_also_in_silence(
    world: AttributionWorld,
) -> None:
    first = await world.intake()
    await world.read(first, sampled())
    await first.flush()
    following = await world.intake()
    world.clock.wall_ms += DAY_MS + 3 * HOUR_MS
    await until_final(world, following)
    assert ["final", "final"] == [world.newest()[key]["status"] for key in (FIVE, HOUR)]
    assert {} == (await world.store.cells([VERSION]))[VERSION]
    world.clock.wall_ms += 3 * DAY_MS
    await following.flush()
    assert {} == await world.store.versions()


async def test_drift_is_told_against_the_window_before(world: AttributionWorld) -> None:
    intake = await world.intake()
    before, now = sampled(), sampled(seed=2, at_ms=NOON_MS + 5 * MINUTE_MS)
    other = [msgspec.structs.replace(each, attributions=tuple(reversed_weights(each))) for each in now]
    await world.read(intake, [*before, explanation("r", USUAL, at_ms=NOON_MS + 15 * MINUTE_MS)])
    await intake.flush()
    await world.read(intake, other)
    await intake.flush()
    report = world.newest()[FIVE.replace(b"12:00", b"12:05")]
    assert "2026-11-23T12:00:00Z" == report["compared_with"]["start"]
    assert report["metrics"]["attribution_drift"]["low"] > 0.1
    assert "no_earlier_window" == world.newest()[FIVE]["undefined"]["attribution_drift"]


def reversed_weights(each: Explanation) -> Sequence[object]:
    assert isinstance(each.attributions, tuple)
    weights = [one.weight for one in each.attributions][::-1]
    return [msgspec.structs.replace(one, weight=weight) for one, weight in zip(each.attributions, weights, strict=True)]


async def test_what_is_no_sample_of_a_table_is_counted_by_its_reason(world: AttributionWorld) -> None:
    intake = await world.intake(most_versions=2)
    odd = [
        b"junk", None, explanation("a", USUAL, reason=WhyAsked.ASKED), explanation("b", USUAL, at_ms=None),
        explanation("c", USUAL, model="nobody"),
    ]  # fmt: skip
    await world.read(intake, odd)
    for version in "3456":
        await world.read(intake, [explanation(f"v{version}", USUAL, model_version=version)])
        await intake.flush()
    fates = {
        ExplanationFate.COUNTED: 2, ExplanationFate.BEYOND_LIMIT: 2, ExplanationFate.UNREADABLE: 2,
        ExplanationFate.NOT_SAMPLED: 1, ExplanationFate.UNDATED: 1, ExplanationFate.NOT_TABULAR: 1,
    }  # fmt: skip
    assert fates == counted(intake)
    assert 2 == len(await world.store.versions())


async def test_a_flood_is_thinned_and_stands_for_all_of_it(world: AttributionWorld) -> None:
    intake = await world.intake()
    for at in range(4):
        await world.read(intake, [explanation(f"r{at}-{n}", USUAL, rate=0.5) for n in range(500)])
        await intake.flush()
    base = world.newest()[FIVE]["base"]
    assert MOST_ROWS == base["explained"]
    assert 3200 < base["stands_for"] < 4800
    assert 2000 == sum(counted(intake).values())


async def test_a_batch_that_was_fetched_before_the_partition_came_back_waits_for_what_it_leaves_out(
    world: AttributionWorld,
) -> None:
    intake = await world.intake()
    intake.expect({0: 0})
    world.offsets[0] = 5
    assert [] == await world.read(intake, [explanation("r", USUAL)])
    await intake.flush()
    assert ({}, {}) == (counted(intake), await world.store.offsets())
    intake.expect({0: 5})
    world.offsets[0] = 5
    await world.read(intake, [explanation("r", USUAL)])
    await intake.flush()
    assert {0: 6} == await world.store.offsets()
    await intake.give_up()
    await intake.flush()
