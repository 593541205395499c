"""Real workers on a real Kafka and Redis, broken while they count: every figure must be right afterwards.

Each test ends alike: the traffic stops, one worker counts the rest and closes all windows, and a recount of the
topics by code of its own must agree with every cell, every total, every last report and every dead letter.
`make soak` runs the same faults for minutes, at random, and prints the seed.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.servers import KafkaServer, RedisServer
from tests.support.chaos import faults
from tests.support.chaos.arena import Arena, arena
from tests.support.chaos.faults import ORDINARY_SESSION_SECONDS

pytestmark = pytest.mark.timeout(240)

TRAFFIC_SECONDS = 15.0
SOAK_SECONDS = 60.0
RSS_BYTES = 300 * 2**20

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
    """A run of at least `seconds` that ends with the verdict, which must find nothing."""

    @contextlib.contextmanager
    def judged(seconds: float = TRAFFIC_SECONDS, *, seed: int = 1, **options: Any) -> Iterator[Arena]:
        with arena(broker.start(), store, tmp_path, seed=seed, **options) as run:
            began = time.monotonic()
            yield run
            remaining = began + seconds - time.monotonic()
            if remaining > 0:
                time.sleep(remaining)
            run.end()
        verdict = run.judge()
        assert {} == verdict.differences
        assert [] == run.workers.surprises
        assert run.workers.peak_rss_bytes < RSS_BYTES

    return judged


def test_undisturbed_workers_count_everything_once(judged: Judged) -> None:
    with judged() as run:
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


def test_redis_whose_log_is_cut_at_a_random_byte_twice_in_a_row_is_healed_from_kafka(judged: Judged) -> None:
    with judged() as run:
        faults.cut_the_log_of_redis_twice(run)


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
    print(f"    {len(verdict.differences)} differences, as it must be: {dict(verdict.differences)}")
    assert {} != verdict.differences
