"""Real workers whose Kafka and Redis are stopped, killed, cut and emptied while they count: no figure may be wrong."""

from __future__ import annotations

import pytest

from deploy.servers import RedisServer
from tests.support.chaos import faults
from tests.support.chaos.judging import Judged, behind_a_proxy

pytestmark = [pytest.mark.calm, pytest.mark.timeout(240)]

REDIS_AWAY_SECONDS = 60.0
BROKER_AWAY_SECONDS = 10.0


def test_broker_that_is_stopped_and_then_killed_costs_no_record(judged: Judged) -> None:
    with judged() as run:
        faults.stop_the_broker(run)
        faults.kill_the_broker(run)


def test_redis_that_is_killed_again_and_again_loses_no_count_for_good(judged: Judged) -> None:
    with judged() as run:
        for _ in range(3):
            faults.kill_redis(run)


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_workers_ride_out_a_minute_without_redis_and_a_while_without_the_broker_in_little_memory_and_few_lines(
    judged: Judged, store: RedisServer
) -> None:
    with behind_a_proxy(judged, store) as (run, proxy):
        faults.leave_redis_away(run, proxy, seconds=REDIS_AWAY_SECONDS)
        faults.leave_the_broker_away(run, seconds=BROKER_AWAY_SECONDS)
    assert 1 == run.workers.ended.total(), "nobody ends but the one that was killed"


def test_redis_whose_log_is_cut_at_a_random_byte_twice_in_a_row_is_healed_from_kafka(judged: Judged) -> None:
    with judged(readings=3) as run:
        faults.cut_the_log_of_redis_twice(run)


def test_redis_that_was_emptied_is_rebuilt_by_the_operator_from_kafka(judged: Judged) -> None:
    with judged(readings=2) as run:
        faults.empty_redis_and_rebuild(run)
