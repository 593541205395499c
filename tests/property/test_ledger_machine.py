"""Reference and Redis ledgers side by side, whatever happens to logs, workers and store.

Hypothesis draws a history and then one step after the other; every step ends with a comparison of all that the port
shows. A failure is shrunk to a few steps and printed as a program; the ones that were found are kept below.

`make soak` runs it for `SOAK_SECONDS` (300) from `SOAK_SEED` (the clock), which it prints.
"""

from __future__ import annotations

import asyncio
import collections
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from redis.asyncio import Redis

from agents import redis_counts
from agents.redis_ledger import RedisLedger
from deploy.servers import RedisServer
from streams.identity import class_hash, registry_group
from streams.ledger.parts import Definitions, NameList, Part, Role, Source
from streams.ledger.reference import ReferenceLedger
from tests.support.histories import (
    LABEL_HOLD_MS,
    START_MS,
    UNIT_MS,
    Label,
    Log,
    Packer,
    Prediction,
    draw_history,
    draw_models,
)
from tests.support.redis_shards import RestorableRedis
from tests.support.world import FOREVER_MS, REGISTRY, Commit, Restorable, RestorableReference, SideBySide

SHARDS = 2
STEPS = 50
"""Of one history; each ends with reading the rest, closing and the comparison with the oracle."""
HISTORIES = 300
LEAST_STEPS = 10_000
CI_SEED = 20_261_124

shards = st.integers(0, SHARDS - 1)
places = st.sampled_from([*range(SHARDS), REGISTRY])
limits = st.integers(0, 5)
lengths = st.integers(1, 4)
anything = st.integers(0, 10_000)
"""An index into something whose size is known when it is used."""


def both_ledgers(client: Redis, *, keep_windows_ms: int = FOREVER_MS) -> list[Restorable]:
    """The reference and the one in Redis."""
    durations = {"label_hold_ms": LABEL_HOLD_MS, "keep_windows_ms": keep_windows_ms}
    reference = ReferenceLedger(shards=SHARDS, **durations)
    ledger = RedisLedger(client, address="the test's Redis", prefix="machine", shards=SHARDS, **durations)
    return [RestorableReference(reference), RestorableRedis(client, ledger, prefix="machine")]


