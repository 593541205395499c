"""`make demo` that is interrupted, and is gone without a trace; and one that does not begin."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from deploy.servers import KafkaServer
from tests.support.services import create_topic
from tests.support.waiting import wait_until
from tests.system.test_demo import LATELABEL, ROOT, demo_running, survivors

DEMO_SECONDS = 300.0
"""A deadline, also beside other tests."""


@pytest.mark.timeout(700)
@pytest.mark.parametrize("moment", ["kafka  ready", "Learning", "Replaying", "final", "Recounting"])
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path, moment: str) -> None:
    output = tmp_path / "demo.log"
    with demo_running(output) as process:
        wait_until(lambda: moment in output.read_text(), what=f"the demo to say {moment!r}", seconds=DEMO_SECONDS)
        assert len(survivors(output)) > 1
        os.killpg(process.pid, signal.SIGINT)
        # Learning cannot be interrupted, only waited for.
        assert 130 == process.wait(timeout=DEMO_SECONDS), output.read_text()
        assert [] == survivors(output)


def test_kafka_that_is_in_use_is_left_alone() -> None:
    with KafkaServer() as kafka:
        create_topic(kafka.address, "labels")
        environment = {**os.environ, "LATELABEL_KAFKA__BROKERS": kafka.address}
        result = subprocess.run(
            (*LATELABEL, "demo"), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert 1 == result.returncode
    assert "already has the topic 'labels'" in result.stderr
    assert "make demo" in result.stderr


def test_kafka_that_is_away_is_named_with_the_remedy() -> None:
    environment = {**os.environ, "LATELABEL_KAFKA__BROKERS": "127.0.0.1:1"}
    result = subprocess.run(
        (*LATELABEL, "demo"), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert 1 == result.returncode
    assert "Kafka at 127.0.0.1:1 does not answer" in result.stderr
    assert "make demo" in result.stderr
    assert "Traceback" not in result.stderr
