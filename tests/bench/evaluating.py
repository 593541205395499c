"""What one evaluation costs: reports of many models at once, and the report on a day that is made of minutes.

Both on a real Redis and a real Kafka, with a whole day counted before. What is measured is the second evaluation,
after the newest base window of every model has changed, and once more the same by an evaluator that has just been
started; processor seconds are those of this process, which does nothing else meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Iterator, Sequence

from agents.evaluator import Evaluator
from agents.garbage import look_for_garbage_rarely
from agents.publisher import KafkaPublisher
from agents.redis_connection import RedisClient
from agents.redis_ledger import RedisLedger
from agents.redis_reports import RedisReports
from deploy.servers import KafkaServer, RedisServer
from streams.ledger.parts import Role, Source
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel, Task
from streams.ports import OutgoingMessage
from streams.publication import EvaluationSettings
from tests.bench.errors import BenchError
from tests.bench.figures import Figure
from tests.bench.workers import Services
from tests.support.evaluation import quality_reports
from tests.support.intake_world import SHARDS, FakeClock, IntakeWorld, batch_of, label, prediction
from tests.support.redis_ledgers import connected
from tests.support.services import create_topic, unique_name

__all__ = ["EvaluationCost", "evaluation"]

MODELS = 100
REGIONS = ("apac", "emea", "amer")
DAY_START_MS = 1_795_392_000_000
"""2026-11-23T00:00:00Z"""
PREDICTIONS, LABELS = Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 0)
WINDOWS_A_BATCH = 12


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCost:
    """Of the second evaluation; `first_seconds` of the first, which reports on every window of the day, and
    `restart_seconds` of the first after a restart, which reads the day and reports on what has changed."""

    cpu_seconds: float
    first_seconds: float
    restart_seconds: float
    reports: int


def evaluation(services: Services) -> Iterator[Figure]:
    """100 models, or as many as the scale says, each with everything and three segments, and reports of 5 minutes, an
    hour and a day; then one model that reports on days alone, counted by the minute."""
    look_for_garbage_rarely()  # as a worker does
    count = max(1, round(MODELS * services.scale))
    models = [_model(number, (5 * MINUTE_MS, HOUR_MS, DAY_MS), 5 * MINUTE_MS) for number in range(count)]
    many = asyncio.run(_cost(services.kafka, services.redis, models, a_window=6))
    what = f"evaluation of {count} models, 3 segments, 5m, 1h, 1d"
    yield Figure(f"{what}: CPU", (many.cpu_seconds,), "s", count / MODELS)
    yield Figure(f"{what}: reports", (many.reports,), "reports")
    yield Figure("first evaluation of their whole day: CPU", (many.first_seconds,), "s")
    yield Figure("first evaluation after a restart: CPU", (many.restart_seconds,), "s")
    day = asyncio.run(_cost(services.kafka, services.redis, [_model(0, (DAY_MS,), MINUTE_MS)], a_window=60))
    yield Figure("evaluation of a day over 1m base windows: CPU", (1e3 * day.cpu_seconds,), "ms", 20)
    yield Figure("first evaluation of that day: CPU", (1e3 * day.first_seconds,), "ms")
    yield Figure("the same after a restart: CPU", (1e3 * day.restart_seconds,), "ms")


def _model(number: int, report_windows_ms: tuple[int, ...], base_window_ms: int) -> MonitoredModel:
    return MonitoredModel(
        name=f"m{number}",
        task=Task.BINARY,
        positive_class="yes",
        report_windows_ms=report_windows_ms,
        base_window_ms=base_window_ms,
        segments=("region",),
    )


async def _cost(
    kafka: KafkaServer, redis: RedisServer, models: Sequence[MonitoredModel], *, a_window: int
) -> EvaluationCost:
    name = unique_name("evaluating")
    create_topic(kafka.address, name)
    publisher = _Remembering({"bootstrap_servers": kafka.address})
    try:
        async with connected(redis.unix_url) as client:
            return await _measure(client, publisher, models, name=name, a_window=a_window)
    finally:
        await publisher.stop()


class _Remembering(KafkaPublisher):
    """Keeps what belongs to whole days, so that it can be checked."""

    days: Sequence[OutgoingMessage] = ()
    count: int = 0

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        await super().send(messages)
        self.count += len(messages)
        self.days = [*self.days, *(message for message in messages if b",86400," in (message.key or b""))]


async def _measure(
    client: RedisClient, publisher: _Remembering, models: Sequence[MonitoredModel], *, name: str, a_window: int
) -> EvaluationCost:
    ledger = RedisLedger(
        client, address="redis", prefix=name, shards=SHARDS, label_hold_ms=HOUR_MS, keep_windows_ms=30 * DAY_MS
    )
    for shard in range(SHARDS):
        await ledger.create(shard, ledger_id=name, sources={PREDICTIONS: 0, LABELS: 0})
    world = IntakeWorld({PREDICTIONS: (), LABELS: ()}, models=models, wrap=lambda _: ledger, max_read_ahead_ms=DAY_MS)
    settings = EvaluationSettings(
        models={model.name: model for model in models},
        interval_ms=10_000,
        lateness_ms=0,
        keep_windows_ms=30 * DAY_MS,
        confidence_level=0.95,
        config_hash=name,
        topic=name,
        source="/latelabel/bench",
    )
    store = RedisReports(client, address="redis", prefix=name)
    before, after_restart = (
        Evaluator(ledger, store, publisher, settings, FakeClock(), lambda _: True) for _ in range(2)
    )
    base_ms = models[0].base_window_ms
    last_ms = DAY_START_MS + DAY_MS - base_ms
    rng = random.Random(7)
    seconds: list[float] = []
    counts: list[int] = []
    rounds = ((before, range(DAY_START_MS, last_ms + 1, base_ms)), (before, [last_ms]), (after_restart, [last_ms]))
    async with world.running() as intake:
        offset = 0
        for evaluator, starts in rounds:
            for values in _windows(rng, models, starts, a_window, offset):
                for source, of_source in zip((PREDICTIONS, LABELS), values, strict=True):
                    await intake.put(source, batch_of(source, of_source, base=offset), lambda: None)
                offset += len(values[0])
            await world.settle(intake, pause_seconds=0.01)
            publisher.days, publisher.count = (), 0
            began = time.process_time()
            evaluated = await evaluator.evaluate(everything=True)
            seconds.append(time.process_time() - began)
            counts.append(publisher.count)
            if evaluated.pending:
                raise BenchError("an evaluation left windows behind")
    _check(publisher.days, models, offset // len(models))
    first, second, restart = seconds
    return EvaluationCost(first_seconds=first, cpu_seconds=second, restart_seconds=restart, reports=counts[1])


def _windows(
    rng: random.Random, models: Sequence[MonitoredModel], starts: Sequence[int], count: int, offset: int
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Predictions and labels, as many of each; both of one window are in it."""
    base_ms = models[0].base_window_ms
    for first in range(0, len(starts), WINDOWS_A_BATCH):
        predictions: list[bytes] = []
        labels: list[bytes] = []
        for start_ms in starts[first : first + WINDOWS_A_BATCH]:
            for number in range(count):
                at_ms = start_ms + base_ms * number // count
                for model in models:
                    request_id = str(offset + len(predictions))
                    score, answer = round(rng.random(), 2), rng.random()
                    predictions.append(
                        prediction(
                            request_id,
                            "yes" if score > 0.5 else "no",
                            at_ms=at_ms,
                            model=model.name,
                            score=score,
                            latency_ms=round(rng.lognormvariate(3.0, 0.5), 2),
                            segment={"region": rng.choice(REGIONS)},
                        )
                    )
                    truth = "yes" if answer < score else "no"
                    labels.append(label(request_id, truth, at_ms=at_ms + rng.randrange(HOUR_MS)))
        yield predictions, labels
        offset += len(predictions)


def _check(days: Sequence[OutgoingMessage], models: Sequence[MonitoredModel], count: int) -> None:
    """Every model's day has all that was written for it."""
    reports = quality_reports(days)
    counts = [(report.predictions, report.labelled) for report in reports if not report.segment]
    if counts != [(count, count)] * len(models):
        raise BenchError("a report on a day is wrong, so no figure counts")
