"""The ledger at a worker's start: found, created, finished, or missed.

    shards have a ledger    group has committed    means
    all                     -                      go on
    none                    no                     first start: create it, from where the logs begin
    none                    yes                    Redis was emptied: only the operator may start anew
    some                    no                     a start was cut, or another worker starts: finish it
    some                    yes                    a Redis node was lost: only the operator may rebuild

The group's first commit comes last, so it says that the ledger was complete once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Mapping
from typing import Protocol

from agents.partition_intake import LogBounds
from streams.errors import PermanentFailure, TemporaryFailure
from streams.ledger.parts import Source
from streams.ports import Ledger

__all__ = ["GroupLog", "open_ledger"]

_log = logging.getLogger(__name__)


class GroupLog(Protocol):
    """The logs, and the advisory offsets of the group."""

    def all_bounds(self) -> Awaitable[Mapping[Source, LogBounds]]:
        """First and next offsets of all partitions."""

    def has_committed(self) -> Awaitable[bool]:
        """Whether the group has ever committed."""

    def commit(self, offsets: Mapping[Source, int]) -> Awaitable[None]:
        """Commit for the group."""


async def open_ledger(ledger: Ledger, log: GroupLog) -> None:
    """Make sure that every shard belongs to the ledger.

    Raises:
        TemporaryFailure: Redis or Kafka does not answer; may be repeated.
        PermanentFailure: counts were lost, which only an operator may accept.
    """
    states = await asyncio.gather(*map(ledger.state, range(ledger.shards)))
    missing = [shard for shard, state in enumerate(states) if state is None]
    if not missing:
        return
    if await log.has_committed():
        raise PermanentFailure(_what_was_lost(missing, shards=ledger.shards))
    starts = {source: bounds.start for source, bounds in (await log.all_bounds()).items()}
    await ledger.create(0, ledger_id=uuid.uuid4().hex, sources=starts)
    first = await ledger.state(0)
    if first is None:
        raise TemporaryFailure("shard 0 does not keep the ledger that was just created")
    # Whoever came first named the ledger and its start.
    started_at = {source: at.next for source, at in first.sources.items()}
    for shard in missing:
        await ledger.create(shard, ledger_id=first.ledger_id, sources=started_at)
    with contextlib.suppress(TemporaryFailure):
        await log.commit(started_at)
    _log.info("Created the ledger, from the start of %d partitions", len(started_at))


def _what_was_lost(missing: list[int], *, shards: int) -> str:
    if len(missing) == shards:
        return (
            "Redis has no ledger, but this group has counted before: Redis was emptied, or redis.url or redis.prefix "
            "changed; `latelabel init --rebuild` counts again what Kafka still has"
        )
    which = ", ".join(map(str, missing))
    return (
        f"Redis has lost shard {which} of the ledger; `latelabel init --rebuild --shard {missing[0]}` counts it again "
        "from what Kafka still has"
    )
