"""W3: predictions that wait for labels which do not come. What they take, and whether that stays so.

One log is written in three steps, and a worker of its own counts each, so that the cost of a record can be compared
between a ledger that is nearly empty and one that holds millions. A second log goes on for longer than its horizon,
with labels, so that both topics move the watermark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis

from tests.bench.backlog import Record, Shape, backlog, write
from tests.bench.figures import Figure
from tests.bench.workers import Services, check_cells

__all__ = ["w3"]

MIB = 2**20
WAITING = (100_000, 1_000_000, 5_000_000)
HELD_FOR_A_BAR = 1_000_000
HORIZON_PREDICTIONS = 300_000
HORIZON_MINUTES = 60
MODEL: dict[str, Any] = {"report_windows": ["1h"], "segments": []}


def w3(services: Services) -> Iterator[Figure]:
    """0.1, 1 and 5 million waiting, then one more horizon."""
    sizes = [services.scaled(size) for size in WAITING]
    shape = Shape(predictions=sizes[-1], bare=True, label_after_records=None)
    steps = _steps(services, shape, sizes, horizon="1d")
    for size, nominal, (seconds, redis_seconds, taken, peak) in zip(sizes, WAITING, steps, strict=True):
        what = f"W3, {size:,} waiting over 8 shards"
        bar = 200 if nominal == HELD_FOR_A_BAR else None
        yield Figure(f"{what}: Redis memory for each", (taken / size,), "bytes", bar)
        yield Figure(f"{what}: worker CPU per record up to there", (seconds,), "us")
        yield Figure(f"{what}: Redis CPU per record up to there", (redis_seconds,), "us")
        yield Figure(f"{what}: worker memory at its peak", (peak / MIB,), "MiB", 300)
    yield Figure("W3: wrong cells", (0,), f"of {len(services.expected(shape).cells):,}", 0)

    size = services.scaled(HORIZON_PREDICTIONS)
    apart = HORIZON_MINUTES * 60_000_000 // size
    delay = size // 30, size // 10
    shape = Shape(predictions=4 * size, bare=True, label_after_records=delay, microseconds_apart=apart)
    # Windows that are over leave soon: what stays is what waits.
    steps = _steps(services, shape, [3 * size, 4 * size], horizon=f"{HORIZON_MINUTES}m", keep_windows="1h")
    (*_, before, _), (*_, after, _) = steps
    growth = 100 * (after - before) / before
    yield Figure(f"W3, {size:,} within a horizon: growth of Redis after one more horizon", (growth,), "%", 1)


def _steps(
    services: Services, shape: Shape, sizes: Sequence[int], *, horizon: str, keep_windows: str = "30d"
) -> list[tuple[float, float, int, int]]:
    """Worker and Redis microseconds for each record, bytes taken in Redis, and a worker's peak, after each step."""
    log = services.empty_log(shape, partitions=4)
    models = [{"name": f"m{number}", "label_horizon": horizon, **MODEL} for number in range(shape.models)]
    installation = services.installation(log, models=models, keep_windows=keep_windows)
    empty = _used_bytes(services)
    records = backlog(shape)
    found = []
    for written, size in zip([0, *sizes], sizes, strict=False):
        step = records if size == shape.predictions else _first(records, size - written)
        write(step, brokers=services.kafka.address, topics=log.topics)
        cost = installation.run_until_caught_up()
        per_record = 1e6 / (size - written)
        taken = _used_bytes(services) - empty
        found.append((cost.own_seconds * per_record, cost.server_seconds["redis"] * per_record, taken, cost.peak_bytes))
    expected, counted = _by_hour(services.expected(shape).cells), _by_hour(installation.counted())
    kept = {start for _, _, start, *_ in counted}
    check_cells({cell: count for cell, count in expected.items() if cell[2] in kept}, counted)
    return found


def _first(records: Iterator[Record], predictions: int) -> Iterator[Record]:
    """So many predictions, with the labels among them."""
    for record in records:
        yield record
        predictions -= record.is_prediction
        if not predictions:
            return


def _by_hour(cells: Any) -> dict[Any, int]:
    """Of the minutes that are counted, or hours already."""
    hours: dict[Any, int] = {}
    for (model, segment, start, *pair), count in cells.items():
        key = (model, segment, start[:13], *pair)
        hours[key] = hours.get(key, 0) + count
    return hours


def _used_bytes(services: Services) -> int:
    with Redis.from_url(services.redis.unix_url) as client:
        return int(client.info("memory")["used_memory_dataset"])
