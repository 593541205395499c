"""W1, W5, W6 and W8: what counting a log costs that waits in Kafka, and how that changes with what is in it.

Costs are marginal: those of a log less those of its first tenth, at the same pace of event time, over the difference
in records, so that starting Python, joining the group and closing the windows are left out.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Sequence

from tests.bench.backlog import Shape
from tests.bench.figures import Figure
from tests.bench.workers import Run, Services

__all__ = ["Marginal", "w1", "w1_log", "w5", "w6", "w8"]

MIB = 2**20
W1_PREDICTIONS, FURTHER_PREDICTIONS = 1_000_000, 100_000
SMALL_SHARE = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Marginal:
    """The difference between two runs of one shape."""

    small: Run
    large: Run

    @property
    def records(self) -> int:
        """Predictions and labels."""
        return self.large.expected.records - self.small.expected.records

    @property
    def pairs(self) -> int:
        """Predictions with a label."""
        return self.large.expected.pairs - self.small.expected.pairs

    @property
    def worker_seconds(self) -> float:
        """Of processor time."""
        return self.large.cost.own_seconds - self.small.cost.own_seconds

    def server_seconds(self, name: str) -> float:
        """Of processor time."""
        return self.large.cost.server_seconds[name] - self.small.cost.server_seconds[name]

    @property
    def pairs_per_core_second(self) -> float:
        """Of worker and Redis together."""
        return self.pairs / (self.worker_seconds + self.server_seconds("redis"))

    @property
    def records_per_second(self) -> float:
        """By the clock."""
        return self.records / (self.large.cost.wall_seconds - self.small.cost.wall_seconds)


def w1_log(services: Services, *, bare: bool, share: float = 1.0) -> Shape:
    """The log of W1, or a shorter one; peers read the very same."""
    return Shape(predictions=services.scaled(int(W1_PREDICTIONS * share)), bare=bare)


def w1(services: Services) -> Iterator[Figure]:
    """The backlog, twice: with what a join and its cells need alone, and with everything in."""
    for bare, what in ((True, "W1, join and cells"), (False, "W1, with segment, score, delay, latency")):
        runs = [_marginal(services, w1_log(services, bare=bare)) for _ in range(services.repeats)]

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
    small = dataclasses.replace(shape, predictions=max(1, int(shape.predictions * SMALL_SHARE)))
    return Marginal(
        services.count(small, partitions=partitions, workers=workers),
        services.count(shape, partitions=partitions, workers=workers),
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
