"""The metrics of a report of kind `system`: what each is, and how it grows with every look of a worker at itself.

A figure needs nothing but its last value and the new look, so a window is continued from its last report. What a worker
does not know yet is undefined, never 0.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from types import MappingProxyType

from schemas.window_report import Metric

__all__ = ["SYSTEM_DEFINITIONS", "SYSTEM_REASONS", "SystemDefinition", "SystemLook", "SystemReason", "figures_after"]

DIGITS = 6
"""After the point of seconds and ratios."""


class SystemReason(enum.StrEnum):
    """Why a figure has no value."""

    NOT_KNOWN_YET = "not_known_yet"
    NO_RECORDS = "no_records"


SYSTEM_REASONS: Mapping[SystemReason, str] = MappingProxyType(
    {
        SystemReason.NOT_KNOWN_YET: "The worker has not been told of it yet by Kafka or Redis.",
        SystemReason.NO_RECORDS: "The worker took in no record.",
    }
)


class Growth(enum.StrEnum):
    """What a look does to a figure."""

    LARGEST = "largest"
    LEAST = "least"
    SUM = "sum"


@dataclasses.dataclass(frozen=True, slots=True)
class SystemDefinition:
    """One metric; `of` is the number of a look that it is made from, if that has another name."""

    meaning: str
    growth: Growth = Growth.LARGEST
    of: str | None = None


_SUM = Growth.SUM

SYSTEM_DEFINITIONS: Mapping[str, SystemDefinition] = MappingProxyType(
    {
        "lag_offsets": SystemDefinition("Offsets of its partitions that some shard has not counted, largest."),
        "least_lag_offsets": SystemDefinition("The same, least.", Growth.LEAST, "lag_offsets"),
        "oldest_uncounted_seconds": SystemDefinition(
            "How long the oldest record of its partitions that some shard has not counted waits; stopped ones left out."
        ),
        "waiting_predictions": SystemDefinition("Predictions of the whole ledger that wait for a label, largest."),
        "held_labels": SystemDefinition("Labels of the whole ledger that no prediction has come for, largest."),
        "records_taken_in": SystemDefinition("Records that it took in, good and bad.", _SUM),
        "dead_letters": SystemDefinition("Bad records among them, written to the dead letters.", _SUM),
        "dead_letter_ratio": SystemDefinition("Dead letters by records taken in."),
        "input_gaps": SystemDefinition("Times that a shard stepped over input which Kafka no longer had.", _SUM),
        "partitions_owned": SystemDefinition("Partitions that it reads, most."),
        "partitions_stopped": SystemDefinition("Of those, stopped until an operator decides, most."),
        "rebalances": SystemDefinition("Times that partitions were dealt out anew, its own start included.", _SUM),
        "worker_starts": SystemDefinition("Times that a worker of this number was started.", _SUM),
        "redis_memory_bytes": SystemDefinition("Memory in use of the Redis server that is fullest, largest."),
        "redis_memory_ratio": SystemDefinition("The same by what it may use, or the machine has, largest."),
        "event_loop_lag_seconds": SystemDefinition("How late the event loop came to what was due, longest."),
        "worker_memory_bytes": SystemDefinition("Resident memory of the worker, largest."),
        "worker_cpu_seconds": SystemDefinition("Processor time that the worker took.", _SUM),
        "commits": SystemDefinition("Commits to shards of the ledger.", _SUM),
        "conservation_checks": SystemDefinition("Times that a shard's records were added up.", _SUM),
        "conservation_failures": SystemDefinition("Times that they did not add up.", _SUM),
    }
)
"""By name."""
_RATIO = "dead_letter_ratio"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SystemLook:
    """One look of a worker at itself.

    Args:
        numbers: as they stand, by metric; what is not known is left out.
        counters: what only grows as long as the process lives, by metric.
        fates: of all shards, by topic, with `read`.
        violations: what does not add up.
    """

    numbers: Mapping[str, float]
    counters: Mapping[str, float]
    fates: Mapping[str, Mapping[str, int]]
    violations: tuple[str, ...] = ()


def figures_after(
    before: Mapping[str, Metric], numbers: Mapping[str, float], grown: Mapping[str, float]
) -> tuple[dict[str, Metric], dict[str, str]]:
    """All metrics of a window after one more look, and the reason for each that is undefined.

    Args:
        before: its metrics so far.
        numbers: of `SystemLook`.
        grown: by how much each counter has grown since the last look.
    """
    figures = {name: _after(before.get(name), name, numbers, grown) for name in SYSTEM_DEFINITIONS if name != _RATIO}
    metrics = {name: figures[name] if name != _RATIO else _ratio(figures) for name in SYSTEM_DEFINITIONS}
    undefined = {
        name: str(SystemReason.NO_RECORDS if name == _RATIO else SystemReason.NOT_KNOWN_YET)
        for name, metric in metrics.items()
        if metric.value is None
    }
    return metrics, undefined


def _after(before: Metric | None, name: str, numbers: Mapping[str, float], grown: Mapping[str, float]) -> Metric:
    definition = SYSTEM_DEFINITIONS[name]
    seen = (grown if definition.growth is _SUM else numbers).get(definition.of or name)
    known = None if before is None else before.value
    n = 0 if before is None else before.n
    if seen is None:
        return _observed(known, n)
    if known is None:
        return _observed(seen, n + 1)
    match definition.growth:
        case Growth.LARGEST:
            return _observed(max(known, seen), n + 1)
        case Growth.LEAST:
            return _observed(min(known, seen), n + 1)
        case Growth.SUM:
            return _observed(known + seen, n + 1)


def _ratio(figures: Mapping[str, Metric]) -> Metric:
    records, letters = figures["records_taken_in"].value, figures["dead_letters"].value
    if not records or letters is None:
        return _observed(None, 0)
    return _observed(letters / records, int(records))


def _observed(value: float | None, n: int) -> Metric:
    # As it is read back from a report, so that equal content has one identity.
    shown = None if value is None else round(float(value), DIGITS)
    return Metric(value=shown, low=shown, high=shown, n=n)
