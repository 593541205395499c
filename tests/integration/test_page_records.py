"""Single records from a real Kafka to the API of a real worker, and a worker that may be asked by anybody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from confluent_kafka import Producer

from deploy.servers import KafkaServer, RedisServer
from tests.integration.test_worker_health import OnPort
from tests.support.fleet import NOON_MS
from tests.support.page_world import explained
from tests.support.services import create_topic
from tests.support.traffic import draw_traffic, produce
from tests.support.waiting import wait_until
from tests.support.workers import finish, worker

CONFIGURATION = """\
models:
  - name: fraud
    explain: {predictor: "served:fraud"}
"""
EXPLANATIONS = "/api/v1/models/fraud/explanations?wrong=true"
STREAMS, SILENT = 1000, 300
ROOM_BYTES = 96 << 20
MOST_CONNECTIONS = 256
FILES = 2 * (STREAMS + SILENT)


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> OnPort:
    installation = OnPort(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    return installation


def send(installation: OnPort, role: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": installation.brokers})
    for value in values:
        producer.produce(installation.topics[role], value)
    assert 0 == producer.flush(30)


def ask(installation: OnPort, path: str) -> tuple[int, Any]:
    status, text = installation.get(path)
    return status, json.loads(text) if text else None


def test_page_shows_what_stands_on_the_topics_and_what_comes(installation: OnPort) -> None:
    installation.topics["explanations"] = create_topic(
        installation.brokers, f"{installation.name}-explanations", partitions=2
    )
    (installation.folder / "latelabel.yaml").write_text(CONFIGURATION)
    send(installation, "explanations", [msgspec.json.encode(explained("before", time_ms=NOON_MS)), b"{", b""])
    send(installation, "predictions", [b'{"request_id": "<b>r1"', b'{"request_id": "r2", "model": "fraud"}'])

    def shown() -> list[str]:
        status, answer = ask(installation, EXPLANATIONS)
        return [each["request_id"] for each in answer["explanations"]] if status == 200 else []

    def letters() -> Counter[str]:
        status, answer = ask(installation, "/api/v1/dead-letters")
        return Counter(each["reason"] for each in answer["letters"]) if status == 200 else Counter()

    with worker(installation):
        wait_until(lambda: shown() == ["before"], what="the explanation that was there", seconds=60)
        send(installation, "explanations", [msgspec.json.encode(explained("after", time_ms=NOON_MS + 1))])
        wait_until(lambda: shown() == ["after", "before"], what="the explanation that came", seconds=60)
        assert ask(installation, EXPLANATIONS)[1]["trouble"] is None
        wanted = Counter({"malformed_json": 1, "missing_field": 1})
        wait_until(lambda: letters() == wanted, what="both dead letters", seconds=60)
        _, listed = ask(installation, "/api/v1/dead-letters")
        at = next(each for each in listed["letters"] if each["reason"] == "malformed_json")
        _, one = ask(installation, f"/api/v1/dead-letters/{at['letter_partition']}/{at['letter_offset']}")
        assert ('{"request_id": "<b>r1"', True) == (one["value"], one["is_text"])
        assert 404 == ask(installation, f"/api/v1/dead-letters/{at['letter_partition']}/1000000")[0]
        assert 404 == ask(installation, "/api/v1/dead-letters/99/0")[0]


def test_worker_whose_topic_of_explanations_is_not_there_says_so_and_counts(installation: OnPort) -> None:
    installation.topics["explanations"] = f"{installation.name}-nowhere"
    (installation.folder / "latelabel.yaml").write_text(CONFIGURATION)

    def trouble() -> str:
        status, answer = ask(installation, EXPLANATIONS)
        return str(answer["trouble"]) if status == 200 else ""

    with worker(installation):
        wait_until(lambda: "nowhere that this user may read" in trouble(), what="what is missing", seconds=60)
        wait_until(lambda: installation.get("/readyz") == (200, "ok\n"), what="the worker to be ready", seconds=60)


class Crowd:
    """Clients that want to be served for ever, and those that say nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self.statuses: Counter[int] = Counter()

    async def come(self) -> None:
        await asyncio.gather(*(self._stream() for _ in range(STREAMS)))
        await asyncio.gather(*(self._silence() for _ in range(SILENT)))

    def leave(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _stream(self) -> None:
        """Ask for events and stay. 0: cut off before an answer came."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.append(writer)
            writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            line = await reader.readline()
            self.statuses[int(line.split()[1]) if line else 0] += 1
        except ConnectionError:
            self.statuses[0] += 1

    async def _silence(self) -> None:
        with contextlib.suppress(ConnectionError):
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.append(writer)
            writer.write(b"GET /api/v1/fleet HT")


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many sockets as the crowd needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, FILES), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.asynccontextmanager
async def crowding(port: int) -> AsyncIterator[Crowd]:
    crowd = Crowd(port)
    try:
        await crowd.come()
        yield crowd
    finally:
        crowd.leave()


@pytest.mark.alone
@pytest.mark.usefixtures("many_files")
def test_thousand_streams_and_half_open_sockets_take_neither_memory_nor_counting_nor_the_end(
    installation: OnPort,
) -> None:
    traffic = draw_traffic(1, count=500, until_ms=int(time.time() * 1000))
    read = f'latelabel_records_total{{topic="predictions"}} {len(traffic.predictions)}\n'

    def connections(process: psutil.Process) -> int:
        there = [each for each in process.net_connections("tcp") if each.laddr.port == installation.port]
        return sum(each.status == psutil.CONN_ESTABLISHED for each in there)

    async def crowd_in(running: subprocess.Popen[str], before: int) -> Counter[int]:
        process = psutil.Process(running.pid)
        async with crowding(installation.port) as crowd:
            await asyncio.to_thread(
                wait_until, lambda: connections(process) <= MOST_CONNECTIONS, what="connections to be cut off"
            )
            assert process.memory_info().rss - before <= ROOM_BYTES
            # Within a second of their coming nobody is cut off for others.
            await asyncio.to_thread(
                wait_until,
                lambda: installation.get("/healthz") == (200, "ok\n"),
                what="room for a supervisor",
                seconds=5,
            )
            for _ in range(20):
                assert (200, "ok\n") == await asyncio.to_thread(installation.get, "/healthz")
            await asyncio.to_thread(
                produce, installation.brokers, installation.topics["predictions"], traffic.predictions, partitions=1
            )
            await asyncio.to_thread(
                wait_until, lambda: read in installation.get("/metrics")[1], what="all to be counted", seconds=90
            )
            running.send_signal(signal.SIGTERM)
            code, log = await asyncio.to_thread(finish, running, seconds=30)
            assert 0 == code, log
            return crowd.statuses

    with worker(installation) as running:
        wait_until(lambda: installation.get("/readyz") == (200, "ok\n"), what="the worker to be ready", seconds=60)
        statuses = asyncio.run(crowd_in(running, psutil.Process(running.pid).memory_info().rss))
    assert {200, 503, 429} >= statuses.keys() - {0}
    assert 1 <= statuses[200] <= 64
    assert STREAMS == statuses.total()
    # In a crowd of so many at once some are cut off without a word.
    assert statuses[503] + statuses[429] >= STREAMS // 4, statuses
