"""A worker's life: wait for the services, open the ledger, read, keep house, evaluate, stop.

    start      Kafka, its topics, Redis, the ledger             until `startup_timeout`, saying what is missing
    run        reading (Faust), housekeeping, evaluation        until cancelled, or caught up; a watchdog ends it too
    stop       in the opposite order, within a few seconds

Anything unexpected, wherever it is raised, ends `run` with that error; what was being done is done again by
the next worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

from agents.faust_app import SESSION_TIMEOUT_SECONDS, FaustApp
from agents.housekeeping import Housekeeping, Seen, close_ledger, is_caught_up
from agents.intake import Intake
from agents.loop_watch import LoopLag, LoopWatch, end_process
from agents.outages import Outages
from streams.dead_letter_limits import Stop
from streams.errors import PermanentFailure
from streams.evaluation import next_round_ms
from streams.ledger.idleness import applied_to
from streams.ledger.parts import Source
from streams.ports import Clock, Ledger, StopStore
from streams.watchdog import Progress, Signs, Watchdog

__all__ = ["CLIENT_ID", "CLOSING_CLIENT_ID", "Evaluation", "Worker"]

_log = logging.getLogger(__name__)

CLIENT_ID = "latelabel-worker"
CLOSING_CLIENT_ID = "latelabel-closing-worker"
"""Of workers with `--close`: they may close the ledger under each other, but not under one that goes on."""
GRACE_SECONDS = 5.0
LOOK_SECONDS = 1.0
LOOK_WHEN_CATCHING_UP_SECONDS = 0.2
WATCH_SECONDS = 0.2
STOP_SECONDS = 7.0
"""Within the ten seconds that SIGTERM leaves; what has not stopped by then ends with the process."""


class Evaluation(Protocol):
    """One round of reports: `agents.evaluator.Evaluator`."""

    def evaluate(self, *, everything: bool = False) -> Awaitable[object]:
        """Publish what changed; the result's `pending` counts what still waits."""


