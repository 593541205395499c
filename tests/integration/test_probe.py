"""The real probe on real processes, control groups and Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from agents.probe.cgroup import cgroup_at, cgroup_of
from agents.probe.readings import CpuUse
from deploy.servers import KafkaServer
from schemas.times import parse_time_ms
from tests.support.real_cgroups import RealGroup, real_group
from tests.support.services import create_topic, unique_name
from tests.support.topics import read_topic
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
MODEL = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)"
MIB = 2**20


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    return create_topic(kafka.address, unique_name("samples"))


def environment(kafka: KafkaServer, topic: str) -> Mapping[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LATELABEL_KAFKA__BROKERS": kafka.address,
        "LATELABEL_KAFKA__TOPICS__RESOURCE_SAMPLES": topic,
    }


@contextlib.contextmanager
def probe(kafka: KafkaServer, topic: str, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "agents", "probe", "--model", "fraud", "--interval", "100ms", *arguments],
        env={**environment(kafka, topic), **variables},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@contextlib.contextmanager
def model(*marks: str, code: str = MODEL) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", code, *marks], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def samples(kafka: KafkaServer, topic: str) -> list[dict[str, Any]]:
    return [json.loads(value or b"") for _, value in read_topic(kafka.address, topic)]


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(number)
    _, log = process.communicate(timeout=60)
    return process.returncode, log


def wait_for_samples(kafka: KafkaServer, topic: str, count: int) -> list[dict[str, Any]]:
    wait_until(lambda: len(samples(kafka, topic)) >= count, what=f"{count} samples", seconds=60)
    return samples(kafka, topic)


def wait_for_starts(kafka: KafkaServer, topic: str, count: int) -> None:
    def starts() -> set[str]:
        return {each["process_start_time"] for each in samples(kafka, topic)}

    wait_until(lambda: len(starts()) >= count, what=f"samples of {count} processes")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_process_is_watched_until_the_probe_is_stopped(
    kafka: KafkaServer, topic: str, number: signal.Signals, code: int
) -> None:
    with model() as process, probe(kafka, topic, "--pid", str(process.pid), "--target", "me") as running:
        found = wait_for_samples(kafka, topic, 10)
        assert (code, "") == (stop(running, number)[0], "")
    assert {("me", "fraud")} == {(each["target"], each["model"]) for each in found}
    times = [parse_time_ms(each["event_time"]) for each in found]
    assert sorted(set(times)) == times
    assert "cpu_cores" not in found[0]
    assert all(0 <= each["cpu_cores"] < 1 for each in found[1:])
    assert all(each["rss_bytes"] > MIB and each["threads"] >= 1 and each["open_fds"] >= 3 for each in found)
    assert 1 == len({each["process_start_time"] for each in found})


def test_the_probe_costs_little_memory_and_less_than_a_hundredth_of_a_core(kafka: KafkaServer, topic: str) -> None:
    with model() as process, probe(kafka, topic, "--pid", str(process.pid), "--interval", "1s") as running:
        wait_for_samples(kafka, topic, 3)
        own = psutil.Process(running.pid)
        before, began = own.cpu_times(), time.monotonic()
        wait_for_samples(kafka, topic, 13)
        after = own.cpu_times()
        share = (after.user + after.system - before.user - before.system) / (time.monotonic() - began)
        print(f"    probe at one sample a second: {own.memory_info().rss / 1e6:.1f} MB, {share:.2%} of a core")
        assert own.memory_info().rss < 60e6
        assert share < 0.01
        stop(running)


def test_restarts_are_followed_by_command_line_and_counted(kafka: KafkaServer, topic: str) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    with probe(kafka, topic, "--cmdline", mark) as running:
        for number in range(3):
            with model(mark):
                wait_for_starts(kafka, topic, number + 1)
        code, log = stop(running)
    assert 0 == code
    assert "2 restarts" in log
    assert "has ended; looking again" in log


def test_who_listens_on_a_port_is_watched(kafka: KafkaServer, topic: str) -> None:
    code = (
        "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with probe(kafka, topic, "--port", process.stdout.readline().strip()) as running:
            found = wait_for_samples(kafka, topic, 3)
            stop(running)
        rss = psutil.Process(process.pid).memory_info().rss
        process.kill()
    assert abs(found[-1]["rss_bytes"] - rss) < MIB


def test_a_pid_that_ends_ends_the_probe_without_a_complaint(kafka: KafkaServer, topic: str) -> None:
    with model() as process, probe(kafka, topic, "--pid", str(process.pid)) as running:
        wait_for_samples(kafka, topic, 3)
        process.kill()
        process.wait()
        _, log = running.communicate(timeout=60)
    assert 0 == running.returncode
    assert "has ended" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--pid", "4194304"), 1, "there is no process"),
        ((), 2, "Name what to watch"),
        (("--pid", "1", "--port", "80"), 2, "exclude each other"),
        (("--cmdline", "("), 2, "no regular expression"),
        (("--scrape", "model:8000"), 2, "is a URL"),
        (("--port", "80", "--interval", "1ms"), 2, "at least 100ms"),
        (("--port", "80", "--target", "t" * 129), 2, "longer than 128 bytes"),
    ],
)
def test_wrong_usage_says_what_is_right(
    kafka: KafkaServer, topic: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    with probe(kafka, topic, *arguments) as running:
        _, log = running.communicate(timeout=60)
    assert code == running.returncode
    assert said in log
    assert "Traceback" not in log


def test_a_topic_that_is_not_there_is_named_with_the_remedy(kafka: KafkaServer) -> None:
    with probe(kafka, unique_name("nowhere"), "--pid", str(os.getpid())) as running:
        _, log = running.communicate(timeout=60)
    assert 1 == running.returncode
    assert "latelabel topics create" in log


def test_a_kafka_that_is_away_costs_no_sample_that_has_room(kafka: KafkaServer, topic: str) -> None:
    with probe(kafka, topic, "--pid", str(os.getpid()), LATELABEL_KAFKA__BROKERS="127.0.0.1:1") as running:
        assert running.stderr is not None
        lines = iter(running.stderr.readline, "")
        assert any("keeping" in line for line in lines)
        code, log = stop(running)
    assert 0 == code
    assert "0 samples sent, 0 dropped" in log


# --- control groups of this machine -----------------------------------------------------------------------------------


@pytest.fixture
def limited() -> Iterator[RealGroup]:
    """A group with a limit of 64 MiB."""
    with real_group("memory") as group:
        group.limit_memory(64 * MIB)
        yield group


HUNGRY = """
import sys
print("ready", flush=True)
sys.stdin.readline()
held = bytearray(24 << 20)
for at in range(0, len(held), 4096):
    held[at] = 1
