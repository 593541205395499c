"""The ledger at a worker's start and under `latelabel init`: founded, finished, resumed, or counted again.

An older format is brought up to ours first.

What to do is decided by `streams.ledger.founding`; the steps here are idempotent, so a start that was cut
anywhere is finished by whoever comes next. Offsets are committed to the group last: they say that the ledger
was whole once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from agents.partition_intake import LogBounds
from streams.errors import PermanentFailure, TemporaryFailure
from streams.ledger.founding import FORMAT, Charter, Start, check_format, check_shards, decide_start
from streams.ledger.parts import Source
from streams.ports import Ledger

__all__ = ["GroupLog", "found_ledger", "open_ledger", "rebuild_ledger", "rebuild_shard"]

_log = logging.getLogger(__name__)


class GroupLog(Protocol):
    """The logs, and the advisory offsets of the group."""

    def all_bounds(self) -> Awaitable[Mapping[Source, LogBounds]]:
        """First and next offsets of all partitions."""

    def has_committed(self) -> Awaitable[bool]:
        """Whether the group has ever committed."""

    def commit(self, offsets: Mapping[Source, int]) -> Awaitable[None]:
        """Commit for the group."""


MIGRATIONS: Mapping[int, Callable[[Ledger], Awaitable[None]]] = {}
"""By format, what brings a ledger to the next one; nothing where both read alike. May be cut anywhere and done again,
and workers of the version before may still be running."""


async def open_ledger(ledger: Ledger, log: GroupLog) -> None:
    """Make sure that every shard belongs to the ledger; found one if there never was any.

    Raises:
        TemporaryFailure: Redis or Kafka does not answer; may be repeated.
        PermanentFailure: counts were lost or belong to something else, which only an operator may decide.
    """
    charter = await ledger.charter()
    states = await asyncio.gather(*map(ledger.state, range(ledger.shards)))
    start = decide_start(
        charter=charter,
        ledger_ids=[None if state is None else state.ledger_id for state in states],
        group_has_committed=charter is None and await log.has_committed(),
    )
    if start is Start.RESUME and charter is not None:
        await _migrate(ledger, charter)
        return
    starts = {source: bounds.start for source, bounds in (await log.all_bounds()).items()}
    await found_ledger(ledger, log, starts=starts)


async def _migrate(ledger: Ledger, charter: Charter) -> None:
    if charter.format == FORMAT:
        return
    for version in range(charter.format, FORMAT):
        if version in MIGRATIONS:
            await MIGRATIONS[version](ledger)
    if await ledger.amend_charter(charter, dataclasses.replace(charter, format=FORMAT)):
        _log.info("Brought the ledger from format %d to %d", charter.format, FORMAT)


async def found_ledger(ledger: Ledger, log: GroupLog, *, starts: Mapping[Source, int]) -> Charter:
    """Found a ledger that begins at these offsets, or finish the one that somebody else has begun."""
    mine = Charter(ledger_id=uuid.uuid4().hex, shards=ledger.shards, starts=starts, is_creating=True)
    charter = await ledger.found(mine)
    for shard in range(ledger.shards):
        await ledger.create(shard, ledger_id=charter.ledger_id, sources=charter.starts)
    with contextlib.suppress(TemporaryFailure):
        await log.commit(charter.starts)
    await ledger.finish_founding()
    _log.info("Created the ledger, with %d partitions in %d shards", len(charter.starts), charter.shards)
    return charter


async def rebuild_ledger(ledger: Ledger, log: GroupLog) -> Charter:
    """Drop everything and count again from the first offsets there ever were.

    What Kafka no longer has becomes a gap when the first worker reads on, and marks its windows `incomplete`.
    """
    charter = await ledger.charter()
    check_format(charter)
    if charter is not None and charter.shards != ledger.shards:
        # While the charter still says how many there were; nobody would ever find them again.
        for shard in range(charter.shards):
            await ledger.drop(shard, shards=charter.shards)
    await ledger.drop_charter()
    for shard in range(ledger.shards):
        await ledger.drop(shard, shards=ledger.shards)
    return await found_ledger(ledger, log, starts=dict.fromkeys(await log.all_bounds(), 0))


async def rebuild_shard(ledger: Ledger, shard: int) -> Charter:
    """Drop one shard and count it again from where the ledger began.

    Raises:
        PermanentFailure: there is no charter that says where that was, or no such shard.
    """
    charter = await ledger.charter()
    check_format(charter)
    if charter is None:
        raise PermanentFailure("there is no ledger that the shard could belong to; run `latelabel init --rebuild`")
    check_shards(charter, ledger.shards)
    if not 0 <= shard < charter.shards:
        raise PermanentFailure(f"the ledger has no shard {shard}; its shards are 0 to {charter.shards - 1}")
    await ledger.drop(shard, shards=charter.shards)
    await ledger.create(shard, ledger_id=charter.ledger_id, sources=charter.starts)
    await ledger.hold_edition(shard, charter.newest_edition)
    return charter
