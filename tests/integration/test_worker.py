"""Workers as processes on the real Kafka and Redis: whatever happens to them, the recount is equal."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from deploy.servers import KafkaServer, RedisServer
from tests.support.topics import read_topic
from tests.support.traffic import POISON_RECORDS, Traffic, draw_traffic, produce
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

CAUGHT_UP = ("--until-caught-up", "--close")


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    return installation


def send(installation: Installation, traffic: Traffic) -> None:
    for role, records in (("predictions", traffic.predictions), ("labels", traffic.labels)):
        produce(installation.brokers, installation.topics[role], records, partitions=installation.partitions)


def draw(seed: int, *, count: int) -> Traffic:
    return draw_traffic(seed, count=count, until_ms=int(time.time() * 1000))


def records_read(installation: Installation) -> int:
    """How many records the ledger has taken in."""
    _, fates = asyncio.run(installation.counts())
    return fates.get("predictions:read", 0) + fates.get("labels:read", 0)


async def test_a_backlog_with_poison_ends_in_equal_cells(installation: Installation) -> None:
    traffic = draw(1, count=2000)
    send(installation, traffic)
    with worker(installation, *CAUGHT_UP) as process:
        code, log = finish(process)
    assert 0 == code, log
    cells, fates = await installation.counts()
    assert traffic.cells == cells
    assert len(traffic.predictions) == fates["predictions:read"]
    assert len(traffic.labels) == fates["labels:read"]
    assert traffic.poison == fates["predictions:rejected"] + fates["labels:rejected"]
    for role in ("predictions", "labels"):
        of_role = [count for fate, count in fates.items() if fate.startswith(f"{role}:") and not fate.endswith(":read")]
        assert fates[f"{role}:read"] == sum(of_role)
    letters = [value for _, value in read_topic(installation.brokers, installation.topics["dead_letters"])]
    assert traffic.poison == len(letters)
    assert set(letters) <= set(POISON_RECORDS)
    assert [] == list(installation.folder.iterdir())
    assert len(log.splitlines()) < 10, log


async def test_closing_makes_the_reports_of_all_windows_final_that_have_ended(installation: Installation) -> None:
    traffic = draw(2, count=50)
    send(installation, traffic)
    with worker(installation, *CAUGHT_UP) as process:
        code, log = finish(process)
    assert 0 == code, log
    newest: dict[bytes | None, dict[str, Any]] = {}
    for key, value in read_topic(installation.brokers, installation.topics["metrics"]):
        newest[key] = json.loads(value or b"{}")
    last_start = max(start for _, start, _, _ in traffic.cells)
    ended = [report for report in newest.values() if report["window"]["end"] <= last_start]
    assert {"final"} == {report["status"] for report in ended}


@pytest.mark.timeout(240)
async def test_a_worker_killed_half_way_is_continued_by_the_next(installation: Installation) -> None:
    traffic = draw(3, count=20_000)
    send(installation, traffic)
    with worker(installation) as process:
        await asyncio.to_thread(wait_until, lambda: records_read(installation) > 0, what="the first record")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 0 < await asyncio.to_thread(records_read, installation) < len(traffic.predictions) + len(traffic.labels)
    with worker(installation, *CAUGHT_UP) as process:
        code, log = finish(process)
    assert 0 == code, log
    cells, fates = await installation.counts()
    assert traffic.cells == cells
    assert len(traffic.predictions) + len(traffic.labels) == fates["predictions:read"] + fates["labels:read"]


@pytest.mark.timeout(240)
async def test_two_workers_share_the_partitions(installation: Installation) -> None:
    traffic = draw(4, count=4_000)
    with worker(installation) as first, worker(installation) as second:
        send(installation, traffic)
        with worker(installation, "--until-caught-up") as third:
            code, log = finish(third)
        assert 0 == code, log
        for process in (first, second):
            process.send_signal(signal.SIGTERM)
        assert [0, 0] == [finish(process)[0] for process in (first, second)]
    cells, _ = await installation.counts()
    assert traffic.cells == cells


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_worker_stops_within_ten_seconds(
    installation: Installation, number: signal.Signals, expected: int
) -> None:
    send(installation, draw(5, count=100))
    with worker(installation) as process:
        await asyncio.to_thread(wait_until, lambda: records_read(installation) > 0, what="the first record")
        process.send_signal(number)
        code, log = finish(process, seconds=10)
    assert expected == code, log


async def test_an_empty_backlog_is_caught_up_with(installation: Installation) -> None:
    with worker(installation, *CAUGHT_UP) as process:
        code, log = finish(process)
    assert 0 == code, log


async def test_missing_topics_are_named_with_the_remedy(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    with worker(installation) as process:
        code, log = finish(process)
    assert 1 == code
    assert "latelabel topics create" in log


async def test_an_emptied_redis_is_not_counted_into_again(installation: Installation) -> None:
    send(installation, draw(6, count=100))
    with worker(installation, *CAUGHT_UP) as process:
        assert 0 == finish(process)[0]
    with Redis.from_url(installation.redis_url) as client:
        client.delete(*client.keys(f"*{installation.name}*"))
    with worker(installation) as process:
        code, log = finish(process)
    assert 1 == code
    assert "latelabel init --rebuild" in log


async def test_closing_is_refused_while_another_worker_goes_on(installation: Installation) -> None:
    send(installation, draw(7, count=100))
    with worker(installation) as other:
        await asyncio.to_thread(wait_until, lambda: records_read(installation) > 0, what="the first record")
        with worker(installation, *CAUGHT_UP) as closing:
            code, log = finish(closing)
        other.send_signal(signal.SIGTERM)
        assert (0, 1) == (finish(other)[0], code), log
        assert "another worker of this group runs without --close" in log


async def test_two_workers_close_together(installation: Installation) -> None:
    traffic = draw(8, count=1000)
    send(installation, traffic)
    with worker(installation, *CAUGHT_UP) as first, worker(installation, *CAUGHT_UP) as second:
        ends = await asyncio.gather(asyncio.to_thread(finish, first), asyncio.to_thread(finish, second))
    assert [0, 0] == [code for code, _ in ends], ends
    cells, _ = await installation.counts()
    assert traffic.cells == cells
