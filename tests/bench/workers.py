"""A log in Kafka, and workers of their own that count it: one ledger, exact or no figure.

Logs are written once and read by every run; each run has a group, output topics and an empty Redis of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from redis import Redis

from deploy.server_process import spawn_tethered
from deploy.servers import KafkaServer, RedisServer
from tests.bench.backlog import Cell, Recount, Shape, backlog, recount, write
from tests.bench.errors import BenchError
from tests.bench.process_cost import Cost, cost_of_running
from tests.support.services import create_topic, unique_name

__all__ = ["LEAST_SHARE", "ROOT", "SHARDS", "Installation", "Log", "Run", "Services", "check_cells", "wait_for"]

SHARDS = 8
STOP_SECONDS = 30.0
LEAST_SHARE = 0.3
"""Of a log, of which a speed has to be measured."""
ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True, slots=True)
class Log:
    """Records that stand in two topics, or will."""

    shape: Shape
    labels_topic: str
    predictions_topic: str

    @property
    def topics(self) -> tuple[str, str]:
        """As `backlog.write` wants them."""
        return self.labels_topic, self.predictions_topic


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What counting a log to its end took."""

    cost: Cost
    expected: Recount


@dataclasses.dataclass
class Services:
    """The servers of one run of the benchmark, and the logs that were written to them.

    Args:
        scale: of the number of records: 1 measures, a hundredth shows in a minute that everything runs.
        repeats: of what is measured in pairs.
    """

    kafka: KafkaServer
    redis: RedisServer
    folder: Path
    scale: float
    repeats: int
    turns: tuple[list[Any], list[Any]] = dataclasses.field(default_factory=lambda: ([], []))
    """Ours and the loop's on W1, for whoever compares with them."""
    _logs: dict[tuple[Shape, int], Log] = dataclasses.field(default_factory=dict)
    _recounts: dict[Shape, Recount] = dataclasses.field(default_factory=dict)

    def scaled(self, count: int) -> int:
        """So many records, at the scale of this run."""
        return max(100, round(count * self.scale))

    def empty_log(self, shape: Shape, *, partitions: int) -> Log:
        """New topics."""
        name = unique_name("bench")
        log = Log(shape, f"{name}-labels", f"{name}-predictions")
        for topic in log.topics:
            # Records are as old as their event times.
            create_topic(self.kafka.address, topic, partitions=partitions, settings={"retention.ms": "-1"})
        return log

    def log(self, shape: Shape, *, partitions: int = 4) -> Log:
        """Topics that hold what the shape says, written at the first call."""
        if (shape, partitions) not in self._logs:
            log = self.empty_log(shape, partitions=partitions)
            write(backlog(shape), brokers=self.kafka.address, topics=log.topics)
            self._logs[shape, partitions] = log
        return self._logs[shape, partitions]

    def expected(self, shape: Shape) -> Recount:
        """What the shape must be counted as."""
        if shape not in self._recounts:
            self._recounts[shape] = recount(shape)
        return self._recounts[shape]

    def installation(self, log: Log, **settings: Any) -> Installation:
        """A ledger of its own on an empty Redis. Settings are the top level of the configuration."""
        with Redis.from_url(self.redis.unix_url) as client:
            client.flushall()
        return Installation(self, log, settings)

    def count(self, shape: Shape, *, partitions: int = 4, workers: int = 1) -> Run:
        """Count a log from its start to its end.

        Raises:
            BenchError: a worker failed, or a cell is wrong.
        """
        installation = self.installation(self.log(shape, partitions=partitions))
        cost = installation.run_until_caught_up(workers=workers)
        check_cells(self.expected(shape).cells, installation.counted())
        return Run(cost=cost, expected=self.expected(shape))


