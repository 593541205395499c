"""What a worker tells about itself over HTTP, on the real Kafka and Redis."""

from __future__ import annotations

import contextlib
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.server_process import free_port
from deploy.servers import KafkaServer, RedisServer
from tests.support.traffic import draw_traffic, produce
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

ANSWER_SECONDS = 5.0


class OnPort(Installation):
    """An installation whose worker is asked on a port of its own."""

    def __init__(self, folder: Path, *, brokers: str, redis_url: str, partitions: int = 1) -> None:
        super().__init__(folder, brokers=brokers, redis_url=redis_url, partitions=partitions)
        self.port = free_port()

    @property
    def environment(self) -> Mapping[str, str]:
        return {**super().environment, "LATELABEL_WEB__PORT": str(self.port)}

    def get(self, path: str) -> tuple[int, str]:
        """Status and text; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=ANSWER_SECONDS) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError:
            return 0, ""


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> OnPort:
    installation = OnPort(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    return installation


def test_a_worker_is_ready_once_it_reads_and_counts_what_it_does(installation: OnPort) -> None:
    traffic = draw_traffic(1, count=200, until_ms=int(time.time() * 1000))
    produce(installation.brokers, installation.topics["predictions"], traffic.predictions, partitions=1)
    with worker(installation):
        wait_until(lambda: installation.get("/readyz") == (200, "ok\n"), what="the worker to be ready")
        assert (200, "ok\n") == installation.get("/healthz")
        lag = 'latelabel_lag_offsets{topic="predictions",partition="0"} 0\n'
        wait_until(lambda: lag in installation.get("/metrics")[1], what="the lag to be nothing")
        _, metrics = installation.get("/metrics")
        assert "latelabel_partitions_owned 2\n" in metrics
        assert "latelabel_conservation_failures_total 0\n" in metrics
        assert re.search(r"latelabel_commits_total [1-9]", metrics)
        assert "latelabel_outage 0\n" in metrics
        counted = len(traffic.predictions)
        assert f'latelabel_records_total{{topic="predictions"}} {counted}\n' in metrics
        assert 'latelabel_oldest_uncounted_seconds{topic="predictions",partition="0"} 0.0\n' in metrics
        assert re.search(r"latelabel_redis_memory_used_bytes [1-9]", metrics)
        assert re.search(r"latelabel_redis_memory_limit_bytes [1-9]", metrics)
        # Labels may still come at any time, so nothing is known to be over.
        assert "latelabel_watermark_timestamp_seconds 0.0\n" in metrics


def test_a_worker_that_waits_for_redis_lives_but_is_not_ready(installation: OnPort) -> None:
    installation.redis_url = f"redis://127.0.0.1:{free_port()}"
    with worker(installation):
        wait_until(lambda: installation.get("/healthz") == (200, "ok\n"), what="the worker to live")
        assert (503, "waiting for Kafka and Redis\n") == installation.get("/readyz")


def test_a_worker_for_which_no_partition_is_left_is_ready(installation: OnPort) -> None:
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(3):
            installation.port = free_port()
            ports.append(installation.port)
            stack.enter_context(worker(installation))

        def owned() -> list[str]:
            """How many partitions each ready worker has, in any order."""
            found = []
            for installation.port in ports:
                if installation.get("/readyz")[0] == 200:
                    found += re.findall(r"latelabel_partitions_owned (\d+)", installation.get("/metrics")[1])
            return sorted(found)

        wait_until(lambda: owned() == ["0", "1", "1"], what="three ready workers that share two partitions", seconds=60)


def test_a_port_in_use_ends_the_worker_with_the_remedy(installation: OnPort) -> None:
    with socket.create_server(("127.0.0.1", installation.port)), worker(installation) as process:
        code, log = finish(process)
    assert 1 == code, log
    assert f"cannot listen on 127.0.0.1:{installation.port} (web.host, web.port)" in log


def test_a_worker_that_catches_up_listens_nowhere(installation: OnPort) -> None:
    with (
        socket.create_server(("127.0.0.1", installation.port)),
        worker(installation, "--until-caught-up") as process,
    ):
        code, log = finish(process)
    assert 0 == code, log
