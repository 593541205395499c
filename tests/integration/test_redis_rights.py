"""A Redis over TLS whose user may do what the guide says and no more."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.servers import KafkaServer
from tests.support.redis_topologies import PASSWORD, RedisTopology, operate, user_rules
from tests.support.traffic import draw_traffic, produce
from tests.support.workers import Installation

ROOT = Path(__file__).resolve().parents[2]
COMMAND_SECONDS = 90.0
WORK = ("worker", "--until-caught-up", "--close")


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, topology_named: Callable[[str], RedisTopology]) -> Installation:
    topology = topology_named("tls")
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=topology.url)
    installation.create_topics()
    name = installation.name
    operate(topology.servers[0], "ACL SETUSER", name, "on", f">{PASSWORD}", *user_rules(name))
    installation.redis_url = topology.url.replace("//latelabel:", f"//{name}:")
    return installation


def run(installation: Installation, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; the password is in nothing that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "agents", *command],
        cwd=installation.folder,
        env={**installation.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert PASSWORD not in done.stdout + done.stderr
    assert installation.redis_url not in done.stdout + done.stderr
    return done


def test_every_command_does_its_work_with_exactly_the_rights_of_the_guide(installation: Installation) -> None:
    traffic = draw_traffic(2, count=300, until_ms=int(time.time() * 1000))
    for role, records in (("predictions", traffic.predictions), ("labels", traffic.labels)):
        produce(installation.brokers, installation.topics[role], records, partitions=installation.partitions)
    for command in (("init",), WORK, ("counts",), ("show",), ("init", "--rebuild"), WORK):
        done = run(installation, *command)
        assert 0 == done.returncode, done.stderr
    cells, _ = asyncio.run(installation.counts())
    assert traffic.cells == cells
    # Topics of this installation are not all there, so the doctor is not content; it must not want for rights.
    assert "does not allow" not in run(installation, "doctor").stdout


@pytest.mark.parametrize(("missing", "told"), [("evalsha", "'evalsha'"), ("hsetnx", "ACL LOG")])
def test_right_that_is_missing_is_told(
    installation: Installation, topology_named: Callable[[str], RedisTopology], missing: str, told: str
) -> None:
    operate(topology_named("tls").servers[0], "ACL SETUSER", installation.name, f"-{missing}")
    done = run(installation, *WORK)
    assert 1 == done.returncode
    assert "ACL SETUSER" in done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
