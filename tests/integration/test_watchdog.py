"""Workers of which a part is stuck, on the real Kafka and Redis: they end and say why. Outages are no reason to."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from deploy.servers import KafkaServer, RedisServer
from tests.support.stuck_worker import LOOP_SECONDS, OFFSET_SECONDS, THREAD_SECONDS
from tests.support.traffic import draw_traffic, produce
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker


def stuck_worker(installation: Installation, part: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """A worker with a watchdog of little patience."""
    return worker(installation, program="tests.support.stuck_worker", STUCK_PART=part)


def prepared(folder: Path, *, kafka: KafkaServer, redis: RedisServer) -> Installation:
    """An installation with something to read in every partition."""
    installation = Installation(folder, brokers=kafka.address, redis_url=redis.url, partitions=1)
    installation.create_topics()
    send(installation, count=200)
    return installation


def send(installation: Installation, *, count: int) -> None:
    traffic = draw_traffic(count, count=count, until_ms=int(time.time() * 1000))
    for role, records in (("predictions", traffic.predictions), ("labels", traffic.labels)):
        produce(installation.brokers, installation.topics[role], records, partitions=1)


def records_read(installation: Installation) -> int:
    _, fates = asyncio.run(installation.counts())
    return fates.get("predictions:read", 0) + fates.get("labels:read", 0)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("thread", f"the consumer's thread has not answered for {THREAD_SECONDS:g} s"),
        ("fetch", f"/0 has stood at offset 0 for {OFFSET_SECONDS:g} s with "),
        ("loop", f"the event loop has not turned for {LOOP_SECONDS:g} s"),
    ],
)
def test_a_worker_of_which_a_part_is_stuck_ends_and_says_why(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer, part: str, reason: str
) -> None:
    installation = prepared(tmp_path, kafka=kafka, redis=redis_server)
    with stuck_worker(installation, part) as process:
        code, log = finish(process)
    assert 1 == code, log
    assert 1 == log.count(reason), log


@pytest.mark.timeout(120)
def test_a_worker_rides_out_an_outage_of_redis_longer_than_its_watchdogs_patience(
    tmp_path: Path, kafka: KafkaServer
) -> None:
    with RedisServer() as redis:
        installation = prepared(tmp_path, kafka=kafka, redis=redis)
        with stuck_worker(installation, "none") as process:
            wait_until(lambda: records_read(installation) > 0, what="the first record")
            before = records_read(installation)
            redis.stop()  # it writes what it holds
            send(installation, count=201)
            lasts_until = time.monotonic() + 2 * OFFSET_SECONDS
            wait_until(lambda: time.monotonic() > lasts_until, what="an outage that is long enough")
            assert None is process.poll()
            redis.restart()
            wait_until(lambda: records_read(installation) > before + 200, what="records that came meanwhile")
            process.send_signal(signal.SIGTERM)
            code, log = finish(process)
        assert 0 == code, log
