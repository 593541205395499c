"""W1, W5, W6 and W8: what counting a log costs that waits in Kafka, and how that changes with what is in it.

Costs are those of a log less those of its first tenth.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Sequence

from tests.bench.backlog import Shape
from tests.bench.figures import Figure
from tests.bench.marginal import Marginal, marginal
from tests.bench.peers.running import paired_turns, w1_shape
from tests.bench.workers import Services

__all__ = ["w1", "w5", "w6", "w8"]

MIB = 2**20
FURTHER_PREDICTIONS = 40_000
MOST_REPEATS_ALONE = 2
"""Of what nothing is compared with in turns."""
SMALL_SHARE = 0.1


def w1(services: Services) -> Iterator[Figure]:
    """The backlog, twice: with what a join and its cells need alone, and with everything in."""
    for bare, what in ((True, "W1, join and cells"), (False, "W1, with segment, score, delay, latency")):
        if bare:
            runs = paired_turns(services)[0]
        else:
            repeats = min(services.repeats, MOST_REPEATS_ALONE)
            runs = [_marginal(services, w1_shape(services, bare=False)) for _ in range(repeats)]

        def figure(
            name: str,
            of: Callable[[Marginal], float],
            unit: str,
            bar: float | None = None,
            *,
            within: Callable[[float, float], bool] = operator.le,
            what: str = what,
            runs: Sequence[Marginal] = runs,
        ) -> Figure:
            return Figure(f"{what}: {name}", tuple(map(of, runs)), unit, bar, within)

        per_core = None if not bare else 70_000
        yield figure("worker CPU per record", lambda run: 1e6 * run.worker_seconds / run.records, "us", 3)
        redis_bar = 7 if bare else 12
        yield figure("Redis CPU per pair", lambda run: 1e6 * run.server_seconds("redis") / run.pairs, "us", redis_bar)
        yield figure("broker CPU per record", lambda run: 1e6 * run.server_seconds("kafka") / run.records, "us")
        yield figure(
            "pairs per second and core, worker and Redis together",
            lambda run: run.pairs_per_core_second,
            "pairs/s",
            per_core,
            within=operator.ge,
        )
        yield figure("records per second by the clock", lambda run: run.records_per_second, "records/s")
        yield figure("worker memory at its peak", lambda run: run.large.cost.peak_bytes / MIB, "MiB", 300)
        yield figure("wrong cells", lambda run: 0, f"of {len(runs[0].large.expected.cells):,}", 0)
        yield figure("others on the machine meanwhile", lambda run: run.large.cost.others_cores, "cores")


def w5(services: Services) -> Iterator[Figure]:
    """Models, segment values and classes: one of them changed at a time."""
    count = services.scaled(FURTHER_PREDICTIONS)
    base = Shape(predictions=count)
    for what, shape in (
        ("4 models, 3 segment values, 5 classes", base),
        ("1 model", dataclasses.replace(base, models=1)),
        ("100 models", dataclasses.replace(base, models=100)),
        ("1,000 models", dataclasses.replace(base, models=1_000)),
        ("50 segment values", dataclasses.replace(base, segment_values=50)),
        ("2 classes", dataclasses.replace(base, classes=2)),
        ("100 classes", dataclasses.replace(base, classes=100)),
    ):
        yield from _costs(services, f"W5, {what}", shape)


def w6(services: Services) -> Iterator[Figure]:
    """One model that gets nine predictions in ten, and ids that are counted up."""
    base = Shape(predictions=services.scaled(FURTHER_PREDICTIONS), hot_share=0.9)
    yield from _costs(services, "W6, hot model, UUIDs", base)
    yield from _costs(services, "W6, hot model, sequential ids", dataclasses.replace(base, sequential_ids=True))


def w8(services: Services) -> Iterator[Figure]:
    """Workers and partitions."""
    shape = Shape(predictions=services.scaled(FURTHER_PREDICTIONS))
    for partitions in (4, 16, 64):
        for workers in (1, 2):
            what = f"W8, {workers} {'worker' if workers == 1 else 'workers'}, {partitions} + {partitions} partitions"
            yield from _costs(services, what, shape, partitions=partitions, workers=workers)


def _marginal(services: Services, shape: Shape, *, partitions: int = 4, workers: int = 1) -> Marginal:
    return marginal(
        lambda each: services.count(each, partitions=partitions, workers=workers),
        shape,
        small=max(1, int(shape.predictions * SMALL_SHARE)),
    )


def _costs(services: Services, what: str, shape: Shape, *, partitions: int = 4, workers: int = 1) -> Iterator[Figure]:
    """The short form: once, for comparison with each other."""
    run = _marginal(services, shape, partitions=partitions, workers=workers)
    yield Figure(f"{what}: worker CPU per record", (1e6 * run.worker_seconds / run.records,), "us")
    yield Figure(f"{what}: Redis CPU per pair", (1e6 * run.server_seconds("redis") / run.pairs,), "us")
    yield Figure(f"{what}: broker CPU per record", (1e6 * run.server_seconds("kafka") / run.records,), "us")
    yield Figure(f"{what}: pairs per second and core", (run.pairs_per_core_second,), "pairs/s")
    yield Figure(f"{what}: memory of a worker at its peak", (run.large.cost.peak_bytes / MIB,), "MiB", 300)
    yield Figure(f"{what}: wrong cells", (0,), f"of {len(run.large.expected.cells):,}", 0)
