"""Logs of real workers, as programs read them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

from deploy.servers import KafkaServer, RedisServer
from tests.support.traffic import draw_traffic, produce
from tests.support.workers import Installation, finish, worker

IN_CONTAINER = {"LATELABEL_IN_CONTAINER": "1"}


def objects(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]


def test_in_a_container_every_line_of_a_worker_is_an_object(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    with worker(installation, **IN_CONTAINER) as process:
        code, log = finish(process)
    assert 1 == code
    assert "latelabel topics create" in objects(log)[-1]["message"]

    installation.create_topics()
    traffic = draw_traffic(1, count=100, until_ms=int(time.time() * 1000))
    produce(installation.brokers, installation.topics["predictions"], [b"{"] * 150 + traffic.predictions, partitions=1)
    with worker(installation, "--until-caught-up", **IN_CONTAINER) as process:
        code, log = finish(process)
    lines = objects(log)
    stopped = next(line for line in lines if line["message"].startswith("Stopped predictions/0"))
    assert (1, "error", "predictions/0") == (code, stopped["level"], stopped["source"])
    assert stopped["offset"] >= 99


def test_worker_that_is_told_to_stop_says_nothing_but_objects(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    with worker(installation, LATELABEL_LOG__FORMAT="json", LATELABEL_LOG__LEVEL="debug") as process:
        assert process.stderr is not None
        begun = ""
        while "Reading" not in begun:
            begun += process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        code, log = finish(process)
    assert 0 == code
    assert "The worker was told to stop" in [line["message"] for line in objects(begun + log)]
