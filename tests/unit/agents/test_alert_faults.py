"""Alerts of a worker that dies at any step, or whose Redis or broker fails: none is lost, none begins twice."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence

import pytest

from agents.alert_evaluator import AlertEvaluator
from schemas.times import format_time
from streams.alerting.life_cycle import Phase
from streams.errors import TemporaryFailure
from streams.monitored_model import DAY_MS, MINUTE_MS
from streams.ports import OutgoingMessage, StoredAlerts
from tests.support.alerting import ACCURACY_LOW, AlertWorld, break_down, statuses


@pytest.fixture
async def world() -> AlertWorld:
    return await AlertWorld(ACCURACY_LOW).start()


class Killed(BaseException):
    """The worker is gone."""


class DyingPublisher:
    """Kills the worker before or after it has written."""

    def __init__(self, world: AlertWorld, *, after: bool) -> None:
        self._world, self._after = world, after

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        if messages:
            if self._after:
                await self._world.publisher.send(messages)
            raise Killed


class DyingStore:
    """Kills the worker at one of its saves, before or after it was done."""

    def __init__(self, world: AlertWorld, *, at: int, after: bool) -> None:
        self._store, self._left, self._after = world.store, at, after
        self.load, self.look, self.every_alert = world.store.load, world.store.look, world.store.every_alert

    async def save(self, *arguments: object, **named: object) -> bool:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise Killed
        saved = await self._store.save(*arguments, **named)  # type: ignore[arg-type]
        if self._left < 0:
            raise Killed
        return saved


def dying(world: AlertWorld, step: str) -> AlertEvaluator:
    match step:
        case "before change":
            return world.evaluator(store=DyingStore(world, at=0, after=False))
        case "after change":
            return world.evaluator(store=DyingStore(world, at=0, after=True))
        case "before publish":
            return world.evaluator(publisher=DyingPublisher(world, after=False))
        case "after publish":
            return world.evaluator(publisher=DyingPublisher(world, after=True))
        case "before mark":
            return world.evaluator(store=DyingStore(world, at=1, after=False))
        case _:
            return world.evaluator(store=DyingStore(world, at=1, after=True))


STEPS = ("before change", "after change", "before publish", "after publish", "before mark", "after mark")


@pytest.mark.parametrize("step", STEPS)
async def test_worker_killed_at_any_step_loses_no_alert_and_begins_no_second_one(world: AlertWorld, step: str) -> None:
    await break_down(world)
    with pytest.raises(Killed):
        await world.round(by=dying(world, step))
    await world.round(by=world.evaluator())
    firing = world.said()
    assert 1 <= len(firing) <= 2
    assert 1 == len({(alert.fingerprint, alert.starts_at, alert.status) for alert in firing})
    await world.window(3, right=20, wrong=0)
    await world.settle(3)
    with pytest.raises(Killed):
        await world.round(by=dying(world, step))
    await world.round(by=world.evaluator())
    resolved = world.said()[len(firing) :]
    assert 1 <= len(resolved) <= 2
    ends = {(alert.fingerprint, alert.starts_at, alert.ends_at, alert.status) for alert in resolved}
    assert [(firing[0].fingerprint, firing[0].starts_at, "resolved")] == [(a, b, d) for a, b, _, d in ends]


async def test_broker_that_is_away_delays_an_alert_and_nothing_else(world: AlertWorld) -> None:
    class Away:
        async def send(self, messages: Sequence[OutgoingMessage]) -> None:
            if messages:
                raise TemporaryFailure("no broker")

    await break_down(world)
    evaluator = world.evaluator(publisher=Away())
    world.world.clock.wall_ms += 10_000
    await world.reports.evaluate()
    assert 1 == await evaluator.evaluate()
    assert 1 == await evaluator.evaluate()
    started = world.state().phase_ms
    (alert,) = await world.round(after_ms=5 * MINUTE_MS)
    assert format_time(started) == alert.starts_at


class Backup:
    """What the store holds at one moment, for a Redis that loses what came after."""

    def __init__(self, world: AlertWorld) -> None:
        self._world = world
        reports = world.world.store
        self._kept = copy.deepcopy((world.store.versions, world.store.alerts, reports.news, reports.names))

    def restore(self) -> None:
        reports = self._world.world.store
        self._world.store.versions, self._world.store.alerts, reports.news, reports.names = copy.deepcopy(self._kept)


@pytest.mark.parametrize("worker", ["lives", "sees Redis away", "is in the middle of a change", "dies too"])
async def test_redis_that_loses_its_last_second_loses_no_alert_and_begins_no_second_one(
    world: AlertWorld, worker: str
) -> None:
    await world.window(0, right=20, wrong=0)
    await world.settle(0)
    await world.round()
    await break_down(world, 3)
    world.world.clock.wall_ms += 10_000
    await world.reports.evaluate(everything=True)
    backup = Backup(world)
    (first,) = await world.round(after_ms=0)
    match worker:
        case "lives":
            backup.restore()
            assert [] == await world.round(after_ms=1000)
        case "sees Redis away":
            world.store.failure = TemporaryFailure("no Redis")
            world.world.clock.wall_ms += MINUTE_MS
            assert 1 == await world.alerts.evaluate()
            backup.restore()
        case "is in the middle of a change":
            restore_after_the_next_look(world, backup)
            said = await world.round(after_ms=MINUTE_MS)
            assert {("firing", first.starts_at)} == {(alert.status, alert.starts_at) for alert in said}
        case _:
            backup.restore()
            world.alerts = world.evaluator()
    (again,) = await world.round(after_ms=MINUTE_MS)
    assert (first.fingerprint, "firing") == (again.fingerprint, again.status)
    # A worker that lives remembers since when; one that starts knows only that it fires.
    assert (again.starts_at == first.starts_at) == (worker != "dies too")
    await world.window(6, right=20, wrong=0)
    await world.settle(6)
    (resolved,) = await world.round()
    assert (first.fingerprint, again.starts_at, "resolved") == (
        resolved.fingerprint,
        resolved.starts_at,
        resolved.status,
    )


def restore_after_the_next_look(world: AlertWorld, backup: Backup) -> None:
    look = world.store.look

    async def look_and_lose(model_versions: Sequence[bytes]) -> Sequence[StoredAlerts]:
        world.store.look = look  # type: ignore[method-assign]
        looked = await look(model_versions)
        backup.restore()
        return looked

    world.store.look = look_and_lose  # type: ignore[method-assign]


async def test_redis_that_forgets_that_there_was_a_model_begins_no_second_alert(world: AlertWorld) -> None:
    empty = Backup(world)
    await break_down(world)
    world.world.clock.wall_ms += 10_000
    await world.reports.evaluate(everything=True)
    reported = Backup(world)
    (first,) = await world.round(after_ms=0)
    empty.restore()
    assert [] == await world.round(after_ms=1000)
    reported.restore()
    (again,) = await world.round(after_ms=MINUTE_MS)
    assert (first.fingerprint, first.starts_at, "firing") == (again.fingerprint, again.starts_at, again.status)


async def test_model_does_not_fall_silent_while_redis_is_away(world: AlertWorld) -> None:
    await break_down(world)
    await world.round()
    world.store.failure = TemporaryFailure("no Redis")
    assert [] == await world.round(after_ms=DAY_MS)
    assert ["firing: breach"] == statuses(await world.round(after_ms=DAY_MS))
    assert ["firing: breach"] == statuses(await world.round(after_ms=20 * MINUTE_MS))


async def test_redis_that_forgets_an_end_is_told_it_again(world: AlertWorld) -> None:
    await break_down(world)
    (first,) = await world.round()
    await world.window(3, right=20, wrong=0)
    await world.settle(3)
    world.world.clock.wall_ms += 10_000
    await world.reports.evaluate(everything=True)
    backup = Backup(world)
    (resolved,) = await world.round(after_ms=0)
    backup.restore()
    (again,) = await world.round(after_ms=MINUTE_MS)
    assert ("resolved", first.starts_at, resolved.ends_at) == (again.status, again.starts_at, again.ends_at)
    assert Phase.RESOLVED == world.state().phase


async def test_two_workers_that_both_think_they_own_a_model_begin_one_alert(world: AlertWorld) -> None:
    await break_down(world)
    world.world.clock.wall_ms += 10_000
    await world.reports.evaluate()
    evaluators = [world.evaluator() for _ in range(3)]
    for _ in range(3):
        await asyncio.gather(*(evaluator.evaluate() for evaluator in evaluators))
    assert 1 == len({(alert.fingerprint, alert.starts_at) for alert in world.said()})
