"""Reports say what past windows of their model had at this age and at the end."""

from __future__ import annotations

import dataclasses

import pytest

from schemas.window_report import CoverageExpected
from streams.ledger.parts import Role
from streams.monitored_model import HOUR_MS, MINUTE_MS
from tests.support.evaluation import FRAUD, NOON_MS, EvaluatedWorld

LATER_MS = NOON_MS + 3 * HOUR_MS
"""Two hours of horizon after the windows of noon."""


@pytest.fixture
async def world() -> EvaluatedWorld:
    """At noon eight predictions; six got labels, three of them a second later and three a half hour later."""
    world = await EvaluatedWorld().start()
    for number in range(8):
        request_id = await world.predict("ok", at_ms=NOON_MS, country="DE")
        if number < 6:
            await world.label(request_id, "ok", at_ms=NOON_MS + (1000 if number < 3 else HOUR_MS // 2))
    return world


async def expected_of_a_window_at(world: EvaluatedWorld, watermark_ms: int) -> CoverageExpected | None:
    """What is expected of a window of five minutes that starts at `LATER_MS`."""
    await world.predict("ok", at_ms=LATER_MS)
    await world.advance(watermark_ms)
    await world.evaluator().evaluate()
    newest = [
        each
        for each in world.reports()
        if (each.window.start, each.window.size_seconds, each.segment) == ("2026-11-23T15:00:00Z", 300, {})
    ]
    return newest[-1].coverage_expected


async def test_nothing_is_expected_before_a_window_is_final(world: EvaluatedWorld) -> None:
    await world.evaluator().evaluate()
    assert world.newest().coverage_expected is None


@pytest.mark.parametrize(
    ("age_ms", "now"), [(1000, 3 / 8), (20 * MINUTE_MS, 3 / 8), (31 * MINUTE_MS, 6 / 8), (HOUR_MS, 6 / 8)]
)
async def test_window_is_compared_with_the_final_ones_of_its_model(
    world: EvaluatedWorld, age_ms: int, now: float
) -> None:
    found = await expected_of_a_window_at(world, LATER_MS + 5 * MINUTE_MS + age_ms)
    assert CoverageExpected(now, 6 / 8) == found


async def test_records_are_read_further_than_the_watermark_says(world: EvaluatedWorld) -> None:
    watermark_ms = LATER_MS + 5 * MINUTE_MS
    settings = dataclasses.replace(world.settings(), lateness_ms=31 * MINUTE_MS)
    world.settings = lambda: settings  # type: ignore[method-assign]
    assert CoverageExpected(6 / 8, 6 / 8) == await expected_of_a_window_at(world, watermark_ms)


async def test_another_worker_expects_the_same(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    await world.advance(LATER_MS)
    await evaluator.evaluate()
    await world.predict("ok", at_ms=LATER_MS)
    await world.advance(LATER_MS + HOUR_MS)
    await evaluator.evaluate()
    first = len(world.publisher.sent)
    # Whoever repeats what was not marked as published finds nothing new to say.
    await world.evaluator().evaluate()
    assert first == len(world.publisher.sent)


async def test_window_that_may_lack_input_tells_nothing(world: EvaluatedWorld) -> None:
    await world.lose(Role.PREDICTIONS, lost=1, to_ms=NOON_MS + MINUTE_MS)
    assert await expected_of_a_window_at(world, LATER_MS + HOUR_MS) is None


async def test_final_report_expects_what_it_has_itself(world: EvaluatedWorld) -> None:
    await world.advance(NOON_MS + 5 * MINUTE_MS + FRAUD.label_horizon_ms)
    await world.evaluator().evaluate()
    newest = world.newest()
    assert "final" == newest.status
    assert CoverageExpected(6 / 8, 6 / 8) == newest.coverage_expected
