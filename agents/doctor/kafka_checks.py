"""Topics as they are against topics as they should be, and how far the ledger has come in each log."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

from agents.doctor.finding import Finding, Verdict
from agents.kafka_topics import ExistingTopic, WantedTopic, alteration, differences
from agents.partition_intake import LogBounds
from streams.ledger.parts import Role, ShardState, Source

__all__ = ["LogStanding", "check_brokers", "check_lag", "check_topics", "standings"]

NAMED_PARTITIONS = 5


def check_brokers(address: str, releases: Sequence[str | None]) -> Finding:
    """Tell what answers: the release of each broker, None where it tells none."""
    told = collections.Counter("of a release that is not told" if each is None else each for each in releases)
    text = ", ".join(f"Kafka {release}" if len(told) == 1 else f"{n} Kafka {release}" for release, n in told.items())
    brokers = "1 broker" if len(releases) == 1 else f"{len(releases)} brokers"
    return Finding(check="kafka", verdict=Verdict.OK, found=f"{address} answers: {brokers}, {text}")


def check_topics(
    wanted: Sequence[WantedTopic], existing: Mapping[str, ExistingTopic], *, server: str
) -> Iterator[Finding]:
    """Compare partitions, clean-up, sizes and retention of every topic; the same rules as `topics create`.

    `server` is a broker, for the remedy.
    """
    for topic in wanted:
        check = f"topic {topic.name}"
        if topic.name not in existing:
            # Kafka does not tell which, so that nobody learns names by guessing.
            yield Finding(
                check=check,
                verdict=Verdict.FAILED,
                found="does not exist, or this user may not see it",
                remedy="latelabel topics create makes it; if it is there, grant Describe on it",
            )
            continue
        found = list(differences(topic, existing[topic.name]))
        if not found:
            config = existing[topic.name].config
            text = f"{topic.partitions} partitions, cleanup.policy {config['cleanup.policy']}"
            yield Finding(check=check, verdict=Verdict.OK, found=text)
            continue
        is_unsafe = any(difference.is_unsafe for difference in found)
        yield Finding(
            check=check,
            verdict=Verdict.FAILED if is_unsafe else Verdict.WARNING,
            found="; ".join(difference.text for difference in found),
            remedy=alteration(topic.name, found, server=server)
            if is_unsafe
            else "correct the topic, or the configuration if the topic is right",
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogStanding:
    """One partition: what its log holds and the lowest and highest offset that any shard has stored.

    Both are the start of the log where no shard has read anything yet.
    """

    source: Source
    bounds: LogBounds
    lowest: int
    highest: int

    @property
    def lag(self) -> int:
        """Offsets that some shard still has to apply."""
        return max(0, self.bounds.end - max(self.lowest, self.bounds.start))


def standings(bounds: Mapping[Source, LogBounds], states: Sequence[ShardState]) -> list[LogStanding]:
    """How every partition stands in the ledger, in order."""
    found = []
    for source, each in sorted(bounds.items()):
        stored = [state.sources[source].next if source in state.sources else each.start for state in states]
        found.append(LogStanding(source=source, bounds=each, lowest=min(stored), highest=max(stored)))
    return found


def check_lag(
    found: Sequence[LogStanding], topics: Mapping[Role, str], *, members: Collection[str]
) -> Iterator[Finding]:
    """Compare what the logs hold with what is counted.

    Args:
        topics: name on the wire of each role.
        members: of the consumer group; without any, nobody reads.
    """
    for role, topic in topics.items():
        of_role = [each for each in found if each.source.role is role]
        yield from _replaced(of_role, topic)
        yield from _outlived(of_role, topic)
        behind = sorted((each for each in of_role if each.lag), key=lambda each: -each.lag)
        total = sum(each.lag for each in behind)
        text = f"{len(of_role)} partitions, counted to their ends"
        if behind:
            text = f"{total} records behind in {len(behind)} of {len(of_role)} partitions"
            named = (f"{topic}/{each.source.partition} {each.lag}" for each in behind[:NAMED_PARTITIONS])
            text += f": {', '.join(named)}{', ...' if len(behind) > NAMED_PARTITIONS else ''}"
        is_read = bool(members) or not total
        yield Finding(
            check=f"lag {topic}",
            verdict=Verdict.OK if is_read else Verdict.WARNING,
            found=text if is_read else f"{text}; no worker is a member of the group",
            remedy="" if is_read else "start one: latelabel worker",
        )


def _replaced(of_role: Sequence[LogStanding], topic: str) -> Iterator[Finding]:
    for each in of_role:
        if each.highest > each.bounds.end:
            place = f"{topic}/{each.source.partition}"
            yield Finding(
                check=f"log {place}",
                verdict=Verdict.FAILED,
                found=f"ends at offset {each.bounds.end}, but {each.highest} are counted: the topic was created anew, "
                "or lost records; nothing is read from it",
                remedy=f"latelabel init --accept {place} continues from its start",
            )


def _outlived(of_role: Sequence[LogStanding], topic: str) -> Iterator[Finding]:
    for each in of_role:
        if each.lowest < each.bounds.start:
            yield Finding(
                check=f"log {topic}/{each.source.partition}",
                verdict=Verdict.WARNING,
                found=f"begins at offset {each.bounds.start}, but some shard has counted to {each.lowest} only: "
                "retention ran out, and the windows it may touch will be incomplete",
                remedy="keep workers running, and retention longer than they may be away",
            )
