from __future__ import annotations

import pytest

from agents.conservation_watch import ConservationWatch
from agents.housekeeping import Housekeeping
from agents.partition_intake import LogBounds
from streams.ledger.idleness import Idleness
from streams.ledger.parts import Source
from streams.ledger.reference import ReferenceLedger
from tests.support.intake_world import IntakeWorld
from tests.unit.agents.test_intake import logs_of


def ledger_of_two_shards() -> ReferenceLedger:
    return ReferenceLedger(shards=2, label_hold_ms=1, keep_windows_ms=1)


async def test_what_an_intake_has_counted_is_conserved(caplog: pytest.LogCaptureFixture) -> None:
    world = IntakeWorld(logs_of(200))
    watch = ConservationWatch(world.ledger)
    async with world.running() as intake:
        await world.read_all(intake, batch_records=50)
    for shard in range(world.ledger.shards):
        await watch.check(shard)
    assert (4, 0, []) == (watch.checks, watch.failures, caplog.records)


async def test_broken_shard_is_told_once_for_each_rule_and_counted_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger = ledger_of_two_shards()
    watch = ConservationWatch(ledger)
    ledger.parts[1].fates["labels:read"] = 1
    for _ in range(3):
        ledger.parts[1].fates["labels:read"] += 1
        await watch.check(0)
        await watch.check(1)
    ledger.parts[1].fates["predictions:waiting"] = -1
    await watch.check(1)
    assert (7, 4) == (watch.checks, watch.failures)
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert 3 == len(told)
    assert all(message.startswith("Shard 1 does not conserve records") for message in told)
    assert "the fates of labels add up to those read: 0 of 2" in told[0]


async def test_housekeeping_checks_each_shard_after_it_was_written() -> None:
    world = IntakeWorld(logs_of(20))
    watch = ConservationWatch(world.ledger)

    async def bounds() -> dict[Source, LogBounds]:
        return {source: await world.bounds(source) for source in world.logs}

    async with world.running() as intake:
        house = Housekeeping(
            intake=intake,
            ledger=world.ledger,
            agreed=world.agreed,
            writers=world.ports.writers,
            bounds=bounds,
            clock=world.clock,
            idleness=Idleness(1000.0),
            read_ahead=world.read_ahead,
            conservation=watch,
        )
        checks = []
        for is_reading in (True, False):
            if is_reading:
                await world.read_all(intake)
            await house.look()
            checks.append(watch.checks)
    assert [world.ledger.shards] * 2 == checks
