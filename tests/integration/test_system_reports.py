"""Workers that report on themselves, on a real Kafka and a real Redis: numbered, continued after a kill, and judged."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from agents.redis_workers import HELD_MS, RedisWorkers
from deploy.server_process import free_port
from deploy.servers import KafkaServer, RedisServer
from schemas.alert import Alert, read_alert
from schemas.system_report import SystemReport
from tests.support.publishing import FakeClock
from tests.support.redis_ledgers import connected
from tests.support.services import unique_name
from tests.support.topics import read_topic
from tests.support.traffic import draw_traffic, produce
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

ROOT = Path(__file__).resolve().parents[2]
RULES = """\
groups:
  - name: system
    rules:
      - alert: Waiting
        when: {metric: waiting_predictions, segment: {worker: "*"}, window: 5m, status: [open, final], op: ">",
               value: 0, confidence: none, min_samples: 1}
"""


class Numbers:
    """Numbers of workers on a Redis, by a clock that is moved."""

    def __init__(self, workers: RedisWorkers, clock: FakeClock) -> None:
        self.workers = workers
        self.clock = clock


@pytest.fixture
async def numbers(redis_server: RedisServer) -> AsyncIterator[Numbers]:
    clock = FakeClock(1_795_435_200_000)
    async with connected(redis_server.url) as client:
        yield Numbers(RedisWorkers(client, address="redis", prefix=unique_name("numbers"), clock=clock), clock)


async def test_workers_side_by_side_have_the_lowest_numbers_and_keep_them(numbers: Numbers) -> None:
    ask = numbers.workers.number
    for _ in range(3):
        assert [1, 2, 3] == [await ask(address) for address in ("a:6066", "b:6066", "a:6067")]
        numbers.clock.wall_ms += HELD_MS // 2


async def test_number_that_was_let_go_or_not_asked_for_in_time_is_given_to_the_next(numbers: Numbers) -> None:
    ask = numbers.workers.number
    assert [1, 2] == [await ask(address) for address in ("a:1", "b:1")]
    await numbers.workers.let_go("a:1")
    assert 1 == await ask("c:1")
    numbers.clock.wall_ms += HELD_MS
    assert 1 == await ask("c:1")
    assert [2, 3] == [await ask(address) for address in ("d:1", "b:1")]


async def test_who_comes_back_to_its_address_has_its_number_however_late(numbers: Numbers) -> None:
    assert [1, 2] == [await numbers.workers.number(address) for address in ("a:1", "b:1")]
    numbers.clock.wall_ms += 100 * HELD_MS
    assert 2 == await numbers.workers.number("b:1")


async def test_workers_that_ask_at_once_get_different_numbers(numbers: Numbers) -> None:
    given = await asyncio.gather(*(numbers.workers.number(f"pod-{number}:1") for number in range(20)))
    assert list(range(1, 21)) == sorted(given)


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "latelabel.yaml").write_text("rule_files: [rules.yaml]\n")
    return installation


def reports(installation: Installation) -> list[SystemReport]:
    """All reports of workers, in order; their keys and content ids are as the contract says."""
    found = []
    for key, value in read_topic(installation.brokers, installation.topics["metrics"]):
        if (key or b"").startswith(b'["system",'):
            report = msgspec.json.decode(value or b"", type=SystemReport)
            window = report.window
            assert ["system", "", "", report.segment, window.size_seconds, window.start] == json.loads(key or b"")
            found.append(report)
    return found


def starts(installation: Installation) -> float:
    """How often a worker was started, by the last reports on five minutes; a test may run over the end of some."""
    # The older a window, the longer the pause between its reports: on an hour, up to half a minute.
    last = {each.window.start: each for each in reports(installation) if each.window.size_seconds == 300}
    return sum(each.metrics["worker_starts"].value or 0 for each in last.values())


def said(installation: Installation) -> list[Alert]:
    alerts = [read_alert(value) for _, value in read_topic(installation.brokers, installation.topics["alerts"])]
    return [alert for alert in alerts if alert.name == "Waiting"]


@pytest.mark.timeout(600)
def test_worker_reports_on_itself_and_a_kill_loses_no_more_than_a_look(installation: Installation) -> None:
    traffic = draw_traffic(11, count=500, until_ms=int(time.time() * 1000))
    for role, records in (("predictions", traffic.predictions), ("labels", traffic.labels)):
        produce(installation.brokers, installation.topics[role], records, partitions=installation.partitions)
    read = {
        installation.topics["predictions"]: len(traffic.predictions),
        installation.topics["labels"]: len(traffic.labels),
    }

    def has_counted_all() -> bool:
        return any({topic: report.fates[topic]["read"] for topic in read} == read for report in reports(installation))

    address = {"LATELABEL_WEB__PORT": str(free_port())}
    with worker(installation, **address) as process:
        wait_until(has_counted_all, what="a report on everything", seconds=200)
        wait_until(lambda: bool(said(installation)), what="an alert", seconds=100)
        process.send_signal(signal.SIGKILL)
    with worker(installation, **address) as process:
        wait_until(lambda: 2 == starts(installation), what="a report of the next worker", seconds=200)
        shown = subprocess.run(
            [sys.executable, "-m", "agents", "show", "--system"],
            cwd=installation.folder,
            env={**installation.environment, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        process.send_signal(signal.SIGTERM)
        assert 0 == finish(process)[0]

    every = reports(installation)
    for report in every:
        assert ({"worker": "1"}, ()) == (report.segment, report.violations)
        for fates in report.fates.values():
            assert fates["read"] == sum(count for name, count in fates.items() if name != "read")
    assert len(every) == len({(each.window.start, each.window.size_seconds, each.event_id) for each in every})
    assert 2 == starts(installation)
    largest = max(each.metrics["worker_memory_bytes"].value or 0 for each in every)
    assert 30e6 < largest < 1e9
    labels = {"alertname": "Waiting", "worker": "1", "severity": "warning", "rule": "waiting_predictions-5m"}
    assert labels == said(installation)[0].labels
    assert "every record that was read has exactly one fate\n" in shown
    assert "worker 1 at " in shown
