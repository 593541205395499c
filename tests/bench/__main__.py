"""`make bench`: measure, print each figure beside its bar, keep all of them as JSON.

    python -m tests.bench [--predictions N] [--json FILE]

A bar that is missed is printed as missed. A wrong cell is an error: then there is no figure.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import operator
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.servers import KafkaServer, RedisServer
from tests.bench.errors import BenchError
from tests.bench.evaluating import day_of_minutes_cost, many_models_cost
from tests.bench.intervals import coverage_rows
from tests.bench.intervals import table as interval_table
from tests.bench.joining import join_cost

__all__ = ["Figure", "main"]

MIB = 2**20
INTERVAL_WINDOWS = 1_000
"""Simulated for each figure of `deploy/guides/intervals.md`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result; `bar` is what it must not be above (or below), None if there is none."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    within: Callable[[float, float], bool] = operator.le

    @property
    def is_reached(self) -> bool:
        """Whether the bar is; true without one."""
        return self.bar is None or self.within(self.value, self.bar)

    def line(self) -> str:
        """For a terminal."""
        sign = "<=" if self.within is operator.le else ">="
        bar = "" if self.bar is None else f"{sign} {self.bar:,.6g} {'reached' if self.is_reached else 'MISSED'}"
        return f"{self.what:<62} {self.value:>12,.2f} {self.unit:<10} {bar}".rstrip()


def _backlog(kafka: KafkaServer, redis: RedisServer, folder: Path, predictions: int) -> Iterator[Figure]:
    for bare in (True, False):
        with_what = "join and cells" if bare else "with segment, score, delay, latency"
        cost = join_cost(kafka, redis, folder, predictions=predictions, bare=bare)
        yield Figure(f"backlog, {with_what}: worker CPU per record", cost.worker_us_per_record, "us", 3)
        yield Figure(f"backlog, {with_what}: Redis CPU per pair", cost.redis_us_per_pair, "us", 7 if bare else 12)
        yield Figure(f"backlog, {with_what}: broker CPU per record", cost.broker_us_per_record, "us")
        per_core = cost.pairs_per_core_second
        yield Figure(
            f"backlog, {with_what}: pairs per second and core",
            per_core,
            "pairs/s",
            70_000 if bare else None,
            operator.ge,
        )
        yield Figure(f"backlog, {with_what}: records per second", cost.records_per_second, "records/s")
        yield Figure(f"backlog, {with_what}: worker memory at its peak", cost.worker_peak_bytes / MIB, "MiB", 300)
        yield Figure(f"backlog, {with_what}: cells compared, all right", cost.cells, "cells")


def _evaluating(kafka: KafkaServer, redis: RedisServer) -> Iterator[Figure]:
    many = many_models_cost(kafka, redis)
    yield Figure("evaluation of 100 models, 3 segments, 5m, 1h, 1d: CPU", many.cpu_seconds, "s", 1)
    yield Figure("evaluation of 100 models, 3 segments, 5m, 1h, 1d: reports", many.reports, "reports")
    yield Figure("first evaluation of their whole day: CPU", many.first_seconds, "s")
    day = day_of_minutes_cost(kafka, redis)
    yield Figure("evaluation of a day over 1m base windows: CPU", 1e3 * day.cpu_seconds, "ms", 20)
    yield Figure("first evaluation of that day: CPU", 1e3 * day.first_seconds, "ms")


def main() -> int:
    """Run. Returns 1 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--predictions", type=int, default=1_000_000, help="of the backlog")
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    with KafkaServer() as kafka, RedisServer() as redis, tempfile.TemporaryDirectory(prefix="latelabel-") as folder:
        try:
            backlog = _backlog(kafka, redis, Path(folder), arguments.predictions)
            for figure in itertools.chain(backlog, _evaluating(kafka, redis)):
                figures.append(figure)
                print(figure.line(), flush=True)
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
    if arguments.json is not None:
        lines = [{"what": each.what, "value": each.value, "unit": each.unit, "bar": each.bar} for each in figures]
        arguments.json.write_text(json.dumps(lines, indent=2) + "\n")
    print(interval_table(list(coverage_rows(windows=INTERVAL_WINDOWS))))
    missed = sum(not figure.is_reached for figure in figures)
    print(f"{sum(figure.bar is not None for figure in figures)} bars, {missed} missed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
