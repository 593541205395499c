"""Real workers on a real Kafka and Redis, broken while they count: every figure must be right afterwards.

Each test ends alike: the traffic stops, one worker counts the rest and closes all windows, and a recount of the
topics by code of its own must agree with every cell, every total, every last report and every dead letter.
`make soak` runs the same faults for minutes, at random, and prints the seed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.servers import KafkaServer, RedisServer
from tests.support.chaos import faults
from tests.support.chaos.arena import Arena, arena
from tests.support.chaos.faults import ORDINARY_SESSION_SECONDS
from tests.support.proxy import Proxy, proxy_in_a_thread

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]

TRAFFIC_SECONDS = 15.0
REDIS_AWAY_SECONDS = 60.0
BROKER_AWAY_SECONDS = 10.0
SOAK_SECONDS = 60.0
MIXED_SOAK_SECONDS = 180.0
REDIS_AWAY_SOAK_SECONDS = 600.0
BUSY_PER_SECOND = 2_500
"""Requests; with their labels about 5,000 records."""
RSS_BYTES = 300 * 2**20

REPEATED_REPORTS = 150
"""Per disturbance: about as many reports as one round of evaluation revises."""
REPEATED_LETTERS = 150
"""Per disturbance: one record in a hundred of the batches that may be in flight, or wait for a broker."""

Judged = Callable[..., contextlib.AbstractContextManager[Arena]]


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaServer]:
    """A broker that may be broken: not the session's."""
    with KafkaServer() as server:
        yield server


