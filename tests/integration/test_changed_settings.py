"""What becomes of a changed configuration: at a restart, on SIGHUP, and with another version of the ledger."""

from __future__ import annotations

import asyncio
import re
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from deploy.server_process import free_port
from deploy.servers import KafkaServer, RedisServer
from streams.ledger.founding import FORMAT
from tests.support.configured import Configured
from tests.support.traffic import Traffic, draw_traffic
from tests.support.waiting import wait_until
from tests.support.workers import finish, worker

CAUGHT_UP = ("--until-caught-up", "--close")


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Configured:
    return Configured.within(tmp_path, brokers=kafka.address, redis_url=redis_server.url)


def draw(seed: int, *, count: int = 200, hours_ago: int = 0) -> Traffic:
    """An hour of records."""
    return draw_traffic(seed, count=count, until_ms=int((time.time() - hours_ago * 3600) * 1000))


def ended(installation: Configured, *arguments: str) -> tuple[int, str]:
    with worker(installation, *arguments) as process:
        return finish(process)


async def test_counts_of_a_model_that_is_counted_are_never_mixed_by_a_changed_setting(installation: Configured) -> None:
    installation.configure("{name: fraud}")
    traffic = draw(1)
    installation.send(traffic)
    assert 0 == ended(installation, *CAUGHT_UP)[0]

    installation.configure("{name: fraud, report_windows: [1m, 1h]}")
    code, log = ended(installation)
    assert 1 == code
    for told in (
        "fraud was counted with base_window 5m, the configuration says 1m. Windows would mix both: set base_window to",
        "latelabel init --rebuild",
    ):
        assert told in log
    assert traffic.cells == (await installation.counts())[0]

    # A model that was never counted may be listed as one likes, and whatever rests on the same counts may change.
    installation.configure(
        "{name: fraud, base_window: 5m, report_windows: [15m]}, {name: new, base_window: 1m, report_windows: [1m]}"
    )
    code, log = ended(installation, *CAUGHT_UP)
    assert 0 == code, log


async def test_a_new_report_window_and_positive_class_are_right_for_past_windows(installation: Configured) -> None:
    installation.configure("{name: fraud}")
    traffic = draw(2)
    installation.send(traffic)
    assert 0 == ended(installation, "--until-caught-up")[0]

    installation.configure(
        "{name: fraud, task: binary, positive_class: red, base_window: 5m, report_windows: [5m, 1d]}"
    )
    extra = draw(3, count=20)
    installation.send(extra)
    assert 0 == ended(installation, *CAUGHT_UP)[0]
    days = [r for r in installation.newest_reports() if r["model"] == "fraud" and r["window"]["size_seconds"] == 86_400]
    expected = sum(
        count for drawn in (traffic, extra) for (model, *_), count in drawn.cells.items() if model == "fraud"
    )
    assert expected == sum(report["predictions"] for report in days)
    assert all("precision" in report["metrics"] for report in days)


async def test_sighup_changes_what_may_change_at_once_and_names_the_rest(installation: Configured) -> None:
    installation.configure("{name: fraud}", interval="1h")
    installation.port = free_port()
    with worker(installation) as process:
        await waiting(lambda: metric(installation, "config_last_reload_successful") == 1, "the worker to start")
        await waiting(lambda: metric(installation, "partitions_owned") > 0, "the worker to read")
        installation.send(draw(4))
        installation.configure("{name: fraud, task: binary, positive_class: red, allowed_skew: 1m}", interval="100ms")
        installation.file.write_text(installation.file.read_text() + "idle_after: soon\n")
        process.send_signal(signal.SIGHUP)
        await waiting(lambda: metric(installation, "config_last_reload_successful") == 0, "the mistake to be found")
        installation.configure("{name: fraud, task: binary, positive_class: red, allowed_skew: 1m}", interval="100ms")
        process.send_signal(signal.SIGHUP)
        await waiting(lambda: metric(installation, "config_last_reload_successful") == 1, "the file to be read again")
        # The first interval of an hour has begun; it ends with the worker. What starts now is judged by the new file.
        process.send_signal(signal.SIGTERM)
        code, log = finish(process)
    assert 0 == code, log
    assert 'idle_after: found "soon", expected a duration' in log
    assert "changed at once: evaluation_interval, models[fraud].task, models[fraud].positive_class" in log, log
    assert "models[fraud].allowed_skew stays as it is: a change applies with the next start" in log


async def test_ledger_of_an_older_version_is_taken_over_while_its_worker_still_runs(installation: Configured) -> None:
    installation.configure("{name: fraud}")
    first, second = draw(5, hours_ago=2), draw(6)
    installation.send(first)
    with worker(installation) as old, Redis.from_url(installation.redis_url) as client:
        await waiting(lambda: client.exists(installation.charter) == 1, "the ledger")
        await waiting(lambda: asyncio.run(installation.records_read()) > 0, "the first counts")
        client.hdel(installation.charter, "format", "agreed")
        with worker(installation) as new:
            await waiting(lambda: client.hexists(installation.charter, "agreed"), "the new worker")
            installation.send(second)
            sent = sum(len(drawn.predictions) + len(drawn.labels) for drawn in (first, second))
            await waiting(lambda: asyncio.run(installation.records_read()) == sent, "everything to be counted")
            assert FORMAT == int(client.hget(installation.charter, "format") or 0)
            for process in (old, new):
                process.send_signal(signal.SIGTERM)
            logs = [finish(process) for process in (old, new)]
    assert [0, 0] == [code for code, _ in logs], logs
    assert f"Brought the ledger from format 0 to {FORMAT}" in logs[1][1]
    expected = dict(first.cells)
    for cell, count in second.cells.items():
        expected[cell] = expected.get(cell, 0) + count
    assert expected == (await installation.counts())[0]


async def test_ledger_of_a_newer_version_is_refused_and_workers_that_run_stop(installation: Configured) -> None:
    installation.configure("")
    with worker(installation) as running, Redis.from_url(installation.redis_url) as client:
        await waiting(lambda: client.hexists(installation.charter, "agreed"), "the ledger")
        client.hset(installation.charter, "format", FORMAT + 1)
        stopped = await asyncio.to_thread(finish, running)
    for code, log in (stopped, ended(installation)):
        assert 1 == code
        told = f"the ledger has format {FORMAT + 1}, this version of Latelabel knows formats up to {FORMAT}"
        assert re.search(told, log), log


async def waiting(condition: Any, what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what=what)


def metric(installation: Configured, name: str) -> float:
    """Its value; -1 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{installation.port}/metrics", timeout=5) as response:
            found = re.search(rf"^latelabel_{name} (.+)$", response.read().decode(), re.MULTILINE)
    except OSError:
        return -1
    return float(found[1]) if found else -1
