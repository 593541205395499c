"""Workers that learn of other segments while they count, on the ledger in memory."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable

import pytest

from agents.agreed_models import AgreedModels
from agents.model_agreements import change_notes, settle_agreements
from schemas.times import format_time
from streams.errors import PermanentFailure
from streams.ledger.founding import Charter
from streams.ledger.parts import Role, Source
from streams.ledger.reference import ReferenceLedger
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel
from tests.support.intake_world import NOW_MS, IntakeWorld, prediction

PREDICTIONS = Source(Role.PREDICTIONS, 0)
PLAIN = MonitoredModel(name="fraud")
BY_COUNTRY = dataclasses.replace(PLAIN, segments=("country",))
HOUR_NOW_MS = NOW_MS // HOUR_MS * HOUR_MS
CHANGED_MS = HOUR_NOW_MS - 2 * HOUR_MS


@pytest.fixture
async def ledger() -> ReferenceLedger:
    ledger = ReferenceLedger(shards=4, label_hold_ms=5 * MINUTE_MS, keep_windows_ms=30 * DAY_MS)
    await ledger.found(Charter(ledger_id="one", shards=4, starts={}))
    for shard in range(4):
        await ledger.create(shard, ledger_id="one", sources={PREDICTIONS: 0})
    return ledger


async def settled(ledger: ReferenceLedger, model: MonitoredModel, *, may_change: bool = True) -> Charter:
    return await settle_agreements(
        ledger,
        {model.name: model},
        read_ahead_ms=0,
        now_ms=lambda: NOW_MS,
        may_change=may_change,
    )


def times(since_ms: int, until_ms: int) -> range:
    return range(since_ms, until_ms, 7 * MINUTE_MS)


def sent(times_ms: Iterable[int]) -> list[bytes | None]:
    return [prediction(str(at_ms), "ok", at_ms=at_ms, segment={"country": "DE"}) for at_ms in times_ms]


async def test_worker_that_was_started_before_packs_again_by_what_was_agreed_meanwhile(
    ledger: ReferenceLedger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    charter = await settled(ledger, PLAIN)
    early, late = times(HOUR_NOW_MS - 4 * HOUR_MS, CHANGED_MS), times(HOUR_NOW_MS - 3 * HOUR_MS + 1, NOW_MS)
    world = IntakeWorld({PREDICTIONS: sent(early)}, models=[PLAIN], ledger=ledger, charter=charter)
    async with world.running() as intake:
        await world.read_all(intake, batch_records=5)
        await settled(ledger, BY_COUNTRY)
        world.logs[PREDICTIONS] = sent([*early, *late])
        await world.read_all(intake, batch_records=5)
    since = f"in windows that start at {format_time(CHANGED_MS)} or later"
    told = f"fraud is counted by segments [country], label_horizon 1d {since}"
    assert 1 == sum(told in record.getMessage() for record in caplog.records)
    slices: Counter[str] = Counter()
    for (_, slice_, *_), count in (await world.cells()).items():
        slices[slice_] += count
    assert len(early) + len(late) == slices["0000"]
    assert sum(at_ms >= CHANGED_MS for at_ms in late) == slices['{"country":"DE"}'] > 0


async def test_segments_of_a_model_without_counts_change_from_the_beginning(ledger: ReferenceLedger) -> None:
    charter = await settled(ledger, PLAIN)
    await settled(ledger, BY_COUNTRY)
    world = IntakeWorld({PREDICTIONS: sent([CHANGED_MS])}, models=[PLAIN], ledger=ledger, charter=charter)
    async with world.running() as intake:
        await world.read_all(intake)
    assert ['{"country":"DE"}'] == [slice_ for _, slice_, *_ in await world.cells() if slice_ != "0000"]


async def test_sighup_changes_no_segments(ledger: ReferenceLedger) -> None:
    before = await settled(ledger, BY_COUNTRY)
    assert before == await settled(ledger, PLAIN, may_change=False)


async def test_shard_that_was_built_again_is_told_what_is_agreed(ledger: ReferenceLedger) -> None:
    await settled(ledger, PLAIN)
    charter = await settled(ledger, BY_COUNTRY)
    agreed = AgreedModels(ledger, IntakeWorld({}).clock, charter)
    ledger.parts[2].edition = 0
    states = [state for shard in range(4) if (state := await ledger.state(shard)) is not None]
    await agreed.look(charter, states)
    assert {charter.edition} == {shard.edition for shard in ledger.parts}
    assert 0 < charter.edition


async def test_charter_that_is_lost_ends_the_worker_as_a_shard_that_is_lost_does(ledger: ReferenceLedger) -> None:
    agreed = AgreedModels(ledger, IntakeWorld({}).clock, await settled(ledger, PLAIN))
    states = [state for shard in range(4) if (state := await ledger.state(shard)) is not None]
    with pytest.raises(PermanentFailure, match=r"not its charter.*--rebuild"):
        await agreed.look(None, states)


async def test_charter_that_lost_what_shards_were_counted_by_ends_the_worker(ledger: ReferenceLedger) -> None:
    before = await settled(ledger, PLAIN)
    await ledger.hold_edition(1, before.edition + 5)
    with pytest.raises(PermanentFailure, match="--rebuild"):
        await settled(ledger, PLAIN)


async def test_doctor_tells_what_is_agreed_and_what_the_next_start_would_change(ledger: ReferenceLedger) -> None:
    assert [] == [*change_notes(None, {"fraud": PLAIN})]
    charter = await settled(ledger, PLAIN)
    assert [] == [*change_notes(charter, {"fraud": PLAIN})]
    ((found, remedy),) = change_notes(charter, {"fraud": BY_COUNTRY})
    assert "fraud is counted by segments [], label_horizon 1d; this configuration says otherwise" == found
    assert "windows that start later follow" in remedy


async def test_change_that_redis_lost_with_its_tail_is_agreed_on_anew_and_nothing_doubtful_is_told(
    ledger: ReferenceLedger,
) -> None:
    first = await settled(ledger, PLAIN)
    world = IntakeWorld({PREDICTIONS: sent([CHANGED_MS - 1])}, models=[PLAIN], ledger=ledger, charter=first)
    async with world.running() as intake:
        await world.read_all(intake)
        tail = copy.deepcopy((ledger.parts, await ledger.charter()))
        known = await settled(ledger, BY_COUNTRY)
        assert [0, CHANGED_MS] == [each.from_ms for each in known.agreed.eras(PLAIN)]
        agreed = AgreedModels(ledger, world.clock, known)
        ledger.parts, ledger._charter = tail
        # A worker that never heard of the change counts on by what was agreed before it.
        world.logs[PREDICTIONS] = sent([CHANGED_MS - 1, CHANGED_MS, CHANGED_MS + HOUR_MS])
        await world.read_all(intake)
    await agreed.renew()
    assert [((), 0), (("country",), CHANGED_MS + HOUR_MS + 5 * MINUTE_MS)] == [
        (each.segments, each.from_ms) for each in agreed.now.eras(PLAIN)
    ]


@pytest.mark.parametrize(("before_ms", "after_ms"), [(DAY_MS, 10 * HOUR_MS), (10 * HOUR_MS, DAY_MS)])
async def test_predictions_wait_as_long_as_what_is_agreed_for_their_time_says_whatever_the_worker_was_started_with(
    ledger: ReferenceLedger, before_ms: int, after_ms: int
) -> None:
    old, new = (dataclasses.replace(PLAIN, label_horizon_ms=horizon_ms) for horizon_ms in (before_ms, after_ms))
    charter = await settled(ledger, old)
    early, late = times(HOUR_NOW_MS - 4 * HOUR_MS, CHANGED_MS), times(HOUR_NOW_MS - 3 * HOUR_MS + 1, NOW_MS)
    world = IntakeWorld({PREDICTIONS: sent(early)}, models=[old], ledger=ledger, charter=charter)
    async with world.running() as intake:
        await world.read_all(intake, batch_records=5)
        known = await settled(ledger, new)
        world.logs[PREDICTIONS] = sent([*early, *late])
        await world.read_all(intake, batch_records=5)
    assert max(before_ms, after_ms) == known.agreed.longest_horizon_ms()
    held = {
        prediction.time_ms: prediction.terms.horizon_ms
        for shard in ledger.parts
        for entry in shard.entries.values()
        for prediction in entry.predictions
    }
    assert {at_ms: before_ms if at_ms < CHANGED_MS else after_ms for at_ms in (*early, *late)} == held


async def test_of_a_horizon_that_redis_lost_with_its_tail_windows_wait_for_the_longer(ledger: ReferenceLedger) -> None:
    shorter = dataclasses.replace(PLAIN, label_horizon_ms=HOUR_MS)
    first = await settled(ledger, PLAIN)
    world = IntakeWorld({PREDICTIONS: sent([CHANGED_MS - 1])}, models=[PLAIN], ledger=ledger, charter=first)
    async with world.running() as intake:
        await world.read_all(intake)
        tail = copy.deepcopy((ledger.parts, await ledger.charter()))
        agreed = AgreedModels(ledger, world.clock, await settled(ledger, shorter))
        ledger.parts, ledger._charter = tail
        world.logs[PREDICTIONS] = sent([CHANGED_MS - 1, CHANGED_MS + HOUR_MS])
        await world.read_all(intake)
    await agreed.renew()
    assert [(DAY_MS, 0), (HOUR_MS, CHANGED_MS + HOUR_MS + 5 * MINUTE_MS)] == [
        (era.label_horizon_ms, era.from_ms) for era in agreed.now.eras(PLAIN)
    ]
