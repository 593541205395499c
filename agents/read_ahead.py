"""Keeps this worker's partitions from being read too far ahead of the lowest one, which another worker may own.

    housekeeping   looks once a second at what all shards have stored, whoever stored it
    a partition    that has passed the ceiling known then asks again, until it may go on
    the transport  does not fetch what is ahead meanwhile

Who waits long for the same partition is told of once, and once more if that one stands still: the cause lies elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence

from agents.outages import Outages
from streams.ledger.parts import ShardState, Source
from streams.ledger.read_ahead import ReadAhead, decide_read_ahead, empty_sources
from streams.ports import Clock, Ledger

__all__ = ["ASK_AGAIN_SECONDS", "ReadAheadWatch"]

_log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 0.05
TELL_AFTER_SECONDS = 30.0
"""While catching up partitions wait for each other all the time; who waits for the same one so long is told of."""


class ReadAheadWatch:
    """Shared by all partitions of a worker. Nobody waits before the first `observe`."""

    def __init__(self, ledger: Ledger, outages: Outages, clock: Clock, *, lateness_ms: int, max_ahead_ms: int) -> None:
        self._in_need_of_room = 0
        self._ledger = ledger
        self._outages = outages
        self._clock = clock
        self._lateness_ms = lateness_ms
        self._max_ahead_ms = max_ahead_ms
        self._excused: frozenset[Source] | None = None
        self._decided = ReadAhead()
        self._asking = asyncio.Lock()
        self._asked_seconds = float("-inf")
        self._lowest: Source | None = None
        self._waits_since_seconds = 0.0
        self._offsets: Sequence[int] = ()
        self._moved_seconds = 0.0
        self._told: set[bool] = set()

    @property
    def ahead(self) -> frozenset[Source]:
        """The partitions that have to wait, as far as is known."""
        return self._decided.ahead

    @property
    def needs_room(self) -> bool:
        """Whether partitions that have to wait should let go of what they hold, and read it again later."""
        return self._in_need_of_room > 0

    @contextlib.contextmanager
    def needing_room(self) -> Iterator[None]:
        """While a batch waits for memory that others hold."""
        self._in_need_of_room += 1
        try:
            yield
        finally:
            self._in_need_of_room -= 1

    def observe(self, states: Sequence[ShardState], ends: Mapping[Source, int], idle: frozenset[Source]) -> None:
        """Take note of all shards, the ends of all logs and which partitions are idle."""
        self._excused = idle | empty_sources(states, ends)
        self._decide(states)
        self._tell_who_waits(states)

    async def is_ahead(self, source: Source, high_ms: int) -> bool:
        """Whether a partition that was read up to an event time has to wait now."""
        if self._decided.ceiling_ms is None or high_ms <= self._decided.ceiling_ms:
            return False
        async with self._asking:
            if self._clock.monotonic_seconds() - self._asked_seconds >= ASK_AGAIN_SECONDS:
                states = await self._outages.ride_out(self._states)
                self._asked_seconds = self._clock.monotonic_seconds()
                self._decide(states)
        return source in self.ahead

    async def _states(self) -> Sequence[ShardState]:
        states = await asyncio.gather(*map(self._ledger.state, range(self._ledger.shards)))
        return [state for state in states if state is not None]

    def _decide(self, states: Sequence[ShardState]) -> None:
        if self._excused is not None:
            self._decided = decide_read_ahead(
                states, excused=self._excused, lateness_ms=self._lateness_ms, max_ahead_ms=self._max_ahead_ms
            )

    def _tell_who_waits(self, states: Sequence[ShardState]) -> None:
        lowest, now = self._decided.lowest, self._clock.monotonic_seconds()
        offsets = [state.sources[lowest].next for state in states if lowest in state.sources] if lowest else []
        if lowest != self._lowest or not self.ahead:
            self._lowest, self._waits_since_seconds, self._told = lowest, now, set()
        if offsets != self._offsets:
            self._offsets, self._moved_seconds = offsets, now
        stands = now - self._moved_seconds >= TELL_AFTER_SECONDS
        if now - self._waits_since_seconds < TELL_AFTER_SECONDS or stands in self._told:
            return
        self._told.add(stands)
        _log.log(
            logging.WARNING if stands else logging.INFO,
            "%d partitions wait for %s, whose event times are more than max_read_ahead (%d s) behind theirs. %s",
            len(self.ahead),
            lowest,
            self._max_ahead_ms // 1000,
            f"It stands at offset {min(offsets)}; `latelabel doctor` says what keeps it" if stands else "It is moving",
        )
