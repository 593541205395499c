"""Reports on slices of a model whose segments change at one o'clock: only windows that had them from start to end."""

from __future__ import annotations

import dataclasses

from streams.ledger.agreements import Agreement
from streams.ledger.eras import Era
from streams.ledger.founding import Charter
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS
from tests.support.evaluation import FRAUD, NOON_MS, EvaluatedWorld

ONE_MS = NOON_MS + HOUR_MS
NOTHING, COUNTRY = Era(), Era(("country",))


async def world_of(*eras: Era) -> EvaluatedWorld:
    """Its model is configured with a country, whatever was agreed."""
    world = await EvaluatedWorld().start()
    agreement = dataclasses.replace(Agreement.of(FRAUD), eras=eras)
    await world.ledger.found(
        Charter(ledger_id="ledger", shards=2, starts={}, agreements={"fraud": agreement}, edition=7)
    )
    return world


def slices_of(world: EvaluatedWorld) -> set[tuple[int, str, int]]:
    """Window size in minutes, start and number of predictions of all reports on a country."""
    return {
        (report.window.size_seconds // 60, report.window.start[11:16], report.predictions)
        for report in world.reports()
        if report.segment
    }


async def test_segment_that_is_added_has_reports_from_the_first_window_that_is_whole() -> None:
    world = await world_of(NOTHING, dataclasses.replace(COUNTRY, from_ms=ONE_MS))
    await world.predict("ok", at_ms=ONE_MS - 1)
    await world.predict("ok", at_ms=ONE_MS, country="DE")
    await world.predict("ok", at_ms=ONE_MS + 6 * MINUTE_MS, country="DE")
    await world.evaluator().evaluate(everything=True)
    assert {(5, "13:00", 1), (5, "13:05", 1), (60, "13:00", 2)} == slices_of(world)
    assert 3 == world.newest(size_ms=DAY_MS).predictions


async def test_segment_that_is_taken_away_has_reports_until_its_last_window_is_final() -> None:
    world = await world_of(COUNTRY, dataclasses.replace(NOTHING, from_ms=ONE_MS))
    await world.predict("ok", at_ms=ONE_MS - 1, country="DE", request_id="early")
    await world.predict("ok", at_ms=ONE_MS)
    evaluator = world.evaluator()
    await evaluator.evaluate(everything=True)
    assert {(5, "12:55", 1), (60, "12:00", 1)} == slices_of(world)
    await world.label("early", "ok", at_ms=ONE_MS + MINUTE_MS)
    await world.advance(NOON_MS + 3 * DAY_MS)
    await evaluator.evaluate(everything=True)
    for size_ms in (5 * MINUTE_MS, HOUR_MS):
        newest = world.newest(size_ms=size_ms, segment={"country": "DE"})
        assert ("final", 1) == (newest.status, newest.labelled)
