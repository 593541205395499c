"""What a worker does about once a second beside reading: compare, raise idle partitions, forget, catch up.

`look` reads the ends of all logs and what all shards have stored, then

* learns how models are counted by now, if that has changed,
* has a quiet partition checked whose stored offset is not the one it left (the store lost its tail, or
  somebody else is further),
* says which partitions have to wait for others, because they were read too far ahead,
* raises this worker's idle partitions to the lowest of those that are not idle,
* has a partition that its gate has stopped read again when it is to be tried,
* forgets what is overdue in shards to which nothing was written meanwhile, and checks the others for conservation.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from agents.agreed_models import AgreedModels
from agents.conservation_watch import ConservationWatch
from agents.intake import Intake
from agents.partition_intake import LogBounds
from agents.read_ahead import ReadAheadWatch
from agents.shard_writer import ShardWriter
from agents.store_memory import StoreMemory
from streams.backlog_age import BacklogAges
from streams.ledger.founding import check_format
from streams.ledger.idleness import Idleness, applied_to, raised_watermark_ms
from streams.ledger.parts import Definitions, Outcome, Part, ShardState, Source
from streams.ports import Clock, Ledger

__all__ = ["Housekeeping", "Seen", "close_ledger", "is_caught_up"]

_log = logging.getLogger(__name__)

FORGET_AT_ONCE = 1000
"""Ids in one call: a few milliseconds."""

AllBounds = Callable[[], Awaitable[Mapping[Source, LogBounds]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What all shards had stored at the last look, and where all logs ended."""

    states: Sequence[ShardState]
    ends: Mapping[Source, int]

    def lag(self, source: Source) -> int:
        """Offsets from what every shard has counted of a partition to its end."""
        return max(self.ends.get(source, 0) - applied_to(source, self.states), 0)


@dataclasses.dataclass(slots=True, kw_only=True)
class Housekeeping:
    """Looks after what no record reminds a worker of.

    Args:
        bounds: of all partitions of both topics, whoever owns them.
    """

    intake: Intake
    ledger: Ledger
    agreed: AgreedModels
    writers: Sequence[ShardWriter]
    bounds: AllBounds
    clock: Clock
    idleness: Idleness
    read_ahead: ReadAheadWatch
    conservation: ConservationWatch
    seen: Seen | None = None
    ages: BacklogAges[Source] = dataclasses.field(default_factory=BacklogAges)
    memory: StoreMemory | None = None
    """Of the store, where there is one that can be full."""
    _commits: dict[int, int] = dataclasses.field(default_factory=dict)

    async def look(self) -> Sequence[ShardState]:
        """Do it once.

        Returns: what all shards have stored.

        Raises:
            TemporaryFailure: the ledger or the broker does not answer.
            PermanentFailure: the ledger has a newer format than this version knows, or its charter lost what it says.
        """
        quiet = {
            source: list(partition.stored) for source, partition in self.intake.partitions.items() if partition.is_quiet
        }
        # A newer version may have brought the ledger to a format that this one would spoil.
        charter = await self.ledger.charter()
        check_format(charter)
        states = await self.intake.states()
        await self.agreed.look(charter, states)
        bounds = await self.bounds()
        ends = {source: each.end for source, each in bounds.items()}
        idle = self.idleness.observe(states, ends, now_seconds=self.clock.monotonic_seconds())
        self.seen = Seen(states, ends)
        counted = {source: applied_to(source, states) for source in self.intake.partitions}
        self.ages.observe(ends, counted, now_seconds=self.clock.monotonic_seconds())
        self.read_ahead.observe(states, ends, idle)
        for source, stored in quiet.items():
            partition = self.intake.partitions.get(source)
            if partition is None or not partition.is_quiet or partition.stored != stored:
                continue
            if any(_stored(state, source) != offset for state, offset in zip(states, stored, strict=True)):
                partition.check()
            elif source in idle:
                self._raise(source, states, idle)
        for partition in list(self.intake.partitions.values()):
            if await partition.gate.is_due():
                partition.check()
        await self._look_after_shards()
        if self.memory is not None:
            await self.memory.look()
        return states

    def _raise(self, source: Source, states: Sequence[ShardState], idle: frozenset[Source]) -> None:
        raised = {}
        for shard, state in enumerate(states):
            watermark_ms = raised_watermark_ms(state, idle)
            if watermark_ms is not None and watermark_ms > state.sources[source].watermark_ms:
                raised[shard] = watermark_ms
        if raised:
            self.intake.partitions[source].raise_watermarks(raised)

    async def _look_after_shards(self) -> None:
        for shard, writer in enumerate(self.writers):
            if self._commits.get(shard) == writer.commits:
                await self.ledger.forget(shard, limit=FORGET_AT_ONCE)
            else:
                await self.conservation.check(shard)
            self._commits[shard] = writer.commits


def _stored(state: ShardState, source: Source) -> int | None:
    at = state.sources.get(source)
    return None if at is None else at.next


def is_caught_up(states: Sequence[ShardState], ends: Mapping[Source, int]) -> bool:
    """Whether every shard has applied every log to the given ends."""
    return all(applied_to(source, states) >= end for source, end in ends.items())


async def close_ledger(ledger: Ledger, states: Sequence[ShardState], *, beyond_ms: int) -> bool:
    """Raise every watermark past the last horizon and forget all that is overdue then.

    Args:
        beyond_ms: the longest horizon or skew of any model.

    Returns: False if somebody moved an offset meanwhile; look again and repeat.
    """
    high_ms = max(at.high_ms for state in states for at in state.sources.values())
    if not high_ms:
        return True
    closed = await asyncio.gather(
        *(_close_shard(ledger, shard, state, high_ms + beyond_ms + 1) for shard, state in enumerate(states))
    )
    return all(closed)


async def _close_shard(ledger: Ledger, shard: int, state: ShardState, raise_to_ms: int) -> bool:
    parts = [
        Part(source=source, expected=at.next, next=at.next, raise_to_ms=raise_to_ms)
        for source, at in state.sources.items()
    ]
    reply = await ledger.commit(shard, parts, Definitions(), forget_limit=FORGET_AT_ONCE)
    if any(part.outcome is not Outcome.APPLIED for part in reply.parts):
        return False
    while await ledger.forget(shard, limit=FORGET_AT_ONCE):
        pass
    return True
