"""Reports of a model whose label horizon changes at one o'clock: each window waits as long as its own horizon says."""

from __future__ import annotations

import dataclasses

import pytest

from schemas.times import parse_time_ms
from schemas.window_report import WindowReport
from streams.identity import model_version_hash
from streams.ledger.agreements import Agreement
from streams.ledger.eras import Era
from streams.ledger.founding import Charter
from streams.ledger.parts import Role
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS
from tests.support.evaluation import FRAUD, NOON_MS, EvaluatedWorld

ONE_MS = NOON_MS + HOUR_MS
MIDNIGHT_MS = NOON_MS + DAY_MS // 2
BEFORE_MS = FRAUD.label_horizon_ms
SHORTER_MS, LONGER_MS = 30 * MINUTE_MS, 5 * HOUR_MS
BOTH_WAYS = pytest.mark.parametrize("after_ms", [SHORTER_MS, LONGER_MS])
VERSION = model_version_hash("fraud", "3")


async def world_of(after_ms: int, *, keep_windows_ms: int = 30 * DAY_MS) -> EvaluatedWorld:
    """Its model is configured with the horizon of before, as in a file that nobody has changed yet."""
    after = dataclasses.replace(FRAUD, label_horizon_ms=after_ms)
    world = await EvaluatedWorld(models=(after, FRAUD), keep_windows_ms=keep_windows_ms).start()
    eras = (Era.of(FRAUD), dataclasses.replace(Era.of(after), from_ms=ONE_MS))
    agreement = dataclasses.replace(Agreement.of(FRAUD), eras=eras)
    await world.ledger.found(
        Charter(ledger_id="ledger", shards=2, starts={}, agreements={"fraud": agreement}, edition=7)
    )
    for at_ms, model in ((ONE_MS - 1, FRAUD), (ONE_MS, after)):
        await world.predict("ok", at_ms=at_ms, model=model, request_id=str(at_ms))
    return world


def newest(world: EvaluatedWorld) -> dict[tuple[int, int], WindowReport]:
    """By size and start of the window, of everything."""
    reports = [report for report in world.reports() if not report.segment]
    return {
        (report.window.size_seconds * 1000, parse_time_ms(report.window.start)): report
        for report in sorted(reports, key=lambda report: report.revision)
    }


