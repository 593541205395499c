"""Which partitions have to wait, so that catching up needs little more memory than living.

What is remembered reaches from the lowest partition to the furthest one, because the lowest decides what is forgotten.
A partition that was read too far ahead waits until the others have come nearer:

    read up to       A 10:00    B 10:40    C 11:30        with at most an hour ahead
    A is lowest      reads      reads      waits          until A has passed 10:30

The lowest never waits, so somebody always goes on, whoever owns it and however old the states are that others saw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from streams.ledger.idleness import applied_to
from streams.ledger.parts import NEVER_MS, ShardState, Source, SourceState

__all__ = ["ReadAhead", "decide_read_ahead", "empty_sources"]


@dataclasses.dataclass(frozen=True, slots=True)
class ReadAhead:
    """The partition that others wait for, the event time up to which they may be read, and those beyond it."""

    lowest: Source | None = None
    ceiling_ms: int | None = None
    ahead: frozenset[Source] = frozenset()


def decide_read_ahead(
    states: Sequence[ShardState], *, excused: Collection[Source], lateness_ms: int, max_ahead_ms: int
) -> ReadAhead:
    """Compare what all shards have stored.

    Args:
        excused: partitions that nobody waits for: those that are idle or empty.
        lateness_ms: how far a watermark is behind the event times read.
        max_ahead_ms: how far a partition may be ahead of the lowest one.

    Returns: nobody waits if there is no partition to wait for.
    """
    levels_ms = [
        (_level_ms(at, lateness_ms), source)
        for state in states
        for source, at in state.sources.items()
        if source not in excused
    ]
    if not levels_ms:
        return ReadAhead()
    lowest_ms, lowest = min(levels_ms)
    ceiling_ms = lowest_ms + max_ahead_ms
    ahead = {source for state in states for source in state.sources}
    for state in states:
        # A shard that has to catch up alone must not wait for the shards that are done.
        ahead -= {source for source, at in state.sources.items() if at.high_ms <= ceiling_ms}
    return ReadAhead(lowest, ceiling_ms, frozenset(ahead))


def empty_sources(states: Sequence[ShardState], ends: Mapping[Source, int]) -> frozenset[Source]:
    """Partitions that were read to their end and held no event time: there is nothing to compare with."""
    return frozenset(
        source
        for source, end in ends.items()
        if applied_to(source, states) >= end and all(state.sources[source].high_ms == NEVER_MS for state in states)
    )


def _level_ms(at: SourceState, lateness_ms: int) -> int:
    """How far a partition is: as its watermark says where that was raised, else as its event times say."""
    return max(at.high_ms, at.watermark_ms + lateness_ms)