class AlertEvaluation(Protocol):
    """One round of alerts: `agents.alert_evaluator.AlertEvaluator`."""

    firing: Mapping[tuple[str, str], int]
    """How many alerts fire, by name and severity."""

    def evaluate(self) -> Awaitable[int]:
        """Judge what is news and publish what has to be said; returns how much still waits."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Worker:
    """All parts of a running worker, connected."""

    app: FaustApp
    intake: Intake
    house: Housekeeping
    ledger: Ledger
    evaluator: Evaluation
    alerts: AlertEvaluation
    stops: StopStore
    members: Callable[[], Awaitable[Collection[str]]]
    outages: Outages
    clock: Clock
    evaluation_interval_ms: int
    beyond_ms: int
    watchdog: Watchdog
    loop_watch: LoopWatch
    loop_lag: LoopLag = dataclasses.field(default_factory=LoopLag)
    _evaluating: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    _alerting: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    _reported: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    async def run(self, *, ends: Mapping[Source, int] | None = None, close: bool = False) -> None:
        """Work until cancelled.

        Args:
            ends: if given, stop when every shard has reached these offsets and all changes are published.
            close: then also raise every watermark past the last horizon: no later label counts, and reports on windows
                that the last record leaves behind are final.

        Raises:
            PermanentFailure: among others, a partition is stopped before its end; all others are at theirs then.
        """
        keeping = self._keep_house() if ends is None else self._catch_up(ends, close=close)
        tasks: set[asyncio.Future[None]] = {
            asyncio.ensure_future(work)
            for work in (self._read(), keeping, self._evaluate(), self._alert(), self._watch())
        }
        with self.loop_watch.running():
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                await self._stop(tasks)

    def unready(self) -> str | None:
        """Why this worker does not read at present; None if it does, or has no partition to read."""
        return None if self.app.is_reading else "the group has not said which partitions to read"

    async def _read(self) -> None:
        starting = asyncio.ensure_future(self.app.start())
        try:
            while not self.app.crashed:
                await asyncio.wait({self.intake.failure}, timeout=WATCH_SECONDS)
                if self.intake.failure.done():
                    self.intake.failure.result()
                if starting.done():
                    starting.result()
        finally:
            starting.cancel()
        raise self.app.why_crashed()

    async def _keep_house(self) -> None:
        while True:
            await self.outages.ride_out(self.house.look)
            await asyncio.sleep(LOOK_SECONDS)

    async def _evaluate(self) -> None:
        took_ms = 0.0
        while True:
            await asyncio.sleep(next_round_ms(self.evaluation_interval_ms, took_ms=took_ms) / 1000)
            began_seconds = self.clock.monotonic_seconds()
            async with self._evaluating:
                await self.evaluator.evaluate()
            self._reported.set()
            took_ms = 1000 * (self.clock.monotonic_seconds() - began_seconds)

    async def _alert(self) -> None:
        """Beside the reports: a topic that takes no alerts must not hold them up."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reported.wait(), self.evaluation_interval_ms / 1000)
            self._reported.clear()
            async with self._alerting:
                await self.alerts.evaluate()

    async def _watch(self) -> None:
        looked_at = None
        while True:
            self.loop_watch.beat()
            due_seconds = self.clock.monotonic_seconds() + WATCH_SECONDS
            await asyncio.sleep(WATCH_SECONDS)
            now_seconds = self.clock.monotonic_seconds()
            self.loop_lag.note(max(0.0, now_seconds - due_seconds), now_seconds=now_seconds)
            if self.outages.is_on:
                self.watchdog.forgive()
            elif self.house.seen is not None and self.house.seen is not looked_at:
                # A look that has ended says that Redis and the broker answer.
                looked_at = self.house.seen
                complaint = self.watchdog.observe(self._signs(looked_at), now_seconds=now_seconds)
                if complaint is not None:
                    end_process(complaint)

    def _signs(self, seen: Seen) -> Signs:
        return Signs(
            is_reading=self.app.is_reading,
            rebalances_ended=self.app.rebalances_ended,
            thread_answers=self.app.ask_consumer_thread(),
            partitions={
                source: Progress((applied := applied_to(source, seen.states)), seen.ends.get(source, 0) - applied)
                for source, partition in self.intake.partitions.items()
                if not partition.is_paused
            },
        )

    async def _catch_up(self, ends: Mapping[Source, int], *, close: bool) -> None:
        began_ms = self.clock.now_ms()
        states = await self.outages.ride_out(self.house.look)
        stopped = await self._stopped(ends, since_ms=began_ms)
        while not is_caught_up(states, {source: end for source, end in ends.items() if source not in stopped}):
            await asyncio.sleep(LOOK_WHEN_CATCHING_UP_SECONDS)
            states = await self.outages.ride_out(self.house.look)
            stopped = await self._stopped(ends, since_ms=began_ms)
        if close and not stopped:
            await self._close()
        while not await self._is_all_published():
            await asyncio.sleep(LOOK_WHEN_CATCHING_UP_SECONDS)
            await self.outages.ride_out(self.house.look)
        if stopped:
            raise PermanentFailure("\n".join(_how_it_stands(source, stop) for source, stop in sorted(stopped.items())))
        _log.info("Caught up with %d records in %d partitions", sum(ends.values()), len(ends))

    async def _stopped(self, ends: Mapping[Source, int], *, since_ms: int) -> Mapping[Source, Stop]:
        """Partitions that were tried, by whoever owns them, and are stopped before these ends nevertheless."""
        stops = await self.outages.ride_out(self.stops.stops)
        return {
            source: stop
            for source, stop in stops.items()
            if stop.tried_ms >= since_ms and stop.excess.offset < ends.get(source, 0)
        }

    async def _refuse_to_close_under_others(self) -> None:
        # One that was killed is a member until its session ends.
        until_seconds = self.clock.monotonic_seconds() + SESSION_TIMEOUT_SECONDS + GRACE_SECONDS
        while CLIENT_ID in await self.outages.ride_out(self.members):
            if self.clock.monotonic_seconds() > until_seconds:
                raise PermanentFailure(
                    "everything is counted, but not closed: another worker of this group runs without --close and "
                    "would find its next records too late to count; stop it, then start this one again"
                )
            await asyncio.sleep(LOOK_WHEN_CATCHING_UP_SECONDS)

    async def _close(self) -> None:
        await self._refuse_to_close_under_others()
        while True:
            current = await self.outages.ride_out(self.intake.states)
            # After the states: what they were counted by is known then.
            await self.outages.ride_out(self.house.agreed.renew)
            beyond_ms = max(self.beyond_ms, self.house.agreed.now.longest_horizon_ms())
            close = functools.partial(close_ledger, self.ledger, current, beyond_ms=beyond_ms)
            closed = await self.outages.ride_out(close)
            if closed:
                _log.info("Closed: labels that come later do not count")
                return

    async def _is_all_published(self) -> bool:
        async with self._evaluating:
            evaluated = await self.evaluator.evaluate(everything=True)
        if getattr(evaluated, "pending", 0):
            return False
        async with self._alerting:
            if await self.alerts.evaluate():
                return False
        changed = await self.outages.ride_out(
            lambda: asyncio.gather(*map(self.ledger.changed_windows, range(self.ledger.shards)))
        )
        return not any(changed)

    async def _stop(self, tasks: set[asyncio.Future[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0)
        await self.intake.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self.app.stop()


def _how_it_stands(source: Source, stop: Stop) -> str:
    return (
        f"{source} is stopped at offset {stop.excess.offset} and was not read to its end: {stop.excess}; correct its "
        f"producer, then `latelabel dead-letters accept {source}` lets through what is there"
    )