print("holding", flush=True)
sys.stdin.readline()
while True:
    held += bytes(b"1" * (1 << 20))
"""


def test_a_real_group_with_a_limit_is_read_as_its_files_say_and_its_kill_is_counted(
    kafka: KafkaServer, topic: str, limited: RealGroup
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HUNGRY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        limited.add(process.pid)
        process.stdin.write("\n")
        process.stdout.readline()
        reading = (cgroup := cgroup_at(limited.folder)).read()
        assert reading.working_set_bytes is not None
        assert abs(limited.working_set() - reading.working_set_bytes) < MIB
        assert (64 * MIB, 0) == (reading.memory_limit_bytes, reading.oom_kills)
        assert reading.rss_bytes is not None
        assert reading.rss_bytes >= 24 * MIB
        assert [process.pid] == cgroup.pids()
        of_process = cgroup_of(process.pid)
        assert of_process is not None
        assert 64 * MIB == of_process.read().memory_limit_bytes
        with probe(kafka, topic, "--cgroup", str(limited.folder.relative_to("/sys/fs/cgroup"))) as running:
            wait_for_samples(kafka, topic, 3)
            process.stdin.write("\n")
            process.wait(timeout=60)
            with subprocess.Popen(["sleep", "600"]) as sleeping:
                limited.add(sleeping.pid)
                wait_until(lambda: samples(kafka, topic)[-1].get("oom_kills") == 1, what="the kill in a sample")
                wait_for_starts(kafka, topic, 2)
                sleeping.kill()
            code, log = stop(running)
    assert -signal.SIGKILL == process.returncode
    assert 0 == code, log
    found = samples(kafka, topic)
    assert {64 * MIB} == {each["memory_limit_bytes"] for each in found}
    assert 0 == found[0]["oom_kills"]
    assert 2 == len({each["process_start_time"] for each in found})


def test_cpu_of_a_real_group_is_held_back_by_its_quota() -> None:
    busy = "print(1, flush=True)\nwhile True: pass"
    with real_group("cpu") as group:
        group.limit_cpu(quota_us=10_000)
        with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as process:
            group.add(process.pid)
            cgroup = cgroup_at(group.folder)
            wait_until(lambda: (cgroup.read().throttled or 0) > 3, what="the quota to hold it back")
            process.kill()
        reading, stat = cgroup.read(), group.table("cpu.stat")
        assert pytest.approx(0.1) == reading.cpu_limit_cores
        assert (stat["nr_periods"], stat["nr_throttled"]) == (reading.periods, reading.throttled)


def test_a_group_that_vanishes_is_told_and_waited_for(kafka: KafkaServer, topic: str) -> None:
    with real_group("memory") as group, probe(kafka, topic, "--cgroup", str(group.folder)) as running:
        assert running.stderr is not None
        lines = iter(running.stderr.readline, "")
        assert any("has no process" in line for line in lines)
        group.folder.rmdir()
        assert any("there is no control group" in line for line in lines)
        code, _ = stop(running)
    assert 0 == code


# --- inside a server --------------------------------------------------------------------------------------------------


async def test_an_asgi_server_watches_itself_while_it_runs(
    kafka: KafkaServer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATELABEL_KAFKA__BROKERS", kafka.address)
    monkeypatch.setenv("LATELABEL_KAFKA__TOPICS__RESOURCE_SAMPLES", topic)
    spec = importlib.util.spec_from_file_location("asgi_model", ROOT / "deploy/demo/asgi_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    life = asyncio.ensure_future(module.app({"type": "lifespan"}, received.get, send))
    received.put_nowait({"type": "lifespan.startup"})
    found = await asyncio.to_thread(wait_for_samples, kafka, topic, 2)
    await module.app({"type": "http", "path": "/predict"}, received.get, send)
    received.put_nowait({"type": "lifespan.shutdown"})
    await life
    assert ["lifespan.startup.complete", "http.response.start", "http.response.body", "lifespan.shutdown.complete"] == [
        event["type"] for event in sent
    ]
    assert ("fraud", "3") == (found[0]["model"], found[0]["model_version"])
    assert psutil.Process().memory_info().rss / 2 < found[-1]["rss_bytes"]


async def test_a_probe_inside_a_program_never_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    from agents.probe.probe import Probe
    from agents.settings import KafkaSettings

    with Probe(model="fraud", pid=4194304, kafka=KafkaSettings(brokers=("127.0.0.1:1",))):
        await asyncio.to_thread(wait_until, lambda: "there is no process" in caplog.text, what="the reason")


def test_cpu_use_of_parts_that_ended_is_left_out() -> None:
    assert 1.5 == CpuUse({"a": 2.0, "b": 0.5}).since(CpuUse({"a": 1.0, "c": 9.0}))
