"""Real workers that are killed, frozen and moved while they count: every figure must be right afterwards.

Each test ends alike: the traffic stops, one worker counts the rest and closes all windows, and a recount of the
topics by code of its own must agree with every cell, every total, every last report and every dead letter.
`make soak` runs the same faults for minutes, at random, and prints the seed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.servers import KafkaServer, RedisServer
from tests.support.chaos import faults
from tests.support.chaos.arena import arena
from tests.support.chaos.faults import ORDINARY_SESSION_SECONDS
from tests.support.chaos.judging import Judged

pytestmark = [pytest.mark.calm, pytest.mark.timeout(240)]

MOVING_SECONDS = 15.0


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


@pytest.mark.alone
def test_worker_killed_anywhere_is_replaced_within_the_session_timeout_and_five_seconds(judged: Judged) -> None:
    with judged(is_breakable=False) as run:
        faults.kill_somewhere(run, session_seconds=ORDINARY_SESSION_SECONDS)


def test_frozen_worker_that_wakes_up_as_a_zombie_changes_no_count(judged: Judged) -> None:
    with judged() as run:
        faults.freeze_before_a_commit(run, 0)
        faults.freeze_somewhere(run)


def test_workers_that_come_and_go_every_two_seconds_count_everything_once(judged: Judged) -> None:
    with judged(workers=3) as run:
        faults.move_workers(run, seconds=MOVING_SECONDS)


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
