"""`make soak`: the faults of the tests of chaos for minutes, one again and again or all at random; prints the seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from deploy.servers import RedisServer
from tests.support.chaos import faults
from tests.support.chaos.arena import Arena
from tests.support.chaos.judging import Judged, behind_a_proxy

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

SOAK_SECONDS = 60.0
MIXED_SOAK_SECONDS = 180.0
REDIS_AWAY_SOAK_SECONDS = 600.0

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


@pytest.mark.parametrize("name", SOAKS)
def test_a_minute_of_one_fault_again_and_again_changes_no_count(name: str, seed: int, judged: Judged) -> None:
    fault, options = SOAKS[name]
    with judged(seconds=SOAK_SECONDS, seed=seed, **options) as run:
        until = time.monotonic() + SOAK_SECONDS
        while time.monotonic() < until:
            fault(run)


def test_minutes_of_all_faults_at_random_change_no_count(seed: int, judged: Judged) -> None:
    chosen = [fault for name, (fault, _) in SOAKS.items() if name != "rebalance storm"]
    with judged(seconds=MIXED_SOAK_SECONDS, seed=seed, readings=200, per_second=400) as run:
        until = time.monotonic() + MIXED_SOAK_SECONDS
        while time.monotonic() < until:
            run.rng.choice(chosen)(run)


def test_ten_minutes_without_redis_change_no_count(seed: int, judged: Judged, store: RedisServer) -> None:
    with behind_a_proxy(judged, store, seed=seed) as (run, proxy):
        faults.leave_redis_away(run, proxy, seconds=REDIS_AWAY_SOAK_SECONDS)
