"""The ledger: whole, balanced, without holes, and counting pairs that can agree."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence

from agents.doctor.finding import Finding, Verdict
from agents.doctor.traffic import Traffic
from schemas.times import format_time
from streams.dead_letter_limits import Stop
from streams.errors import PermanentFailure
from streams.ledger.conservation import Violation
from streams.ledger.founding import Charter, Start, decide_start
from streams.ledger.parts import Gap, Role, Source

__all__ = [
    "check_agreements",
    "check_classes",
    "check_conservation",
    "check_dead_letters",
    "check_gaps",
    "check_ledger",
    "check_stops",
]

MANY_REJECTED_RATIO = 0.01
LEAST_LABELLED = 20
"""Fewer pairs may all be wrong by chance."""
NAMED_CLASSES = 5


def check_ledger(
    charter: Charter | None, ledger_ids: Sequence[str | None], *, group_has_committed: bool | None
) -> Finding:
    """Say what a worker would find at its start.

    Args:
        charter: of the ledger, if there is one.
        ledger_ids: for each configured shard, the ledger it belongs to.
        group_has_committed: None while Kafka does not answer.
    """
    check = "ledger"
    try:
        start = decide_start(charter=charter, ledger_ids=ledger_ids, group_has_committed=group_has_committed or False)
    except PermanentFailure as failure:
        return Finding(
            check=check,
            verdict=Verdict.FAILED,
            found=str(failure),
            remedy="as said; workers refuse to start until then",
        )
    if charter is None:
        unsure = "" if group_has_committed is not None else "; whether there ever was one, Kafka would know"
        return Finding(check=check, verdict=Verdict.OK, found=f"none yet, the first worker founds it{unsure}")
    if start is Start.FINISH:
        return Finding(
            check=check,
            verdict=Verdict.WARNING,
            found=f"{charter.ledger_id} was begun, but not finished",
            remedy="start a worker, or run latelabel init: each finishes it",
        )
    text = f"{charter.ledger_id}: {charter.shards} shards, founded with {len(charter.starts)} partitions"
    return Finding(check=check, verdict=Verdict.OK, found=text)


def check_agreements(broken: Iterable[tuple[str, str]], changes: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Tell of models that the configuration would have counted differently from what is counted, and of those that
    changed or would change with the next start."""
    for found, remedy in broken:
        yield Finding(check="counted models", verdict=Verdict.FAILED, found=found, remedy=remedy)
    for found, remedy in changes:
        yield Finding(
            check="changed models", verdict=Verdict.WARNING if remedy else Verdict.OK, found=found, remedy=remedy
        )


def check_conservation(violations: Mapping[int, Sequence[Violation]], fates: Mapping[str, int]) -> Iterator[Finding]:
    """Tell of each shard whose books do not balance.

    Args:
        violations: of every shard.
        fates: over all shards.
    """
    check = "conservation"
    broken = {shard: found for shard, found in violations.items() if found}
    for shard, found in broken.items():
        yield Finding(
            check=check,
            verdict=Verdict.FAILED,
            found=f"shard {shard}: {'; '.join(map(str, found))}",
            remedy=f"latelabel init --rebuild --shard {shard} counts it again",
        )
    if not broken:
        read = " and ".join(f"{fates.get(f'{role}:read', 0)} {role}" for role in Role)
        yield Finding(check=check, verdict=Verdict.OK, found=f"every one of {read} has one fate")


def check_gaps(by_shard: Iterable[Sequence[Gap]]) -> Finding:
    """Tell what was lost before it could be read; nothing brings it back."""
    lost: dict[Source, int] = {}
    for gaps in by_shard:
        here: collections.Counter[Source] = collections.Counter()
        for gap in gaps:
            here[gap.source] += gap.lost
        # Every shard lost its part of the same records. Of a log that was replaced, nobody knows how many: 0.
        lost |= {source: max(count, lost.get(source, 0)) for source, count in here.items()}
    if not lost:
        return Finding(check="lost input", verdict=Verdict.OK, found="none")
    named = ", ".join(f"up to {count} of {source}" if count else f"some of {source}" for source, count in lost.items())
    return Finding(
        check="lost input",
        verdict=Verdict.WARNING,
        found=f"{named}; the windows it may have belonged to are incomplete",
        remedy="keep workers running, and retention longer than they may be away",
    )


def check_dead_letters(fates: Mapping[str, int], topics: Mapping[Role, str]) -> Iterator[Finding]:
    """Say how much of each topic could not be used, over all that was ever read."""
    for role, topic in topics.items():
        read, rejected = fates.get(f"{role}:read", 0), fates.get(f"{role}:rejected", 0)
        are_many = rejected > MANY_REJECTED_RATIO * read
        yield Finding(
            check=f"dead letters of {topic}",
            verdict=Verdict.WARNING if are_many else Verdict.OK,
            found=f"{rejected} of {read} records" + (f" ({rejected / read:.1%})" if are_many else ""),
            remedy="latelabel dead-letters list says why; correct the producer" if are_many else "",
        )


def check_stops(stops: Mapping[Source, Stop], topics: Mapping[Role, str]) -> Iterator[Finding]:
    """Tell of each partition that is stopped because of its bad records."""
    for source, stop in sorted(stops.items()):
        place = f"{topics[source.role]}/{source.partition}"
        yield Finding(
            check=f"partition {place}",
            verdict=Verdict.FAILED,
            found=f"stopped at offset {stop.excess.offset} since {format_time(stop.since_ms)}: {stop.excess}",
            remedy=f"correct the producer, then latelabel dead-letters accept {place}",
        )
    if not stops:
        yield Finding(check="stopped partitions", verdict=Verdict.OK, found="none")


def check_classes(traffic: Sequence[Traffic]) -> Iterator[Finding]:
    """Find models whose labels never name a class that they predict: all of their pairs are wrong."""
    apart = [
        each
        for each in traffic
        if each.model.task.counts_classes
        and each.labelled >= LEAST_LABELLED
        and each.labels
        and each.predictions
        and each.labels.isdisjoint(each.predictions)
    ]
    for each in apart:
        yield Finding(
            check=f"classes of {each.model.name}",
            verdict=Verdict.FAILED,
            found=f"predicted are {_some(each.predictions)}, labelled {_some(each.labels)}: no class in common in "
            f"{each.labelled} pairs",
            remedy=f"if they mean the same, set classes.aliases of {each.model.name}; windows from then on are right",
        )
    if not apart:
        yield Finding(
            check="classes",
            verdict=Verdict.OK,
            found=f"labels and predictions name the same classes, model versions: {len(traffic)}"
            if traffic
            else "nothing is counted yet",
        )


def _some(classes: frozenset[str]) -> str:
    named = ", ".join(map(repr, sorted(classes)[:NAMED_CLASSES]))
    return named + (", ..." if len(classes) > NAMED_CLASSES else "")
