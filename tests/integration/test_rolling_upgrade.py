"""An earlier build and the present one on one ledger: workers are replaced one after the other while records flow."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from redis import Redis

from deploy.server_process import free_port
from deploy.servers import KafkaServer, RedisServer
from streams.ledger.founding import FORMAT
from tests.support.earlier_builds import EarlierBuild, unpack
from tests.support.flow import MODELS, Flow, cells_by_hour, differences
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

pytestmark = pytest.mark.no_cover

PRESENT = Path(__file__).resolve().parents[2]
STEP_SECONDS = 90.0
LOOK_SECONDS = 1.0
"""Between two looks at everything that was reported."""


class Fleet(Installation):
    """Workers of several builds over one configuration; they end with the test."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, *, brokers: str, redis_url: str) -> None:
        super().__init__(folder, brokers=brokers, redis_url=redis_url)
        self._stack = stack
        (folder / "latelabel.yaml").write_text(MODELS)
        self.flow = Flow(self)

    def start(self, packages: Path) -> Running:
        """A worker of a build."""
        port = free_port()
        started = worker(self, PYTHONPATH=str(packages), LATELABEL_WEB__PORT=str(port))
        return Running(self._stack.enter_context(started), port)

    def close(self, packages: Path) -> None:
        """Have a worker of a build count the rest, and report all windows for the last time."""
        with worker(self, "--until-caught-up", "--close", PYTHONPATH=str(packages)) as process:
            assert_went_well(*finish(process))

    def replace(self, running: list[Running], packages: Path) -> None:
        """Stop each and start another in its place; the next is stopped when all count, of whichever build."""
        for place, old in enumerate(running):
            old.stop()
            running[place] = self.start(packages)
            waiting(lambda: all(each.is_counting() for each in running), "all workers to count")

    def format(self) -> int:
        """Of the ledger, as it is written there."""
        with Redis.from_url(self.redis_url) as client:
            return int(client.hget("{" + self.name + "}:charter", "format") or 0)

    def compare(self, *kinds: str) -> None:
        """Whatever was sent is counted, and reported, as it is recounted."""
        waiting(lambda: self._read() == self.flow.records, "everything to be counted")
        counted, _ = asyncio.run(self.counts())
        assert cells_by_hour(self.flow) == counted
        deadline = time.monotonic() + STEP_SECONDS
        while (wrong := differences(self, self.flow, kinds=kinds)) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        assert [] == wrong

    def _read(self) -> int:
        _, fates = asyncio.run(self.counts())
        return fates.get("predictions:read", 0) + fates.get("labels:read", 0)


class Running:
    """A worker with its address."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self._port = port

    def is_counting(self) -> bool:
        """Whether it owns partitions and has read of them."""
        return min(self._metric("partitions_owned"), self._metric("records_total")) > 0

    def _metric(self, name: str) -> float:
        """The sum over its labels; 0 while nobody answers."""
        assert self.process.poll() is None, finish(self.process)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as response:
                text = response.read().decode()
        except OSError:
            return 0
        return sum(map(float, re.findall(rf"^latelabel_{name}(?:{{.*}})? (.+)$", text, re.MULTILINE)))

    def stop(self) -> None:
        """As a supervisor does."""
        self.process.send_signal(signal.SIGTERM)
        assert_went_well(*finish(self.process))


def assert_went_well(code: int, log: str) -> None:
    assert 0 == code, log
    assert not re.search(r"ERROR|CRITICAL|Traceback", log), log


def waiting(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, what=what, seconds=STEP_SECONDS)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, EarlierBuild]:
    return unpack(tmp_path_factory.mktemp("builds"))


@pytest.fixture
def fleet(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        fleet = Fleet(tmp_path, stack, brokers=kafka.address, redis_url=redis_server.url)
        fleet.create_topics()
        fleet.flow.start()
        stack.callback(fleet.flow.end)
        yield fleet


@pytest.mark.timeout(600)
def test_workers_are_replaced_one_after_the_other_and_back_while_records_flow(
    fleet: Fleet, builds: Mapping[int, EarlierBuild]
) -> None:
    assert FORMAT in builds, f"no build of format {FORMAT} is packed; tests/support/earlier_builds.py says how"
    earlier = builds[FORMAT].packages
    running = [fleet.start(earlier) for _ in range(2)]
    for packages in (PRESENT, earlier):
        with fleet.flow.flowing():
            waiting(lambda: all(each.is_counting() for each in running), "all workers to count")
            fleet.replace(running, packages)
        fleet.compare("quality", "stability", "signals")
    for each in running:
        each.stop()
    fleet.close(earlier)
    fleet.close(PRESENT)
    fleet.compare("quality", "stability", "signals")


@pytest.mark.timeout(300)
def test_build_of_an_older_format_ends_by_itself_once_the_present_one_has_started(
    fleet: Fleet, builds: Mapping[int, EarlierBuild]
) -> None:
    older = builds[max(number for number in builds if number < FORMAT)]
    told = f"the ledger has format {FORMAT}, this version of Latelabel knows formats up to {older.format}"
    olds = [fleet.start(older.packages) for _ in range(2)]
    with fleet.flow.flowing():
        waiting(lambda: all(each.is_counting() for each in olds), "the older workers to count")
        assert older.format == fleet.format()
        present = fleet.start(PRESENT)
        olds_end = [finish(old.process) for old in olds]
        assert FORMAT == fleet.format()
        waiting(present.is_counting, "the present worker to count")
        with worker(fleet, PYTHONPATH=str(older.packages)) as again:
            olds_end.append(finish(again))
    for code, log in olds_end:
        assert 1 == code, log
        assert told in log
        assert "Traceback" not in log
    fleet.compare("quality", "stability")
    present.stop()
