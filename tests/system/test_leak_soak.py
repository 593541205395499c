"""A process that leaks, one that warms up and one that collects garbage, told apart within five minutes of soak."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.servers import KafkaServer, RedisServer
from tests.support.topics import read_topic
from tests.support.workers import Installation, finish, worker

SOAK_SECONDS = 240.0
BLOCK_SECONDS = 5
PREAMBLE = """
import math, time
held, mega = [], 1 << 20
def hold(megabytes):
    while len(held) < megabytes:
        held.append(bytes(bytearray(b"x") * mega))
    del held[megabytes:]
began = time.monotonic()
hold(150)
print("ready", flush=True)
while True:
    seconds = time.monotonic() - began
"""
PROGRAMS = {
    "leaking": "    hold(150 + int(seconds * 0.5)); time.sleep(0.05)",
    "warming": "    hold(150 + int(100 * (1 - math.exp(-seconds / 20)))); time.sleep(0.05)",
    "collecting": "    hold(150 + int(seconds % 4 * 10)); time.sleep(0.05)",
}
"""Half a megabyte a second for ever; 100 in all, with a time constant of 20 s; a saw-tooth of 40 every 4 s."""


@contextlib.contextmanager
def watched(installation: Installation, name: str) -> Iterator[None]:
    """A program, and the real probe that looks at it five times a second."""
    with (
        subprocess.Popen([sys.executable, "-c", PREAMBLE + PROGRAMS[name]], stdout=subprocess.PIPE) as program,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "agents", "probe", "--model", name, "--target", name),
                *("--pid", str(program.pid), "--interval", "200ms"),
            ],
            cwd=installation.folder,
            env={**installation.environment, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            stderr=subprocess.PIPE,
        ) as probe,
    ):
        try:
            yield
        finally:
            probe.send_signal(signal.SIGTERM)
            probe.wait(timeout=20)
            program.kill()


def states(installation: Installation) -> dict[str, list[str]]:
    """By model, the states of its memory in the order in which they were reported, repeats left out."""
    found: dict[str, list[str]] = {name: [] for name in PROGRAMS}
    for _, value in read_topic(installation.brokers, installation.topics["metrics"]):
        report = json.loads(value or b"{}")
        if report["kind"] == "resources" and report["memory"] is not None:
            of_model = found[report["model"]]
            if of_model[-1:] != [report["memory"]["state"]]:
                of_model.append(report["memory"]["state"])
    return found


@pytest.mark.soak
async def test_a_leak_a_warm_up_and_garbage_are_told_apart(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.topics["resource_samples"] = f"{installation.name}-samples"
    installation.create_topics()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        for name in PROGRAMS:
            stack.enter_context(watched(installation, name))
        process = stack.enter_context(
            worker(
                installation, LATELABEL_RESOURCES__LEAK_BLOCK=f"{BLOCK_SECONDS}s", LATELABEL_EVALUATION_INTERVAL="2s"
            )
        )
        suspected = None
        while time.monotonic() - began < SOAK_SECONDS:
            await asyncio.sleep(2.0)
            found = await asyncio.to_thread(states, installation)
            if suspected is None and "suspected_leak" in found["leaking"]:
                suspected = time.monotonic() - began
        process.send_signal(signal.SIGTERM)
        code, log = finish(process)
    found = states(installation)
    print(f"    suspected after {suspected or 0:.0f} s; {found}")
    assert 0 == code, log
    assert suspected is not None
    assert "suspected_leak" == found["leaking"][-1]
    assert {"warming_up", "stable"} >= set(found["warming"])
    assert {"warming_up", "stable"} >= set(found["collecting"])
