"""Windows that lost input are `incomplete`, whenever the loss is found and whoever evaluates."""

from __future__ import annotations

import pytest

from streams.errors import TemporaryFailure
from streams.ledger.parts import Role
from streams.monitored_model import HOUR_MS, MINUTE_MS
from tests.support.evaluation import FRAUD, NOON_MS, EvaluatedWorld

FIVE_MINUTES_MS = 5 * MINUTE_MS
SETTLED_MS = NOON_MS + FIVE_MINUTES_MS + FRAUD.label_horizon_ms
LOST_UNTIL = ("up to 3 records of labels/0, from 2026-11-23T14:05:00Z to 2026-11-23T14:10:00Z",)


@pytest.fixture
async def world() -> EvaluatedWorld:
    """One labelled prediction at noon, and the watermark where its five minutes are final."""
    world = await EvaluatedWorld().start()
    request_id = await world.predict("ok", at_ms=NOON_MS, country="DE")
    await world.label(request_id, "ok", at_ms=NOON_MS)
    await world.advance(SETTLED_MS)
    return world


def told(world: EvaluatedWorld) -> dict[tuple[int, str | None], tuple[str, object, int]]:
    """The newest report of each size and country: status, what is missing, predictions."""
    newest = {
        (each.window.size_seconds, each.segment.get("country"), each.window.start): each
        for each in sorted(world.reports(), key=lambda each: each.revision)
    }
    return {
        (size, country): (each.status, each.missing or None, each.predictions)
        for (size, country, _), each in newest.items()
    }


async def test_window_that_was_final_becomes_incomplete_when_a_gap_that_it_may_belong_to_is_found(
    world: EvaluatedWorld,
) -> None:
    evaluator = world.evaluator()
    await evaluator.evaluate()
    assert "final" == world.newest().status
    await world.lose(Role.LABELS, lost=3, to_ms=SETTLED_MS + FIVE_MINUTES_MS)
    world.clock.wall_ms += 1
    # The five minutes had settled before the labels that were lost; the hour and the day had not.
    assert 4 == (await evaluator.evaluate()).published
    assert {
        (300, None): ("final", None, 1),
        (300, "DE"): ("final", None, 1),
        (3600, None): ("incomplete", LOST_UNTIL, 1),
        (3600, "DE"): ("incomplete", LOST_UNTIL, 1),
        (86400, None): ("incomplete", LOST_UNTIL, 1),
        (86400, "DE"): ("incomplete", LOST_UNTIL, 1),
    } == told(world)
    assert 0 == (await evaluator.evaluate(everything=True)).published


async def test_next_evaluator_finds_what_was_lost_while_none_ran(world: EvaluatedWorld) -> None:
    await world.evaluator().evaluate()
    await world.lose(Role.PREDICTIONS, lost=3, to_ms=SETTLED_MS + HOUR_MS, shard=1)
    world.clock.wall_ms += 1
    assert [2 * 2, 0] == [(await world.evaluator().evaluate()).published for _ in range(2)]
    statuses = [world.newest(size_ms=size_ms).status for size_ms in FRAUD.report_windows_ms]
    assert ["final", "provisional", "incomplete"] == statuses


async def test_window_counted_after_the_gap_was_found_is_incomplete_from_its_first_report(
    world: EvaluatedWorld,
) -> None:
    evaluator = world.evaluator()
    await world.lose(Role.PREDICTIONS, lost=1, to_ms=SETTLED_MS + HOUR_MS)
    await evaluator.evaluate()
    world.publisher.sent.clear()
    await world.predict("ok", at_ms=SETTLED_MS)
    await evaluator.evaluate()
    assert ("incomplete", 1) == (world.newest().status, world.newest().predictions)


async def test_incomplete_window_still_says_when_its_labels_are_never_to_come(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    await world.lose(Role.PREDICTIONS, lost=1, to_ms=SETTLED_MS)
    await world.predict("ok", at_ms=SETTLED_MS)
    await evaluator.evaluate()
    seen = []
    for watermark_ms in (SETTLED_MS + FIVE_MINUTES_MS, SETTLED_MS + FIVE_MINUTES_MS + FRAUD.label_horizon_ms):
        await world.advance(watermark_ms)
        world.clock.wall_ms += 1
        await evaluator.evaluate()
        newest = max(
            (each for each in world.reports() if each.window.start == "2026-11-23T14:05:00Z"),
            key=lambda each: each.revision,
        )
        seen.append((newest.status, newest.never_labelled))
    assert [("incomplete", 0), ("incomplete", 1)] == seen


async def test_report_whose_counts_are_gone_says_so_instead_of_standing_as_it_was(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    await evaluator.evaluate()
    for shard in world.ledger.parts:
        shard.cells.clear()
        shard.gaps.clear()
    await world.lose(Role.PREDICTIONS, lost=9, to_ms=SETTLED_MS + FIVE_MINUTES_MS)
    for shard in world.ledger.parts:
        # As after counting again from what Kafka still has.
        shard.gaps[-1] = type(shard.gaps[-1])(
            source=shard.gaps[-1].source, lost=9, from_ms=0, to_ms=shard.gaps[-1].to_ms
        )
    world.clock.wall_ms += 1
    assert 2 * 6 == (await world.evaluator().evaluate()).published
    lost = ("up to 9 records of predictions/0, up to 2026-11-23T14:10:00Z",)
    assert {("incomplete", lost, 0)} == set(told(world).values())


async def test_gap_is_told_though_the_round_that_found_it_failed(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    await evaluator.evaluate()
    await world.lose(Role.LABELS, lost=3, to_ms=SETTLED_MS + FIVE_MINUTES_MS)
    world.clock.wall_ms += 1
    world.store.failure = TemporaryFailure("Redis is away")
    assert (await evaluator.evaluate()).pending > 0
    await evaluator.evaluate()
    assert "incomplete" == world.newest(size_ms=HOUR_MS).status
    assert LOST_UNTIL == world.newest(size_ms=HOUR_MS).missing
