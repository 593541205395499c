"""`make bench`: measure, print each figure beside its bar, keep all of them as JSON.

    python -m tests.bench [--only w1,w2] [--peers all] [--scale 0.01] [--json FILE]

A bar that is missed is printed as missed. A wrong cell is an error: then the measurement has no figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from deploy.servers import KafkaServer, RedisServer
from tests.bench import counting, pacing, waiting
from tests.bench.alert_cost import alerting
from tests.bench.errors import BenchError
from tests.bench.evaluating import evaluation
from tests.bench.explained import explained
from tests.bench.explaining import explaining
from tests.bench.figures import HEAD, Figure
from tests.bench.instructions import instructions
from tests.bench.intervals import coverage_rows
from tests.bench.intervals import table as interval_table
from tests.bench.page import hostile, page
from tests.bench.peers.running import ALL, ALWAYS, peers
from tests.bench.workers import Services

__all__ = ["main"]

INTERVAL_WINDOWS = 500
"""Simulated for each figure of `deploy/guides/intervals.md`."""
REPEATS = 3


def _intervals(_: Services) -> Iterator[Figure]:
    print(interval_table(list(coverage_rows(windows=INTERVAL_WINDOWS))))
    yield from ()


MEASUREMENTS: Mapping[str, Callable[[Services], Iterator[Figure]]] = {
    "w1": counting.w1,
    "w2": pacing.w2,
    "small": pacing.small_batches,
    "w3": waiting.w3,
    "peers": lambda services: peers(services, ALWAYS),
    "w5": counting.w5,
    "w6": counting.w6,
    "w8": counting.w8,
    "evaluation": evaluation,
    "alerting": alerting,
    "explaining": explaining,
    "explained": explained,
    "page": page,
    "hostile": hostile,
    "instructions": instructions,
    "intervals": _intervals,
}


def main() -> int:
    """Run. Returns 1 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--only", default="", help=f"some of {','.join(MEASUREMENTS)}; all if empty")
    parser.add_argument("--peers", choices=["some", "all"], default="some", help="all: those too that are large")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of records")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of the backlog")
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    arguments = parser.parse_args()
    measurements = {**MEASUREMENTS}
    if arguments.peers == "all":
        measurements["peers"] = lambda services: peers(services, ALL)
    names = [name for name in arguments.only.split(",") if name] or list(MEASUREMENTS)
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        parser.error(f"there is no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    figures: list[Figure] = []
    failures = 0
    began = time.monotonic()
    print(HEAD)
    with KafkaServer() as kafka, RedisServer() as redis, tempfile.TemporaryDirectory(prefix="latelabel-") as folder:
        services = Services(kafka, redis, Path(folder), scale=arguments.scale, repeats=arguments.repeats)
        for name in names:
            since = time.monotonic()
            try:
                for figure in measurements[name](services):
                    figures.append(figure)
                    print(figure.line(), flush=True)
            except BenchError as error:
                failures += 1
                print(f"{name}: NO SCORE. {error}", file=sys.stderr, flush=True)
            print(f"{name} took {time.monotonic() - since:.0f} s", flush=True)
    if arguments.json is not None:
        content = {"scale": arguments.scale, "figures": [figure.as_json() for figure in figures]}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    bars = [figure for figure in figures if figure.bar is not None]
    missed = sum(not figure.is_met for figure in bars)
    print(f"{len(bars)} bars, {missed} missed; {failures} without a score; {time.monotonic() - began:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
