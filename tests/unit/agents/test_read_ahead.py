"""Partitions that were read too far ahead wait, hold no memory that others need, and count the same."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence

import pytest

from agents import intake as intake_module
from agents.intake import Intake
from agents.read_ahead import TELL_AFTER_SECONDS, ReadAheadWatch
from streams.ledger.parts import Role, ShardState, Source, SourceState
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS
from tests.support.intake_world import NOW_MS, IntakeWorld, Records, batch_of, label, prediction

FIRST, SECOND, LABELS = Source(Role.PREDICTIONS, 0), Source(Role.PREDICTIONS, 1), Source(Role.LABELS, 0)
START_MS = NOW_MS - 30 * DAY_MS
PAIRS = 240


def logs() -> dict[Source, Records]:
    """A prediction every hour, alternating between two partitions, and its label a minute later."""
    held: dict[Source, list[bytes | None]] = {FIRST: [], SECOND: [], LABELS: []}
    for number in range(PAIRS):
        at_ms = START_MS + number * HOUR_MS
        held[(FIRST, SECOND)[number % 2]].append(prediction(f"id-{number}", "ok", at_ms=at_ms))
        held[LABELS].append(label(f"id-{number}", "fraud" if number % 3 else "ok", at_ms=at_ms + MINUTE_MS))
    return dict(held)


async def look(world: IntakeWorld) -> None:
    """What housekeeping does about read-ahead."""
    states = [state for shard in range(world.ledger.shards) if (state := await world.ledger.state(shard)) is not None]
    world.read_ahead.observe(states, {source: len(log) for source, log in world.logs.items()}, frozenset())


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110  (nothing tells when)
            await asyncio.sleep(0.01)


async def deliver_all(world: IntakeWorld, intake: Intake, source: Source, *, batch_records: int = 5) -> None:
    """Hand over a partition's log as the transport would, until it is counted: what was sought back to comes again."""
    log = world.logs[source]
    while intake.partitions[source].position < len(log):
        if (base := world.positions[source]) < len(log) and source not in intake.paused():
            batch = batch_of(source, log[base : base + batch_records], base=base)
            world.positions[source] = batch.next
            await intake.put(source, batch, functools.partial(world.acknowledged.append, (source, batch.next)))
        await look(world)
        await asyncio.sleep(0.001)


async def records_read_without_the_second(world: IntakeWorld, intake: Intake) -> int:
    """Deliver all but the second partition; how many records are counted then."""
    await look(world)
    others = [asyncio.create_task(deliver_all(world, intake, source)) for source in (FIRST, LABELS)]
    await until(lambda: _has_come_to_rest(world, intake))
    for task in others:
        task.cancel()
    fates = await world.fates()
    return sum(count for fate, count in fates.items() if fate.endswith(":read"))


async def _has_come_to_rest(world: IntakeWorld, intake: Intake) -> bool:
    await look(world)
    ends = [
        world.positions[source] >= len(world.logs[source]) and intake.partitions[source].is_quiet
        for source in (FIRST, LABELS)
    ]
    return {FIRST, LABELS} <= intake.paused() or all(ends)


@pytest.mark.parametrize("limit_ms", [2 * HOUR_MS, 400 * DAY_MS])
async def test_counts_are_the_same_however_far_ahead_partitions_may_be(limit_ms: int) -> None:
    plain = IntakeWorld(logs())
    async with plain.running() as intake:
        await plain.read_all(intake)
    world = IntakeWorld(logs(), max_read_ahead_ms=limit_ms)
    async with world.running() as intake:
        await look(world)
        async with asyncio.timeout(60):
            await asyncio.gather(*(deliver_all(world, intake, source) for source in world.logs))

            async def is_done() -> bool:
                await look(world)
                return all(partition.is_quiet for partition in intake.partitions.values())

            await until(is_done)
    assert await plain.cells() == await world.cells()
    assert await plain.fates() == await world.fates()


async def test_others_wait_for_a_partition_that_is_not_read() -> None:
    world = IntakeWorld(logs(), max_read_ahead_ms=HOUR_MS)
    async with world.running() as intake:
        assert 2 * 5 == await records_read_without_the_second(world, intake), (
            "a batch of each, after which they are ahead"
        )


async def test_without_a_limit_they_do_not() -> None:
    world = IntakeWorld(logs(), max_read_ahead_ms=100 * 365 * DAY_MS)
    async with world.running() as intake:
        assert PAIRS * 3 // 2 == await records_read_without_the_second(world, intake)


async def test_partitions_that_wait_make_room_for_the_one_they_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    held = logs()
    monkeypatch.setattr(intake_module, "MAX_HELD_BYTES", sum(len(record or b"") for record in held[FIRST][:40]))
    world = IntakeWorld(held, max_read_ahead_ms=HOUR_MS)
    async with world.running() as intake:
        await look(world)
        for base in range(0, 40, 10):
            world.positions[FIRST] = base + 10
            await intake.put(FIRST, batch_of(FIRST, held[FIRST][base : base + 10], base=base), lambda: None)
        async with asyncio.timeout(60):
            await asyncio.gather(*(deliver_all(world, intake, source) for source in (SECOND, LABELS, FIRST)))
            await world.settle(intake)
    assert PAIRS == (await world.fates())["predictions:read"]


def told(caplog: pytest.LogCaptureFixture, offsets: Sequence[int]) -> list[str]:
    """What is logged while one partition waits for another that is at these offsets, half a minute apart."""
    world = IntakeWorld({})
    watch = ReadAheadWatch(
        world.ledger, world.ports.outages, world.clock, lateness_ms=10 * MINUTE_MS, max_ahead_ms=HOUR_MS
    )
    with caplog.at_level(logging.INFO):
        for offset in offsets:
            state = ShardState("one", {FIRST: SourceState(offset, START_MS), SECOND: SourceState(9, START_MS + DAY_MS)})
            watch.observe([state], {FIRST: 90, SECOND: 90}, frozenset())
            world.clock.seconds += TELL_AFTER_SECONDS
    return caplog.messages


async def test_a_partition_that_stops_everybody_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = told(caplog, [7, 7, 7, 7])
    assert message.startswith("1 partitions wait for predictions/0, whose event times are more than")
    assert "It stands at offset 7" in message


async def test_a_partition_that_everybody_waits_for_is_named_once_while_it_moves_and_again_when_it_stands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    moving, standing = told(caplog, [5, 6, 7, 7, 7])
    assert moving.endswith("It is moving")
    assert "It stands at offset 7" in standing
