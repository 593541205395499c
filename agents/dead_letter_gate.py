"""Stands between a partition and the dead letters: lets a run through up to the limits, then shuts.

    open   every run passes whole
    shut   at the first record too many: what is fetched is dropped, nothing is decided, the offset stays
    tried  after a minute, or when an operator accepts records: reading goes back to the offset, and what is
           found there passes or shuts the gate again

A record that is refused may be read later: its time is no longer in the future, or the configuration
changed. One log line says that a gate was shut, one that it opened; `StopStore` says it to everybody else.
"""

from __future__ import annotations

import dataclasses
import logging

from agents.outages import Outages
from streams.dead_letter_limits import DeadLetterLimits, Excess, RecentRecords, Stop, first_excess
from streams.ledger.parts import Source
from streams.ledger.slicing import Run
from streams.ports import Clock, StopStore

__all__ = ["DeadLetterGate", "GatePorts"]

_log = logging.getLogger(__name__)

RETRY_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GatePorts:
    """What the gates of all partitions work with."""

    limits: DeadLetterLimits
    store: StopStore
    outages: Outages
    clock: Clock


class DeadLetterGate:
    """The gate of one partition while this worker owns it. What it knows survives a restart only when shut."""

    def __init__(self, source: Source, ports: GatePorts) -> None:
        self.stop: Stop | None = None
        self.is_shut = False
        self._source = source
        self._ports = ports
        self._recent = RecentRecords()
        self._took_over = False
        self._tried_seconds = 0.0

    async def admit(self, run: Run) -> int:
        """Decide how far a run may be taken in; from there on it has to be read again.

        Returns: `run.next`, or the offset of the first record that may not become a dead letter.
        """
        if not self._took_over:
            await self._take_over()
        # Reading may have gone back; then what is read again must be judged as it was.
        self._recent = self._recent.before(run.base)
        excess = await self._excess(run)
        end = run.next if excess is None else excess.offset
        good, bad = run.offsets, run.rejected
        self._recent = self._recent.followed_by(good=good[good < end], bad=bad[bad < end])
        if excess is not None:
            await self._shut(excess)
        elif self.stop is not None and end > self.stop.excess.offset:
            await self._open(end)
        return end

    async def is_due(self) -> bool:
        """Whether a shut gate is to be tried again now. If so it takes the next run that comes."""
        if not self.is_shut or self.stop is None:
            return False
        waited = self._ports.clock.monotonic_seconds() - self._tried_seconds
        if waited < RETRY_SECONDS and await self._ports.store.accepted_until(self._source) <= self.stop.excess.offset:
            return False
        self.is_shut = False
        return True

    async def _take_over(self) -> None:
        """Know what the partition's last owner knew, if it left the partition stopped."""
        stops = await self._ports.outages.ride_out(self._ports.store.stops)
        self.stop = stops.get(self._source)
        if self.stop is not None:
            self._recent = self.stop.recent_records
        self._took_over = True

    async def _excess(self, run: Run) -> Excess | None:
        good, bad, limits = run.offsets, run.rejected, self._ports.limits
        excess = first_excess(self._recent, good=good, bad=bad, limits=limits)
        if excess is None:
            return None
        until = await self._ports.outages.ride_out(lambda: self._ports.store.accepted_until(self._source))
        return first_excess(self._recent, good=good, bad=bad, limits=limits, accepted_until=until)

    async def _shut(self, excess: Excess) -> None:
        now_ms = self._ports.clock.now_ms()
        is_news = self.stop is None or self.stop.excess.offset != excess.offset
        stop = Stop(
            excess=excess,
            since_ms=now_ms if self.stop is None else self.stop.since_ms,
            tried_ms=now_ms,
            marks=self._recent.marks,
            earlier_in_a_row=self._recent.earlier_in_a_row,
        )
        await self._ports.outages.ride_out(lambda: self._ports.store.stop(self._source, stop))
        self.stop, self.is_shut = stop, True
        self._tried_seconds = self._ports.clock.monotonic_seconds()
        if is_news:
            _log.error(
                "Stopped %s at offset %d: %s; correct its producer, then `latelabel dead-letters accept %s` lets"
                " through what is there. Tried again every %.0f s",
                self._source,
                excess.offset,
                excess,
                self._source,
                RETRY_SECONDS,
                extra={"source": self._source, "offset": excess.offset},
            )

    async def _open(self, end: int) -> None:
        await self._ports.outages.ride_out(lambda: self._ports.store.release(self._source))
        self.stop, self.is_shut = None, False
        _log.info(
            "Reading %s again, now at offset %d", self._source, end, extra={"source": self._source, "offset": end}
        )