class Installation:
    """Workers with one configuration."""

    def __init__(self, services: Services, log: Log, settings: Mapping[str, Any]) -> None:
        self._services = services
        self.name = unique_name("bench")
        self.metrics_topic = f"{self.name}-metrics"
        self.requests_topic = f"{self.name}-explain-requests"
        others = (f"{self.name}-alerts", f"{self.name}-dead-letters", f"{self.name}-explanations")
        for topic in (self.metrics_topic, self.requests_topic, *others):
            create_topic(services.kafka.address, topic)
        path = services.folder / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump({**self._configuration(log), **settings}))
        self.environment = {**os.environ, "LATELABEL_CONFIG": str(path), "PYTHONPATH": str(ROOT)}

    @property
    def worker(self) -> list[str]:
        """The command of a worker that runs on."""
        return [sys.executable, "-m", "agents", "worker"]

    @property
    def servers(self) -> Mapping[str, int]:
        """Process ids of what works for it."""
        return {"kafka": self._services.kafka.pid, "redis": self._services.redis.pid}

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process with this configuration for as long as the block runs: a worker, unless another is named."""
        with (self._services.folder / f"{self.name}.log").open("ab") as output:
            process = spawn_tethered(
                command or self.worker,
                environment=self.environment,
                cwd=self._services.folder,
                log=output.fileno(),
                death_signal=signal.SIGTERM,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run_until_caught_up(self, *, workers: int = 1) -> Cost:
        """Start workers and wait for their ends."""
        return cost_of_running(
            [[*self.worker, "--until-caught-up"]] * workers,
            environment=self.environment,
            folder=self._services.folder,
            servers=self.servers,
        )

    def counted(self) -> Counter[Cell]:
        """All cells, as `latelabel counts` tells them."""
        done = subprocess.run(
            [sys.executable, "-m", "agents", "counts", "--json"],
            env=self.environment,
            cwd=self._services.folder,
            stdout=subprocess.PIPE,
            check=True,
        )
        counted: Counter[Cell] = Counter()
        for line in done.stdout.splitlines():
            cell = json.loads(line)
            place = cell["model"], json.dumps(cell["segment"]), cell["window_start"][:16]
            counted[(*place, cell["label"], cell["prediction"])] += cell["count"]
        return counted

    def records_counted(self) -> int:
        """Of both topics, so far: as commits leave it in Redis, which no worker is asked for."""
        with Redis.from_url(self._services.redis.unix_url) as client:
            fates = [client.hgetall(key) for key in client.scan_iter(f"*{self.name}*:fates")]
        return sum(int(count) for each in fates for fate, count in each.items() if fate.endswith(b":read"))

    def _configuration(self, log: Log) -> Mapping[str, Any]:
        topics = {"predictions": log.predictions_topic, "labels": log.labels_topic}
        roles = ("alerts", "dead_letters", "explain_requests", "explanations")
        others = {role: f"{self.name}-{role.replace('_', '-')}" for role in roles}
        outputs = {"metrics": self.metrics_topic, **others}
        model = {"report_windows": ["1m"], "segments": [] if log.shape.bare else ["region"]}
        return {
            "kafka": {
                "brokers": [self._services.kafka.address],
                "group": self.name,
                "topics": {**topics, **outputs},
            },
            "redis": {"url": self._services.redis.unix_url, "prefix": self.name, "shards": SHARDS},
            "web": {"port": 0},
            "models": [{"name": f"m{number}", **model} for number in range(log.shape.models)],
        }


def wait_for(condition: Callable[[], bool], *, what: str, seconds: float, pause_seconds: float = 0.05) -> None:
    """Return as soon as the condition holds; whoever does not answer yet does not fulfil it.

    Raises:
        BenchError: it took too long, so there is no figure.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(pause_seconds)
    raise BenchError(f"waited {seconds:g} s for {what}")


def check_cells(expected: Mapping[Any, int], counted: Mapping[Any, int]) -> None:
    """Compare every cell.

    Raises:
        BenchError: one is wrong, so there is no figure.
    """
    wrong = {cell for cell in expected.keys() | counted.keys() if expected.get(cell, 0) != counted.get(cell, 0)}
    if wrong:
        some = ", ".join(
            f"{cell}: {counted.get(cell, 0)} for {expected.get(cell, 0)}"
            for cell in itertools.islice(sorted(wrong, key=str), 3)
        )
        raise BenchError(f"{len(wrong):,} of {len(expected):,} cells are wrong, so there is no figure: {some}")
