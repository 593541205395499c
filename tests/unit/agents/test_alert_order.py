"""Windows are judged in order, although their reports are revised between the look at the news and the reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from schemas.times import format_time
from streams.monitored_model import MINUTE_MS
from streams.ports import LastReport
from streams.windows import WindowStatus
from tests.support.alerting import ACCURACY_LOW, WINDOW_MS, AlertWorld, statuses, stricter
from tests.support.evaluation import NOON_MS

WHEN_FINAL = stricter(ACCURACY_LOW, status=(WindowStatus.FINAL,))


async def two_bad_windows(*, revised: int, judged_by_a_rule: bool) -> AlertWorld:
    """Over, but not final; the report of one is news again."""
    world = await AlertWorld(*((WHEN_FINAL,) if judged_by_a_rule else ())).start()
    waiting = [await world.window(index, right=2, wrong=17, unlabelled=1) for index in range(2)]
    await world.close(1)
    await world.round()
    await world.world.label(waiting[revised][0], "fraud", at_ms=NOON_MS + revised * WINDOW_MS + 1)
    world.world.clock.wall_ms += MINUTE_MS
    await world.reports.evaluate(everything=True)
    return world


def let_all_be_final_before_the_next_reading(world: AlertWorld) -> None:
    store = world.world.store
    last = store.last

    async def last_when_all_is_final(wanted: Mapping[bytes, Sequence[bytes]]) -> Mapping[bytes, LastReport]:
        store.last = last  # type: ignore[method-assign]
        await world.settle(1)
        await world.reports.evaluate(everything=True)
        return await last(wanted)

    store.last = last_when_all_is_final  # type: ignore[method-assign]


@pytest.mark.parametrize("judged_by_a_rule", [True, False], ids=["rule was there", "rule is new"])
@pytest.mark.parametrize("revised", [0, 1], ids=["older is news", "newer is news"])
async def test_no_window_is_passed_over_that_becomes_final_while_news_are_read(
    revised: int, *, judged_by_a_rule: bool
) -> None:
    world = await two_bad_windows(revised=revised, judged_by_a_rule=judged_by_a_rule)
    world.rules = (WHEN_FINAL,)
    evaluator = world.alerts if judged_by_a_rule else world.evaluator()
    let_all_be_final_before_the_next_reading(world)
    for _ in range(2):
        await evaluator.evaluate()
    (alert,) = world.said()
    assert f"The breach spans {format_time(NOON_MS)} to " in alert.annotations["description"]


async def test_reports_that_change_under_the_readers_hands_wait_for_the_next_round() -> None:
    world = await AlertWorld(ACCURACY_LOW).start()
    waiting = await world.window(0, right=2, wrong=88, unlabelled=10)
    await world.close(0)
    await world.reports.evaluate(everything=True)
    store = world.world.store
    last = store.last

    async def last_after_one_more_label(wanted: Mapping[bytes, Sequence[bytes]]) -> Mapping[bytes, LastReport]:
        store.last = last  # type: ignore[method-assign]
        await world.world.label(waiting.pop(), "fraud", at_ms=NOON_MS + 1)
        world.world.clock.wall_ms += MINUTE_MS
        await world.reports.evaluate(everything=True)
        store.last = last_after_one_more_label  # type: ignore[method-assign]
        return await last(wanted)

    store.last = last_after_one_more_label  # type: ignore[method-assign]
    assert 1 == await world.alerts.evaluate()
    assert [] == world.said()
    assert waiting, "it would try for ever"
    store.last = last  # type: ignore[method-assign]
    assert 0 == await world.alerts.evaluate()
    assert ["firing: breach"] == statuses(world.said())
