"""The gate inside the intake: where a partition stops, what goes on, and how it is released."""

from __future__ import annotations

import logging

import pytest

from agents.dead_letter_gate import RETRY_SECONDS
from agents.intake import Intake
from streams.dead_letter_limits import DeadLetterLimits
from streams.ledger.parts import Role, Source
from tests.support.intake_world import FakeStops, IntakeWorld, Records, batch_of, prediction

SOURCE = Source(Role.PREDICTIONS, 0)
OTHER = Source(Role.PREDICTIONS, 1)
LIMITS = DeadLetterLimits(max_invalid_ratio=0.5, max_consecutive=10)


def flood(*, good: int = 0, bad: int = 40, good_after: int = 0) -> Records:
    """Good records, then bad ones, then good ones."""
    return [
        *(prediction(f"before-{number}", "ok") for number in range(good)),
        *([b"not json"] * bad),
        *(prediction(f"after-{number}", "ok") for number in range(good_after)),
    ]


def world_of(first: Records, **options: object) -> IntakeWorld:
    others = [prediction(f"other-{number}", "ok") for number in range(30)]
    logs: dict[Source, Records] = {SOURCE: first, OTHER: others}
    return IntakeWorld(logs, dead_letters=LIMITS, **options)  # type: ignore[arg-type]


async def deliver(world: IntakeWorld, intake: Intake, *, batch_records: int = 1000) -> None:
    """Play the transport once from where it stands to the end of every log."""
    for source, log in world.logs.items():
        while world.positions[source] < len(log):
            base = world.positions[source]
            batch = batch_of(source, log[base : base + batch_records], base=base)
            world.positions[source] = batch.next
            await intake.put(source, batch, lambda: None)
            await world.settle(intake)


async def try_again(world: IntakeWorld, intake: Intake) -> bool:
    """What housekeeping does for a gate, and reading after it; False if the gate was not due."""
    gate = intake.partitions[SOURCE].gate
    if not await gate.is_due():
        return False
    intake.partitions[SOURCE].check()
    await world.settle(intake)
    await deliver(world, intake)
    return True


@pytest.mark.parametrize("batch_records", [1, 7, 1000])
async def test_partition_stops_in_front_of_the_first_record_too_many(batch_records: int) -> None:
    world = world_of(flood(good=5, bad=40, good_after=5))
    async with world.running() as intake:
        await deliver(world, intake, batch_records=batch_records)
        assert 15 == intake.partitions[SOURCE].position
        assert {15} == {shard.sources[SOURCE].next for shard in world.ledger.parts}
        assert 30 == intake.partitions[OTHER].position
    assert 10 == len(world.publisher.sent)
    stop = world.stops.stopped[SOURCE]
    assert (15, 11, 11) == (stop.excess.offset, stop.excess.in_a_row, stop.excess.recent)
    assert {"predictions:read": 45, "predictions:waiting": 35, "predictions:rejected": 10} == await world.fates()


async def test_stop_is_one_line_at_level_error_however_often_it_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    world = world_of(flood())
    async with world.running() as intake:
        await deliver(world, intake)
        world.clock.seconds += RETRY_SECONDS
        assert await try_again(world, intake)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert 1 == len(errors)
    assert "Stopped predictions/0 at offset 10: 11 bad records in a row" in errors[0]
    assert 10 == len(world.publisher.sent)


async def test_stopped_partition_is_not_tried_before_its_time() -> None:
    world = world_of(flood())
    async with world.running() as intake:
        await deliver(world, intake)
        assert not await try_again(world, intake)
        assert 10 == intake.partitions[SOURCE].position


async def test_partition_goes_on_when_its_record_can_be_read_after_all() -> None:
    world = world_of(flood(bad=12, good_after=3))
    async with world.running() as intake:
        await deliver(world, intake)
        world.logs[SOURCE] = [*world.logs[SOURCE][:10], prediction("now", "ok"), *world.logs[SOURCE][11:]]
        world.clock.seconds += RETRY_SECONDS
        assert await try_again(world, intake)
        assert 15 == intake.partitions[SOURCE].position
    assert {} == world.stops.stopped
    assert 11 == len(world.publisher.sent)


async def test_accepted_records_become_dead_letters_and_the_next_one_stops_again() -> None:
    world = world_of(flood(bad=40))
    async with world.running() as intake:
        await deliver(world, intake)
        await world.stops.accept(SOURCE, until=25)
        assert await try_again(world, intake)
        assert 25 == intake.partitions[SOURCE].position
        assert 25 == world.stops.stopped[SOURCE].excess.offset
        await world.stops.accept(SOURCE, until=40)
        assert await try_again(world, intake)
        assert 40 == intake.partitions[SOURCE].position
    assert 40 == len(world.publisher.sent)
    assert {} == world.stops.stopped


async def test_next_worker_takes_the_stop_over_and_lets_no_further_record_through() -> None:
    stops = FakeStops()
    first = world_of(flood(bad=40), stops=stops)
    async with first.running() as intake:
        await deliver(first, intake)
    second = world_of(flood(bad=40), stops=stops, ledger=first.ledger)
    async with second.running() as intake:
        await deliver(second, intake)
        assert 10 == intake.partitions[SOURCE].position
    assert [] == second.publisher.sent
    assert 10 == stops.stopped[SOURCE].excess.offset


async def test_batches_that_come_while_stopped_are_dropped_without_seeking_back() -> None:
    world = world_of(flood(bad=40))
    async with world.running() as intake:
        await deliver(world, intake)
        world.logs[SOURCE] = [*world.logs[SOURCE], *flood(good=20, bad=0)]
        await deliver(world, intake)
        assert 60 == world.positions[SOURCE]
        assert 10 == intake.partitions[SOURCE].position
