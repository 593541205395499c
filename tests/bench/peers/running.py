"""The same join by other engines, on the very topics of W1 and in the same run.

What each keeps over a crash is said in its row; none but Kafka Streams counts exactly once. A peer whose cells are
wrong has no figure, and its row says so.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import operator
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from tests.bench.backlog import Cell, Shape
from tests.bench.errors import BenchError
from tests.bench.figures import Figure
from tests.bench.marginal import Marginal, marginal
from tests.bench.process_cost import cost_of_running
from tests.bench.workers import ROOT, Run, Services, check_cells
from tests.support.services import create_topic, unique_name

__all__ = ["ALL", "ALWAYS", "Peer", "paired_turns", "peers", "w1_shape"]

MIB = 2**20
HERE = Path(__file__).parent
CACHE = ROOT / ".cache"
IDLE_SECONDS = 5
W1_PREDICTIONS = 1_000_000
WHOLE, TENTH, FIFTIETH = 1.0, 0.1, 0.02
"""Of W1. The marginal cost of a slow peer is taken between a fiftieth and a tenth."""
OURS = "latelabel"


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """An engine.

    Args:
        keeps: what a crash leaves of its state, by its documentation.
        command: that runs it.
        shares: of W1, smaller and larger.
        times: how many times its pairs per second and core ours must be; None: no bar.
        target: that makes what it needs, for `make`.
    """

    name: str
    keeps: str
    command: Sequence[str]
    shares: tuple[float, float] = (TENTH, WHOLE)
    times: float | None = None
    target: str = "make bench"


def _python(environment: str) -> str:
    return str(CACHE / environment / "bin" / "python")


_JAVA = [
    *("java", "-Xmx2g", "-XX:-UsePerfData"),
    *("-cp", f"{CACHE / 'kafka-streams' / 'classes'}:{CACHE / 'kafka-streams' / 'libs'}/*", "Join"),
]
LOOP = Peer("the loop", "keeps nothing", [sys.executable, f"{HERE}/loop_that_keeps_nothing.py"], times=0.5)
ALWAYS = (
    Peer(
        "stock Faust",
        "keeps nothing",
        [sys.executable, f"{HERE}/stock_faust.py", "worker", "-l", "warn", "--without-web"],
        shares=(FIFTIETH, TENTH),
        times=20,
    ),
    Peer("Quix Streams", "at least once", [_python("peers"), f"{HERE}/quix_streams.py"], shares=(FIFTIETH, TENTH)),
)
ALL = (
    *ALWAYS,
    Peer(
        "Bytewax",
        "keeps nothing",
        [_python("more-peers"), "-m", "bytewax.run", f"{HERE}/bytewax_join.py"],
        target="make bench PEERS=all",
    ),
    Peer(
        "Pathway",
        "keeps nothing",
        [_python("more-peers"), f"{HERE}/pathway_join.py"],
        times=1.8,
        target="make bench PEERS=all",
    ),
    Peer("Kafka Streams", "exactly once", _JAVA, times=3, target="make bench PEERS=all"),
)


def w1_shape(services: Services, *, bare: bool, share: float = WHOLE) -> Shape:
    """W1, or its beginning."""
    return Shape(predictions=services.scaled(int(W1_PREDICTIONS * share)), bare=bare)


def paired_turns(services: Services) -> tuple[list[Marginal], list[Marginal]]:
    """Ours on W1 without extras, and the loop, in turn; once for all who ask."""
    ours, loops = services.turns
    while len(ours) < services.repeats:
        shape, small = w1_shape(services, bare=True), services.scaled(int(W1_PREDICTIONS * TENTH))
        ours.append(marginal(services.count, shape, small=small))
        loops.append(marginal(functools.partial(run_peer, services, LOOP), shape, small=small))
    return ours, loops


def peers(services: Services, engines: Sequence[Peer]) -> Iterator[Figure]:
    """The loop as often as ours, the others, which are far away, once."""
    ours, loops = paired_turns(services)
    yield Figure(f"{OURS} (exactly once): pairs per second and core", _per_core(ours), "pairs/s")
    yield from _compared(LOOP, ours, loops)
    for peer in engines:
        smaller, larger = peer.shares
        try:
            run = marginal(
                functools.partial(run_peer, services, peer),
                w1_shape(services, bare=True, share=larger),
                small=services.scaled(int(W1_PREDICTIONS * smaller)),
            )
        except BenchError as error:
            # A row of its own: what is wrong with a peer says nothing about the rest.
            print(f"{peer.name} ({peer.keeps}): NO SCORE. {error}", flush=True)
        else:
            yield from _compared(peer, ours, [run])


def _compared(peer: Peer, ours: Sequence[Marginal], runs: Sequence[Marginal]) -> Iterator[Figure]:
    what = f"{peer.name} ({peer.keeps})"
    yield Figure(f"{what}: pairs per second and core", _per_core(runs), "pairs/s")
    yield Figure(f"{what}: CPU per pair", tuple(1e6 * run.worker_seconds / run.pairs for run in runs), "us")
    broker = tuple(1e6 * run.server_seconds("kafka") / run.records for run in runs)
    yield Figure(f"{what}: broker CPU per record", broker, "us")
    yield Figure(f"{what}: memory at its peak", tuple(run.large.cost.peak_bytes / MIB for run in runs), "MiB")
    yield Figure(f"{what}: wrong cells", (0,), f"of {len(_pairs(runs[0].large.expected.cells)):,}", 0)
    own = _per_core(ours) if len(runs) == len(ours) else (statistics.median(_per_core(ours)),) * len(runs)
    ratios = tuple(one / other for one, other in zip(own, _per_core(runs), strict=True))
    yield Figure(f"{OURS} for one of {peer.name}, pairs per second and core", ratios, "times", peer.times, operator.ge)


def _per_core(runs: Sequence[Marginal]) -> tuple[float, ...]:
    return tuple(run.pairs_per_core_second for run in runs)


def run_peer(services: Services, peer: Peer, shape: Shape) -> Run:
    """Count a log with a peer.

    Raises:
        BenchError: it is not installed, it failed, or a cell is wrong.
    """
    if not any(Path(folder, peer.command[0]).exists() for folder in ("/", *os.get_exec_path())):
        raise BenchError(f"{peer.command[0]} is not there; `{peer.target}` installs it")
    log, expected = services.log(shape), services.expected(shape)
    name = unique_name("peer")
    state, output = services.folder / name, services.folder / f"{name}.json"
    state.mkdir()
    cost = cost_of_running(
        [peer.command],
        environment={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KAFKA_BROKER": services.kafka.address,
            "PREDICTIONS_TOPIC": log.predictions_topic,
            "LABELS_TOPIC": log.labels_topic,
            "CELLS_TOPIC": create_topic(services.kafka.address, f"{name}-cells"),
            "GROUP_ID": name,
            "STATE_FOLDER": str(state),
            "OUTPUT": str(output),
            "IDLE_SECONDS": str(IDLE_SECONDS),
        },
        folder=services.folder,
        servers={"kafka": services.kafka.pid, "redis": services.redis.pid},
    )
    if not output.exists():
        raise BenchError("it ended without telling its counts")
    told = json.loads(output.read_text())
    cells = told["cells"] if "cells" in told else _newest(services.kafka.address, told["topic"])
    check_cells(_pairs(expected.cells), cells)
    return Run(cost=cost, expected=expected)


def _pairs(cells: Mapping[Cell, int]) -> Mapping[str, int]:
    """The labelled cells of everything, as peers name them."""
    return {
        f"{model}|{minute}|{prediction}|{label}": count
        for (model, segment, minute, label, prediction), count in cells.items()
        if segment == "{}" and label is not None
    }


def _newest(brokers: str, topic: str) -> Mapping[str, int]:
    """The last count of each cell and partition of the input, added up over partitions."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": topic, "enable.partition.eof": True, "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    newest: dict[str, int] = {}
    is_read = False
    while not is_read:
        for message in consumer.consume(5_000, 1.0):
            error = message.error()
            if error is None:
                newest[(message.key() or b"").decode()] = int(message.value() or b"0")
            elif error.code() == KafkaError._PARTITION_EOF:
                is_read = True
    consumer.close()
    cells: collections.Counter[str] = collections.Counter()
    for key, count in newest.items():
        cells[key.partition("#")[0]] += count
    return cells
