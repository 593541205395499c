"""W1: what one worker and Redis spend on joining a backlog, and whether every cell is right.

Costs are marginal: those of the large backlog less those of a small one, over the difference in records, so that
starting Python, joining the group and closing the windows are left out.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import yaml

from deploy.servers import KafkaServer, RedisServer
from tests.bench.backlog import Cell, recount, write
from tests.bench.errors import BenchError
from tests.bench.process_cost import Cost, cost_of_running
from tests.support.services import create_topic, unique_name

__all__ = ["JoinCost", "join_cost"]

PARTITIONS = 4
SHARDS = 8
SMALL_SHARE = 0.1
ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    cost: Cost
    records: int
    pairs: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JoinCost:
    """Microseconds of processor time, marginal; memory at the large size."""

    worker_us_per_record: float
    redis_us_per_pair: float
    broker_us_per_record: float
    pairs_per_core_second: float
    records_per_second: float
    worker_peak_bytes: int
    cells: int


def join_cost(kafka: KafkaServer, redis: RedisServer, folder: Path, *, predictions: int, bare: bool) -> JoinCost:
    """Run both sizes.

    Args:
        bare: records without score, segment and latency, and a model without segments.

    Raises:
        BenchError: a run failed, or a cell is wrong.
    """
    small = _run(kafka, redis, folder, predictions=int(predictions * SMALL_SHARE), bare=bare)
    large = _run(kafka, redis, folder, predictions=predictions, bare=bare)
    records, pairs = large.records - small.records, large.pairs - small.pairs
    worker = large.cost.own_seconds - small.cost.own_seconds
    server = {name: large.cost.server_seconds[name] - small.cost.server_seconds[name] for name in ("kafka", "redis")}
    return JoinCost(
        worker_us_per_record=1e6 * worker / records,
        redis_us_per_pair=1e6 * server["redis"] / pairs,
        broker_us_per_record=1e6 * server["kafka"] / records,
        pairs_per_core_second=pairs / (worker + server["redis"]),
        records_per_second=records / (large.cost.wall_seconds - small.cost.wall_seconds),
        worker_peak_bytes=large.cost.peak_bytes,
        cells=len(recounted(predictions, bare)[0]),
    )


_RECOUNTED: dict[tuple[int, bool], tuple[Counter[Cell], Counter[bool]]] = {}


def recounted(predictions: int, bare: bool) -> tuple[Counter[Cell], Counter[bool]]:
    """`recount`, once for all runs."""
    if (predictions, bare) not in _RECOUNTED:
        _RECOUNTED[predictions, bare] = recount(predictions, bare=bare)
    return _RECOUNTED[predictions, bare]


def _run(kafka: KafkaServer, redis: RedisServer, folder: Path, *, predictions: int, bare: bool) -> _Run:
    name = unique_name("w1")
    topics = (f"{name}-labels", f"{name}-predictions")
    for topic in topics:
        # Its records are as old as their event times.
        create_topic(kafka.address, topic, partitions=PARTITIONS, settings={"retention.ms": "-1"})
    for topic in (f"{name}-metrics", f"{name}-dead-letters"):
        create_topic(kafka.address, topic)
    write(predictions, brokers=kafka.address, topics=topics, bare=bare)
    configuration = folder / f"{name}.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(name, kafka, redis, bare=bare)))
    environment = {**os.environ, "LATELABEL_CONFIG": str(configuration), "PYTHONPATH": str(ROOT)}
    cost = cost_of_running(
        [sys.executable, "-m", "agents", "worker", "--until-caught-up"],
        environment=environment,
        folder=folder,
        servers={"kafka": kafka.pid, "redis": redis.pid},
    )
    expected, written = recounted(predictions, bare)
    counted = _counted(environment, folder)
    wrong = {cell for cell in expected.keys() | counted.keys() if expected[cell] != counted[cell]}
    if wrong:
        raise BenchError(
            f"{len(wrong)} of {len(expected)} cells are wrong, so no figure counts: {sorted(map(str, wrong))[:3]}"
        )
    pairs = sum(count for cell, count in expected.items() if cell[1] == "{}" and cell[3] is not None)
    return _Run(cost=cost, records=written.total(), pairs=pairs)


def _configuration(name: str, kafka: KafkaServer, redis: RedisServer, *, bare: bool) -> Mapping[str, object]:
    segments = [] if bare else ["region"]
    return {
        "kafka": {
            "brokers": [kafka.address],
            "group": name,
            "topics": {
                role: f"{name}-{role.replace('_', '-')}"
                for role in ("predictions", "labels", "metrics", "dead_letters")
            },
        },
        "redis": {"url": redis.unix_url, "prefix": name, "shards": SHARDS},
        "models": [{"name": f"m{number}", "report_windows": ["1m"], "segments": segments} for number in range(4)],
    }


def _counted(environment: Mapping[str, str], folder: Path) -> Counter[Cell]:
    done = subprocess.run(
        [sys.executable, "-m", "agents", "counts", "--json"],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        check=True,
    )
    counted: Counter[Cell] = Counter()
    for line in done.stdout.splitlines():
        cell = json.loads(line)
        place = cell["model"], json.dumps(cell["segment"]), cell["window_start"][:16]
        counted[(*place, cell["label"], cell["prediction"])] += cell["count"]
    return counted
