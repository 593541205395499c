"""What a worker counts about itself, under Prometheus' names. Labels are bounded by partitions."""

from __future__ import annotations

from collections.abc import Iterator

from agents.exposition import Kind, Metric
from agents.housekeeping import Housekeeping
from agents.intake import Intake
from agents.outages import Outages
from agents.reloading import Reloading
from streams.ledger.fates import LabelFate, PredictionFate
from streams.ledger.parts import Role, Source

__all__ = ["worker_metrics"]


def worker_metrics(intake: Intake, house: Housekeeping, outages: Outages, reloading: Reloading) -> Iterator[Metric]:
    """All of them, as they stand now; each is there from the first time on, so that its first step is seen."""
    owned = sorted(intake.partitions)
    stopped = [source for source in owned if intake.partitions[source].is_stopped]
    yield Metric(
        "latelabel_commits_total",
        Kind.COUNTER,
        "Commits to shards of the ledger, those included that the shard answered without applying anything.",
        sum(writer.commits for writer in house.writers),
    )
    yield Metric(
        "latelabel_conservation_checks_total",
        Kind.COUNTER,
        "Times a shard's records were added up.",
        house.conservation.checks,
    )
    yield Metric(
        "latelabel_conservation_failures_total",
        Kind.COUNTER,
        "Times they did not add up: the shard's counts are wrong.",
        house.conservation.failures,
    )
    tally = intake.tally
    yield Metric(
        "latelabel_records_total",
        Kind.COUNTER,
        "Records taken in, good and bad; those that trouble makes it read again count again.",
        {(("topic", role),): tally.records[role] for role in Role},
    )
    yield Metric(
        "latelabel_dead_letters_total",
        Kind.COUNTER,
        "Bad records among them, written to the dead letters.",
        {(("topic", role),): tally.dead_letters[role] for role in Role},
    )
    yield Metric(
        "latelabel_input_gaps_total",
        Kind.COUNTER,
        "Times a shard stepped over input that Kafka no longer had; windows are incomplete since.",
        {(("topic", role),): tally.gaps[role] for role in Role},
    )
    yield Metric("latelabel_held_bytes", Kind.GAUGE, "Of record values taken in and not committed.", intake.held_bytes)
    yield Metric("latelabel_partitions_owned", Kind.GAUGE, "Partitions that this worker reads.", len(owned))
    yield Metric(
        "latelabel_partitions_stopped",
        Kind.GAUGE,
        "Of those, stopped until an operator decides: by bad records, or because the log was replaced.",
        len(stopped),
    )
    yield Metric(
        "latelabel_partitions_paused",
        Kind.GAUGE,
        "Of those, not fetched at present: stopped, or read too far ahead of the lowest one.",
        len(intake.paused()),
    )
    yield Metric("latelabel_outage", Kind.GAUGE, "1 while Kafka or Redis does not answer.", int(outages.is_on))
    yield Metric(
        "latelabel_config_last_reload_successful",
        Kind.GAUGE,
        "0 after a configuration was refused on SIGHUP: the worker goes on by the one before.",
        int(reloading.succeeded),
    )
    yield Metric(
        "latelabel_config_last_reload_success_timestamp_seconds",
        Kind.GAUGE,
        "When the configuration in use was read.",
        reloading.succeeded_ms / 1000,
    )
    seen = house.seen
    yield Metric(
        "latelabel_watermark_timestamp_seconds",
        Kind.GAUGE,
        "Event time before which nothing more is expected, in the shard that is furthest behind; 0 until known.",
        0.0 if seen is None else min(state.watermark_ms for state in seen.states) / 1000,
    )
    yield Metric(
        "latelabel_lag_offsets",
        Kind.GAUGE,
        "From what every shard has counted of an owned partition to its end, as last looked at; 0 until then.",
        {_labels(source): 0 if seen is None else seen.lag(source) for source in owned},
    )
    now_seconds = house.clock.monotonic_seconds()
    yield Metric(
        "latelabel_oldest_uncounted_seconds",
        Kind.GAUGE,
        "How long the oldest record of an owned partition that some shard has not counted waits, at the least.",
        {_labels(source): house.ages.age_seconds(source, now_seconds=now_seconds) for source in owned},
    )
    fates = house.conservation.fates
    yield Metric(
        "latelabel_waiting_predictions",
        Kind.GAUGE,
        "Predictions of the whole ledger that wait for a label, as last added up; the same at every worker.",
        fates.get(f"{Role.PREDICTIONS}:{PredictionFate.WAITING}", 0),
    )
    yield Metric(
        "latelabel_held_labels",
        Kind.GAUGE,
        "Labels of the whole ledger that no prediction has come for yet; the same at every worker.",
        fates.get(f"{Role.LABELS}:{LabelFate.HELD}", 0),
    )
    memory = house.memory
    yield Metric(
        "latelabel_redis_memory_used_bytes",
        Kind.GAUGE,
        "Of the Redis server that is fullest, as last asked; 0 until known.",
        0 if memory is None else memory.used_bytes,
    )
    yield Metric(
        "latelabel_redis_memory_limit_bytes",
        Kind.GAUGE,
        "Its maxmemory, or the machine's memory where it has none; 0 until known.",
        0 if memory is None else memory.limit_bytes,
    )


def _labels(source: Source) -> tuple[tuple[str, str], ...]:
    return (("topic", source.role), ("partition", str(source.partition)))
