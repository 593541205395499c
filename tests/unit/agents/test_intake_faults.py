"""Crashes, lost replies, rollbacks and zombies between the intake and its ledger: same cells, same fates."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Sequence
from typing import Any

import pytest

from agents.commands.init import accept_log, forget_stops
from agents.partition_intake import LogBounds
from schemas.codec import read_prediction
from streams.dead_letter_limits import Excess, Stop
from streams.errors import PermanentFailure, TemporaryFailure
from streams.ledger.parts import CommitReply, Definitions, Gap, Part, Role, Source
from streams.ports import Ledger
from tests.support.intake_world import NOW_MS, SHARDS, FakeStops, IntakeWorld, Records, batch_of
from tests.unit.agents.test_intake import LABELS, PREDICTIONS, logs_of

COUNT = 120
STOP = Stop(
    excess=Excess(offset=12, in_a_row=101, recent=101), since_ms=NOW_MS, tried_ms=NOW_MS, marks="", earlier_in_a_row=0
)


class Unreliable:
    """A ledger that sometimes fails before it applies, and sometimes applies and loses the reply."""

    def __init__(self, ledger: Ledger, rng: random.Random) -> None:
        self._ledger = ledger
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def commit(
        self, shard: int, parts: Sequence[Part], definitions: Definitions, *, forget_limit: int
    ) -> CommitReply:
        dice = self._rng.random()
        if dice < 0.1:
            raise TemporaryFailure("it does not answer")
        reply = await self._ledger.commit(shard, parts, definitions, forget_limit=forget_limit)
        if dice < 0.2:
            raise TemporaryFailure("its answer is lost")
        return reply


@pytest.fixture
async def expected() -> tuple[dict[tuple[str, ...], int], dict[str, int]]:
    world = IntakeWorld(logs_of(COUNT))
    async with world.running() as intake:
        await world.read_all(intake)
    return await world.cells(), await world.fates()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.outages.FIRST_PAUSE_SECONDS", 0.0)


@pytest.mark.parametrize("seed", range(5))
async def test_lost_calls_and_lost_replies_change_nothing(seed: int, expected: object) -> None:
    rng = random.Random(seed)
    world = IntakeWorld(logs_of(COUNT), wrap=lambda ledger: Unreliable(ledger, rng))
    async with world.running() as intake:
        await world.read_all(intake, batch_records=17)
    assert expected == (await world.cells(), await world.fates())


@pytest.mark.parametrize("seed", range(5))
async def test_a_worker_that_ends_at_any_moment_is_continued_by_the_next(seed: int, expected: object) -> None:
    rng = random.Random(seed)
    world = IntakeWorld(logs_of(COUNT))
    for _ in range(20):
        async with world.running() as intake:
            reading = asyncio.ensure_future(world.read_all(intake, batch_records=13))
            for _ in range(rng.randrange(40)):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
        world = IntakeWorld(world.logs, ledger=world.ledger)
    async with world.running() as intake:
        await world.read_all(intake, batch_records=13)
    assert expected == (await world.cells(), await world.fates())


@pytest.mark.parametrize("seed", range(5))
async def test_a_shard_that_is_rolled_back_while_it_is_written_to_is_read_again(seed: int, expected: object) -> None:
    rng = random.Random(seed)
    world = IntakeWorld(logs_of(COUNT))
    async with world.running() as intake:
        backups = [copy.deepcopy(shard) for shard in world.ledger.parts]
        for _ in range(8):
            for source, log in world.logs.items():
                base = world.positions[source]
                if base < len(log):
                    batch = batch_of(source, log[base : base + 29], base=base)
                    world.positions[source] = batch.next
                    await intake.put(source, batch, lambda: None)
            await world.settle(intake)
            shard = rng.randrange(SHARDS)
            if rng.random() < 0.4:
                world.ledger.parts[shard] = copy.deepcopy(backups[shard])
            else:
                backups[shard] = copy.deepcopy(world.ledger.parts[shard])
        for partition in intake.partitions.values():
            partition.check()
        await world.settle(intake)
        await world.read_all(intake, batch_records=29)
    assert expected == (await world.cells(), await world.fates())


@pytest.mark.parametrize("seed", range(5))
async def test_two_workers_that_both_believe_to_own_everything_count_once(seed: int, expected: object) -> None:
    rng = random.Random(seed)
    first = IntakeWorld(logs_of(COUNT))
    second = IntakeWorld(first.logs, ledger=first.ledger)
    async with first.running() as one, second.running() as other:
        readings = (
            first.read_all(one, batch_records=rng.randint(5, 30)),
            second.read_all(other, batch_records=rng.randint(5, 30)),
        )
        await asyncio.gather(*readings)
    assert expected == (await first.cells(), await first.fates())


async def test_a_partition_that_was_added_later_is_counted_from_its_start() -> None:
    added = Source(Role.PREDICTIONS, 1)
    world = IntakeWorld(logs_of(20))
    async with world.running() as intake:
        await world.read_all(intake)
    logs: dict[Source, Records] = {**world.logs, added: logs_of(3)[PREDICTIONS]}
    grown = IntakeWorld(logs, ledger=world.ledger)
    async with grown.running() as intake:
        await grown.read_all(intake)
        assert [3] * SHARDS == intake.partitions[added].stored


async def test_a_log_that_ends_before_what_is_counted_is_left_alone_until_an_operator_accepts_it() -> None:
    world = IntakeWorld(logs_of(20))
    async with world.running() as intake:
        await world.read_all(intake)
    before = await world.fates()
    stops = FakeStops({LABELS: STOP, PREDICTIONS: STOP}, {LABELS: 19, PREDICTIONS: 19})
    anew = logs_of(5)[LABELS]
    shorter = IntakeWorld({**world.logs, LABELS: anew}, ledger=world.ledger)
    async with shorter.running() as intake:
        partition = intake.partitions[LABELS]
        beyond = [partition.is_beyond_log]
        await intake.put(LABELS, batch_of(LABELS, anew, base=0), lambda: None)
        await shorter.settle(intake)
        assert before == await shorter.fates()
        accepted = await accept_log(world.ledger, stops, LABELS, await shorter.bounds(LABELS), now_ms=NOW_MS)
        assert SHARDS == accepted
        partition.check()
        await shorter.settle(intake)
        await shorter.read_all(intake)
        beyond.append(partition.is_beyond_log)
    assert [True, False] == beyond
    assert ({PREDICTIONS: STOP}, {PREDICTIONS: 19}) == (stops.stopped, stops.accepted)
    assert before["labels:read"] + len(anew) == (await shorter.fates())["labels:read"]
    with pytest.raises(PermanentFailure, match="nothing to accept"):
        await accept_log(world.ledger, stops, LABELS, await shorter.bounds(LABELS), now_ms=NOW_MS)


async def test_when_all_is_counted_again_nothing_is_stopped_and_what_was_accepted_of_these_logs_still_is() -> None:
    stops = FakeStops({LABELS: STOP, PREDICTIONS: STOP}, {LABELS: 20, PREDICTIONS: 21})
    await forget_stops(stops, {LABELS: LogBounds(3, 20), PREDICTIONS: LogBounds(0, 20)})
    assert ({}, {LABELS: 20}) == (stops.stopped, stops.accepted)


async def test_what_retention_took_before_it_was_counted_is_a_gap_up_to_the_next_record() -> None:
    world = IntakeWorld(logs_of(20))
    world.first_offsets[PREDICTIONS] = 7
    async with world.running() as intake:
        await world.read_all(intake)
        assert [len(world.logs[PREDICTIONS])] * SHARDS == intake.partitions[PREDICTIONS].stored
        assert {Role.PREDICTIONS: SHARDS} == +intake.tally.gaps
    first = read_prediction(world.logs[PREDICTIONS][7], timestamp_ms=NOW_MS, now_ms=NOW_MS, max_future_skew_ms=0)
    for shard in range(SHARDS):
        gaps = await world.ledger.gaps(shard)
        assert [Gap(source=PREDICTIONS, lost=7, from_ms=0, to_ms=first.event_time_ms)] == gaps
    fates = await world.fates()
    assert (7 * SHARDS, len(world.logs[PREDICTIONS]) - 7) == (fates["predictions:lost"], fates["predictions:read"])


async def test_only_the_shard_that_was_behind_has_the_gap() -> None:
    world = IntakeWorld(logs_of(20))
    backup = copy.deepcopy(world.ledger.parts[1])
    async with world.running() as intake:
        backup.ledger_id, backup.sources = "one", dict(world.ledger.parts[1].sources)
        await world.read_all(intake)
    world.ledger.parts[1] = backup
    again = IntakeWorld(world.logs, ledger=world.ledger)
    again.first_offsets[PREDICTIONS] = 11
    async with again.running() as intake:
        await again.read_all(intake)
        assert [len(world.logs[PREDICTIONS])] * SHARDS == intake.partitions[PREDICTIONS].stored
    assert [0, 1, 0, 0] == [len(await world.ledger.gaps(shard)) for shard in range(SHARDS)]


async def test_a_log_of_which_nothing_is_left_is_a_gap_up_to_now() -> None:
    world = IntakeWorld(logs_of(20))
    world.first_offsets[LABELS] = len(world.logs[LABELS])
    async with world.running() as intake:
        await world.read_all(intake)
        assert [len(world.logs[LABELS])] * SHARDS == intake.partitions[LABELS].stored
    assert NOW_MS == (await world.ledger.gaps(0))[0].to_ms


def working_partitions() -> int:
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    return sum(getattr(coroutine, "__qualname__", "") == "PartitionIntake.run" for coroutine in coroutines)


async def test_assignments_that_overtake_each_other_leave_one_task_per_partition(expected: object) -> None:
    world = IntakeWorld(logs_of(COUNT))
    async with world.running() as intake:
        await asyncio.gather(*(intake.assign(world.logs.keys()) for _ in range(3)))
        assert len(world.logs) == working_partitions()
        await world.read_all(intake)
    assert expected == (await world.cells(), await world.fates())


async def test_an_assignment_that_is_cut_off_is_made_good_by_the_next(expected: object) -> None:
    world = IntakeWorld(logs_of(COUNT))
    async with world.running() as intake:
        assigning = asyncio.ensure_future(intake.assign(world.logs.keys()))
        await asyncio.sleep(0)
        assigning.cancel()
        await asyncio.wait([assigning])
        world.positions = dict(await intake.assign(world.logs.keys()))
        assert len(world.logs) == working_partitions()
        await world.read_all(intake)
    assert expected == (await world.cells(), await world.fates())


async def test_partitions_that_are_taken_away_are_not_worked_on() -> None:
    world = IntakeWorld(logs_of(COUNT))
    async with world.running() as intake:
        await intake.give_up()
        assert 0 == working_partitions()
        await intake.put(PREDICTIONS, batch_of(PREDICTIONS, world.logs[PREDICTIONS], base=0), lambda: None)
        assert not intake.owns_model("fraud")
    assert {} == await world.fates()