def due_by(after_ms: int) -> dict[tuple[int, int], int]:
    """When each window is final: none before one that began earlier."""
    before_ms = ONE_MS + BEFORE_MS
    return {
        (5 * MINUTE_MS, ONE_MS - 5 * MINUTE_MS): before_ms,
        (HOUR_MS, NOON_MS): before_ms,
        (5 * MINUTE_MS, ONE_MS): max(before_ms, ONE_MS + 5 * MINUTE_MS + after_ms),
        (HOUR_MS, ONE_MS): max(before_ms, ONE_MS + HOUR_MS + after_ms),
        (DAY_MS, NOON_MS - DAY_MS // 2): MIDNIGHT_MS + after_ms,
    }


@BOTH_WAYS
async def test_every_window_is_final_when_its_horizon_and_those_before_it_are_over(
    after_ms: int,
) -> None:
    world = await world_of(after_ms)
    evaluator, due = world.evaluator(), due_by(after_ms)
    for moment_ms in sorted({*due.values()}):
        for watermark_ms in (moment_ms - 1, moment_ms):
            world.clock.wall_ms += MINUTE_MS
            await world.advance(watermark_ms)
            await evaluator.evaluate(everything=True)
            finals = {window for window, report in newest(world).items() if report.status == "final"}
            assert {window for window, due_ms in due.items() if due_ms <= watermark_ms} == finals
    # Rules fold windows away in order, and would pass over an older one that becomes final after a newer one.
    for size_ms in FRAUD.report_windows_ms:
        starts = [
            report.window.start
            for report in world.reports()
            if report.status == "final" and report.window.size_seconds * 1000 == size_ms
        ]
        assert sorted(starts) == starts


@BOTH_WAYS
async def test_labels_count_as_long_as_the_horizon_of_their_window_says(after_ms: int) -> None:
    world = await world_of(after_ms)
    evaluator = world.evaluator()
    for at_ms, horizon_ms in sorted({ONE_MS - 1: BEFORE_MS, ONE_MS: after_ms}.items(), key=sum):
        await world.advance(at_ms + horizon_ms)
        await evaluator.evaluate(everything=True)
        await world.label(str(at_ms), "ok", at_ms=at_ms + horizon_ms)
    await world.advance(MIDNIGHT_MS + after_ms)
    await evaluator.evaluate(everything=True)
    found = newest(world)
    assert due_by(after_ms).keys() == found.keys()
    assert {"final"} == {report.status for report in found.values()}
    assert [report.predictions for report in found.values()] == [report.labelled for report in found.values()]
    assert 2 == found[DAY_MS, NOON_MS - DAY_MS // 2].labelled


@BOTH_WAYS
async def test_reports_are_forgotten_when_their_own_time_is_over(after_ms: int) -> None:
    world = await world_of(after_ms, keep_windows_ms=2 * DAY_MS)
    evaluator, due = world.evaluator(), due_by(after_ms)
    await world.advance(max(due.values()))
    await evaluator.evaluate()
    for due_ms in sorted({*due.values()}):
        for watermark_ms in (due_ms + 2 * DAY_MS, due_ms + 2 * DAY_MS + 1):
            await world.advance(watermark_ms)
            await evaluator.evaluate()
            kept = [report for report in newest(world).values() if await is_kept(world, report)]
            assert sum(each + 2 * DAY_MS >= watermark_ms for each in due.values()) == len(kept)


async def is_kept(world: EvaluatedWorld, report: WindowReport) -> bool:
    key = f'["quality","fraud","3",{{}},{report.window.size_seconds},"{report.window.start}"]'.encode()
    return key in await world.store.keys(VERSION)


async def test_lost_labels_touch_the_windows_that_were_not_settled_by_their_own_horizon() -> None:
    world = await world_of(SHORTER_MS)
    evaluator = world.evaluator()
    await world.advance(ONE_MS + 5 * MINUTE_MS + SHORTER_MS)
    await evaluator.evaluate()
    await world.lose(Role.LABELS, lost=3, to_ms=ONE_MS + HOUR_MS)
    world.clock.wall_ms += MINUTE_MS
    await evaluator.evaluate()
    statuses = {window: report.status for window, report in newest(world).items()}
    assert "provisional" == statuses.pop((5 * MINUTE_MS, ONE_MS))
    assert {"incomplete"} == {*statuses.values()}


@pytest.mark.parametrize("after_ms", [SHORTER_MS, 3 * DAY_MS])
async def test_counts_stay_until_every_window_that_needs_them_is_final(after_ms: int) -> None:
    """Half an hour is less than what lies between the two horizons, and than the day that holds the change."""
    world = await world_of(after_ms, keep_windows_ms=HOUR_MS // 2)
    evaluator, due = world.evaluator(), due_by(after_ms)
    for watermark_ms in range(ONE_MS, max(due.values()) + HOUR_MS, HOUR_MS // 4):
        world.clock.wall_ms += MINUTE_MS
        await world.advance(watermark_ms)
        await evaluator.evaluate(everything=True)
        evaluator = world.evaluator()
    final = newest(world)
    assert {"final"} == {report.status for report in final.values()}
    assert {window: 2 if window[0] == DAY_MS else 1 for window in due} == {
        window: report.predictions for window, report in final.items()
    }
    for _ in range(2):
        await world.advance(max(due.values()) + 2 * HOUR_MS)
        await evaluator.evaluate()
    assert [{}] * world.shards == [part.cells for part in world.ledger.parts]


async def test_nothing_is_reported_by_a_charter_that_shards_are_ahead_of() -> None:
    world = await world_of(LONGER_MS)
    await world.ledger.hold_edition(1, 8)
    evaluator = world.evaluator()
    assert (0, 1) == dataclasses.astuple(await evaluator.evaluate())
    charter = await world.ledger.charter()
    assert charter is not None
    assert await world.ledger.amend_charter(charter, dataclasses.replace(charter, edition=8))
    assert 0 < (await evaluator.evaluate()).published


async def test_nothing_is_reported_by_the_file_alone_once_the_charter_is_lost() -> None:
    """A window that waits for five hours would be final after two: the file still has the horizon of before."""
    world = await world_of(LONGER_MS)
    for shard in range(world.shards):
        await world.ledger.hold_edition(shard, 7)
    evaluator = world.evaluator()
    await evaluator.evaluate()
    published = len(world.reports())
    await world.ledger.drop_charter()
    await world.advance(ONE_MS + 5 * MINUTE_MS + BEFORE_MS)
    assert (0, 1) == dataclasses.astuple(await evaluator.evaluate(everything=True))
    assert published == len(world.reports())