class LedgerMachine(RuleBasedStateMachine):
    """One history; `server` is set before it runs."""

    server: ClassVar[RedisServer]
    steps_done: ClassVar[collections.Counter[str]] = collections.Counter()

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()

    @initialize(
        chance=st.randoms(use_true_random=False),
        disorder_units=st.sampled_from([4, 25, 60]),
        ids=st.integers(1, 4),
        is_contested=st.booleans(),
        is_revealed=st.booleans(),
        is_added=st.booleans(),
        class_limit=st.sampled_from([1, 2, 3, 200]),
        keep_windows_ms=st.sampled_from([FOREVER_MS, FOREVER_MS, 10 * UNIT_MS]),
    )
    def begin(
        self,
        *,
        chance: random.Random,
        disorder_units: int,
        ids: int,
        is_contested: bool,
        is_revealed: bool,
        is_added: bool,
        class_limit: int,
        keep_windows_ms: int,
    ) -> None:
        models = draw_models(chance)
        log = draw_history(chance, models, ids=ids, disorder_ms=disorder_units * UNIT_MS, contested=is_contested)
        self.keep_windows_ms = keep_windows_ms
        self.sent_when_kept = self.sent_when_rolled_back = 0
        self.drain_seed = chance.randrange(1000)
        self._client = Redis.from_url(self.server.unix_url)
        self.sides = SideBySide(
            both_ledgers(self._client, keep_windows_ms=keep_windows_ms),
            Packer(models, log, SHARDS),
            revealed=is_revealed,
            added=[chance.choice(list(log))] if is_added else [],
            class_limit=class_limit,
        )
        self._do("begin", self._start)

    async def _start(self) -> None:
        await self._client.flushall()
        await self.sides.start()

    def _do(self, name: str, step: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.steps_done[name] += 1
        self._runner.run(step())

    def _sources(self, indices: Sequence[int]) -> Iterator[Source]:
        return (self.sides.sources[index % len(self.sides.sources)] for index in indices)

    # Logs ---------------------------------------------------------------------------------------------------------

    @rule(index=st.integers(0, 3), count=st.integers(1, 6))
    def records_are_written(self, index: int, count: int) -> None:
        self.steps_done["write"] += 1
        self.sides.reveal(list(self.sides.log)[index], count)

    @precondition(lambda self: len(self.sides.sources) < len(self.sides.log))
    @rule()
    def a_partition_is_added(self) -> None:
        self.steps_done["add"] += 1
        self.sides.add()

    # Workers ------------------------------------------------------------------------------------------------------

    @rule(index=anything, order=st.permutations(range(SHARDS)), length=lengths, limit=limits)
    def every_shard_reads(self, index: int, order: Sequence[int], length: int, limit: int) -> None:
        self._do("read", lambda: self._read(index, order, length, limit))

    @rule(index=anything, shard=shards, length=lengths, limit=limits)
    def a_reply_is_lost(self, index: int, shard: int, length: int, limit: int) -> None:
        self._do("lost reply", lambda: self._read(index, [shard], length, limit, is_lost=True))

    @rule(index=anything, shard=shards, length=lengths, limit=limits)
    def a_worker_crashes_between_shards(self, index: int, shard: int, length: int, limit: int) -> None:
        self._do("crash", lambda: self._read(index, [shard], length, limit))
        self.sides.restart()

    async def _read(self, index: int, order: Sequence[int], length: int, limit: int, *, is_lost: bool = False) -> None:
        (source,) = self._sources([index])
        for shard in order:
            await self.sides.read(shard, source, length=length, forget_limit=limit, is_lost=is_lost)

    @rule(shard=shards, indices=st.lists(st.tuples(anything, lengths), min_size=2, max_size=5), limit=limits)
    def one_commit_carries_several_parts(self, shard: int, indices: list[tuple[int, int]], limit: int) -> None:
        parts: list[Part] = []
        for source, (_, length) in zip(self._sources([index for index, _ in indices]), indices, strict=True):
            before = [part.next for part in parts if part.source == source]
            parts.append(self.sides.next_part(shard, source, length=length, expected=before[-1] if before else None))
        self._do("several parts", lambda: self.sides.commit(shard, parts, forget_limit=limit))

    @precondition(lambda self: self.sides.sent)
    @rule(index=anything)
    def a_zombie_sends_an_old_commit(self, index: int) -> None:
        self._do("zombie", lambda: self.sides.send(self.sides.sent[index % len(self.sides.sent)]))

    @precondition(lambda self: self.sides.at_end())
    @rule(shard=shards, which=st.lists(anything, min_size=1, max_size=3), limit=limits)
    def idle_partitions_are_raised(self, shard: int, which: list[int], limit: int) -> None:
        at_end = self.sides.at_end()
        idle = {at_end[index % len(at_end)] for index in which}
        self._do("raise", lambda: self.sides.raise_idle(shard, sorted(idle), forget_limit=limit))

    @rule(shard=shards, limit=st.integers(1, 4))
    def what_is_overdue_is_forgotten(self, shard: int, limit: int) -> None:
        self._do("forget", lambda: self.sides.forget(shard, limit=limit))

    @rule(shard=shards)
    def reports_are_published(self, shard: int) -> None:
        self._do("report", lambda: self.sides.report(shard))

    # Store --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.sides.sent) > self.sent_when_kept)
    @rule(place=places)
    def a_moment_is_kept(self, place: int) -> None:
        self.sent_when_kept = len(self.sides.sent)
        self._do("snapshot", lambda: self.sides.snapshot(place))

    @precondition(lambda self: len(self.sides.sent) > self.sent_when_rolled_back + 3)
    @rule(place=places, index=anything)
    def the_store_goes_back_to_a_kept_moment(self, place: int, index: int) -> None:
        self.sent_when_rolled_back = len(self.sides.sent)
        self._do("rollback", lambda: self.sides.roll_back(place, index % len(self.sides.snapshots[place])))

    def teardown(self) -> None:
        try:
            if hasattr(self, "sides"):
                self._runner.run(self._end())
        finally:
            self._runner.close()

    async def _end(self) -> None:
        try:
            self.steps_done["drain"] += await self.sides.drain(random.Random(self.drain_seed))
            await self.sides.close()
            if self.keep_windows_ms == FOREVER_MS:
                self.steps_done["ids compared"] += await self.sides.check_outcome()
            left: list[Any] = await self._client.keys("*")
            assert not [key for key in left if b":entries" in key or b":overdue" in key]
        finally:
            await self._client.aclose()


def run_machine(server: RedisServer, *, histories: int, first_seed: int) -> collections.Counter[str]:
    """Run many histories; returns how often each kind of step was taken."""
    LedgerMachine.server = server
    LedgerMachine.steps_done = collections.Counter()
    run_state_machine_as_test(
        seed(first_seed)(LedgerMachine),
        settings=settings(
            max_examples=histories,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return LedgerMachine.steps_done


def report(done: collections.Counter[str], *, first_seed: int, seconds: float) -> int:
    """Print what was done; returns the number of steps that were drawn."""
    drawn = done.total() - done["begin"] - done["drain"] - done["ids compared"]
    kinds = ", ".join(f"{name} {count:,}" for name, count in sorted(done.items()))
    print(f"\nledger machine: {drawn:,} steps, seed {first_seed}, {seconds:.0f} s ({kinds})")
    return drawn


@pytest.mark.timeout(600)
def test_redis_and_reference_agree_after_every_step_of_ten_thousand(
    fresh_redis: RedisServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_counts, "LOG_BYTES", 200)  # so that pairs are put into the sums now and then
    started = time.monotonic()
    done = run_machine(fresh_redis, histories=HISTORIES, first_seed=CI_SEED)
    with capsys.disabled():
        drawn = report(done, first_seed=CI_SEED, seconds=time.monotonic() - started)
    assert drawn >= LEAST_STEPS
    assert done["ids compared"] > HISTORIES


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_redis_and_reference_agree_for_minutes(fresh_redis: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    first_seed = int(os.environ.get("SOAK_SEED", time.time_ns() // 1_000_000_000))
    started = time.monotonic()
    while (seconds := time.monotonic() - started) < float(os.environ.get("SOAK_SECONDS", "300")):
        with capsys.disabled():
            print(f"\nledger machine: SOAK_SEED={first_seed}, {seconds:.0f} s")
        done = run_machine(fresh_redis, histories=HISTORIES, first_seed=first_seed)
        with capsys.disabled():
            report(done, first_seed=first_seed, seconds=time.monotonic() - started - seconds)
        first_seed += 1


# Cases that were found, in few words -------------------------------------------------------------------------------


@pytest.fixture
async def client(fresh_redis: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(fresh_redis.unix_url) as client:
        yield client


async def test_names_of_a_zombie_do_not_widen_a_full_list(client: Redis) -> None:
    """Two registries decided differently, because one of them was lost: what is counted as other stays so."""
    predictions, labels = Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 0)
    answers = {("a", "x"), ("f", "x"), ("b", "y"), ("c", "y"), ("d", "y"), ("e", "y")}
    log: Log = {
        predictions: [Prediction(request_id, "A", START_MS, text) for request_id, text in sorted(answers)],
        labels: [Label(request_id, START_MS, text) for request_id, text in sorted(answers)],
    }
    models = draw_models(random.Random(0))
    sides = SideBySide(both_ledgers(client), Packer(models, log, SHARDS), class_limit=1)
    await sides.start()
    lists = {registry_group("classes", "A"): NameList((class_hash("y"),), full=True)}
    for shard in range(SHARDS):
        await sides.read(shard, predictions, length=6, forget_limit=0)
        stale = sides.packer.part(shard, predictions, expected=0, next_offset=6)
        await sides.send(Commit(shard, (stale,), Definitions(name_lists=lists)))
        await sides.read(shard, labels, length=6, forget_limit=0)
    await sides.close()
    assert await sides.check_outcome() == len(answers)
