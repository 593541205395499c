"""The wiring of what a worker says about itself; a part of `agents.app`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from socket import gethostname

from agents.process_metrics import resident_bytes, taken_seconds
from agents.settings import Settings, config_hash
from agents.system_watch import MOST_SECONDS, SystemWatch, WorkerNumbers
from agents.worker import Worker
from streams.ledger.fates import LabelFate, PredictionFate
from streams.ledger.parts import Role
from streams.ports import Clock, Publisher, ReportStore
from streams.stability.resource_reports import ReportSettings
from streams.stability.system_figures import SystemLook

__all__ = ["build_system_watch"]

_FATES: Mapping[Role, tuple[str, ...]] = {
    Role.PREDICTIONS: ("read", *PredictionFate),
    Role.LABELS: ("read", *LabelFate),
}


def build_system_watch(
    settings: Settings,
    clock: Clock,
    publisher: Publisher,
    numbers: WorkerNumbers,
    reports: ReportStore,
    worker: Worker,
    *,
    port: int,
) -> SystemWatch:
    """The reports of a worker on itself, ready to be run.

    Args:
        port: at which it answers.
    """
    return SystemWatch(
        numbers,
        reports,
        publisher,
        clock,
        functools.partial(look_at, worker, settings, clock),
        settings=ReportSettings(
            topic=settings.kafka.topic("metrics"),
            source=f"/latelabel/{settings.kafka.group}",
            config_hash=config_hash(settings),
            interval_ms=settings.evaluation_interval_ms,
        ),
        sizes_ms=settings.model("").report_windows_ms,
        address=f"{gethostname()}:{port}",
        program_version=version("latelabel"),
    )


async def look_at(worker: Worker, settings: Settings, clock: Clock) -> SystemLook:
    """One look of a worker at itself.

    Raises: TemporaryFailure: the ledger does not answer.
    """
    conservation = worker.house.conservation
    await conservation.check_all()
    fates = conservation.fates
    return SystemLook(
        numbers=dict(_numbers(worker, fates, clock)),
        counters=dict(_counters(worker)),
        fates={
            settings.kafka.topic(role): {str(name): fates.get(f"{role}:{name}", 0) for name in names}
            for role, names in _FATES.items()
        },
        violations=tuple(
            f"shard {shard}: {violation}"
            for shard, violations in sorted(conservation.violations.items())
            for violation in violations
        ),
    )


def _numbers(worker: Worker, fates: Mapping[str, int], clock: Clock) -> Iterator[tuple[str, float]]:
    house, now_seconds = worker.house, clock.monotonic_seconds()
    counted = {source for source, partition in worker.intake.partitions.items() if not partition.is_stopped}
    if house.seen is not None:
        yield "lag_offsets", sum(map(house.seen.lag, worker.intake.partitions))
        ages = (house.ages.age_seconds(source, now_seconds=now_seconds) for source in counted)
        yield "oldest_uncounted_seconds", max(ages, default=0.0)
    yield "waiting_predictions", fates.get(f"{Role.PREDICTIONS}:{PredictionFate.WAITING}", 0)
    yield "held_labels", fates.get(f"{Role.LABELS}:{LabelFate.HELD}", 0)
    yield "partitions_owned", len(worker.intake.partitions)
    yield "partitions_stopped", len(worker.intake.partitions) - len(counted)
    if house.memory is not None and house.memory.limit_bytes:
        yield "redis_memory_bytes", house.memory.used_bytes
        yield "redis_memory_ratio", house.memory.used_bytes / house.memory.limit_bytes
    yield "event_loop_lag_seconds", worker.loop_lag.longest(since_seconds=now_seconds - MOST_SECONDS)
    yield "worker_memory_bytes", resident_bytes()


def _counters(worker: Worker) -> Iterator[tuple[str, float]]:
    house, tally = worker.house, worker.intake.tally
    yield "records_taken_in", sum(tally.records.values())
    yield "dead_letters", sum(tally.dead_letters.values())
    yield "input_gaps", sum(tally.gaps.values())
    yield "rebalances", worker.app.rebalances_ended
    yield "worker_starts", 1
    yield "worker_cpu_seconds", taken_seconds()
    yield "commits", sum(writer.commits for writer in house.writers)
    yield "conservation_checks", house.conservation.checks
    yield "conservation_failures", house.conservation.failures