@pytest.fixture
def store() -> Iterator[RedisServer]:
    """A Redis that may be broken, and is empty."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def judged(broker: KafkaServer, store: RedisServer, tmp_path: Path) -> Judged:
    """A run of at least `seconds` that ends with the verdict, which must find nothing.

    `readings` is how often the whole log may be read: once, and once more for each time the store lost its past.
    """

    @contextlib.contextmanager
    def judged(
        *, seconds: float = TRAFFIC_SECONDS, seed: int = 1, readings: int = 1, **options: Any
    ) -> Iterator[Arena]:
        with arena(broker.start(), store.start(), tmp_path, seed=seed, **options) as run:
            began = time.monotonic()
            yield run
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            run.end()
        verdict = run.judge()
        assert {} == verdict.differences
        assert [] == run.workers.surprises
        assert [] == [line for slot in run.workers.slots for line in _forgotten_tasks(run.workers.log(slot))]
        assert run.workers.peak_rss_bytes < RSS_BYTES
        again = readings - 1
        assert verdict.repeated_reports <= run.disturbances * REPEATED_REPORTS + again * verdict.distinct_reports
        assert verdict.repeated_letters <= run.disturbances * REPEATED_LETTERS + again * verdict.distinct_letters

    return judged


def _forgotten_tasks(log: str) -> Iterator[str]:
    """What asyncio says of tasks that nobody waited for."""
    return (line for line in log.splitlines() if "was destroyed" in line or "never retrieved" in line)


def test_undisturbed_workers_count_everything_once(judged: Judged) -> None:
    with judged(seconds=5.0) as run:
        pass
    assert 0 == run.workers.ended.total()


def test_workers_killed_at_any_named_point_leave_no_trace_in_the_counts(judged: Judged) -> None:
    with judged() as run:
        faults.kill_at(run, {0: "after fetch", 1: "between shards"})
        faults.kill_at(run, {0: "before reply", 1: "after reply"})
        faults.kill_at(run, {0: "after dead letters", 1: "before dead letters"})
        faults.kill_a_publisher(run, "before publish")


def test_worker_killed_anywhere_is_replaced_within_the_session_timeout_and_five_seconds(judged: Judged) -> None:
    with judged(is_breakable=False) as run:
        faults.kill_somewhere(run, session_seconds=ORDINARY_SESSION_SECONDS)


def test_frozen_worker_that_wakes_up_as_a_zombie_changes_no_count(judged: Judged) -> None:
    with judged() as run:
        faults.freeze_before_a_commit(run, 0)
        faults.freeze_somewhere(run)


def test_broker_that_is_stopped_and_then_killed_costs_no_record(judged: Judged) -> None:
    with judged() as run:
        faults.stop_the_broker(run)
        faults.kill_the_broker(run)


def test_redis_that_is_killed_again_and_again_loses_no_count_for_good(judged: Judged) -> None:
    with judged() as run:
        for _ in range(3):
            faults.kill_redis(run)


@pytest.mark.timeout(400)
def test_workers_ride_out_a_minute_without_redis_and_a_while_without_the_broker_in_little_memory_and_few_lines(
    judged: Judged, store: RedisServer
) -> None:
    with _behind_a_proxy(judged, store) as (run, proxy):
        faults.leave_redis_away(run, proxy, seconds=REDIS_AWAY_SECONDS)
        faults.leave_the_broker_away(run, seconds=BROKER_AWAY_SECONDS)
    assert 1 == run.workers.ended.total(), "nobody ends but the one that was killed"


@contextlib.contextmanager
def _behind_a_proxy(judged: Judged, store: RedisServer, **options: Any) -> Iterator[tuple[Arena, Proxy]]:
    """Much traffic and three ordinary workers, the second of which reaches Redis through a proxy."""
    options |= {"per_second": BUSY_PER_SECOND, "is_breakable": False, "workers": 3}
    with (
        proxy_in_a_thread(store.address) as proxy,
        judged(redis_urls=[store.url, f"redis://{proxy.address}/0", store.url], **options) as run,
    ):
        yield run, proxy


def test_redis_whose_log_is_cut_at_a_random_byte_twice_in_a_row_is_healed_from_kafka(judged: Judged) -> None:
    with judged(readings=3) as run:
        faults.cut_the_log_of_redis_twice(run)


def test_redis_that_was_emptied_is_rebuilt_by_the_operator_from_kafka(judged: Judged) -> None:
    with judged(readings=2) as run:
        faults.empty_redis_and_rebuild(run)


def test_workers_that_come_and_go_every_two_seconds_count_everything_once(judged: Judged) -> None:
    with judged(workers=3) as run:
        faults.move_workers(run, seconds=TRAFFIC_SECONDS)


def test_recount_notices_when_the_compare_and_set_is_switched_off(
    broker: KafkaServer, store: RedisServer, tmp_path: Path
) -> None:
    with arena(broker.start(), store, tmp_path, seed=1, is_blind=True) as run:
        for slot in run.workers.slots:
            faults.freeze_before_a_commit(run, slot)
        run.end()
    verdict = run.judge()
    print(f"    caught, as it must be: {dict(verdict.totals)}")
    assert {} != verdict.totals


# --- make soak --------------------------------------------------------------------------------------------------------

SOAKS: dict[str, tuple[Callable[[Arena], object], dict[str, Any]]] = {
    "kill -9 at named points": (faults.kill_at_some_points, {}),
    "kill -9 anywhere": (faults.kill_somewhere, {}),
    "zombies": (faults.freeze_somewhere, {}),
    "broker stopped": (faults.stop_the_broker, {}),
    "broker killed": (faults.kill_the_broker, {}),
    "Redis killed": (faults.kill_redis, {}),
    "Redis cut twice": (faults.cut_the_log_of_redis_twice, {"readings": 20}),
    "Redis emptied": (faults.empty_redis_and_rebuild, {"readings": 20}),
    "rebalance storm": (lambda run: faults.move_workers(run, seconds=SOAK_SECONDS), {"workers": 3}),
}


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Of this session; `pytest -m soak --randomly-seed=N` does the same again."""
    seed: int = request.config.getoption("randomly_seed")
    print(f"    --randomly-seed={seed}")
    return seed


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", SOAKS)
def test_a_minute_of_one_fault_again_and_again_changes_no_count(name: str, seed: int, judged: Judged) -> None:
    fault, options = SOAKS[name]
    with judged(seconds=SOAK_SECONDS, seed=seed, **options) as run:
        until = time.monotonic() + SOAK_SECONDS
        while time.monotonic() < until:
            fault(run)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_minutes_of_all_faults_at_random_change_no_count(seed: int, judged: Judged) -> None:
    chosen = [fault for name, (fault, _) in SOAKS.items() if name != "rebalance storm"]
    with judged(seconds=MIXED_SOAK_SECONDS, seed=seed, readings=200, per_second=400) as run:
        until = time.monotonic() + MIXED_SOAK_SECONDS
        while time.monotonic() < until:
            run.rng.choice(chosen)(run)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_ten_minutes_without_redis_change_no_count(seed: int, judged: Judged, store: RedisServer) -> None:
    with _behind_a_proxy(judged, store, seed=seed) as (run, proxy):
        faults.leave_redis_away(run, proxy, seconds=REDIS_AWAY_SOAK_SECONDS)
