"""Sends records at the pace of their event times, and knows how many are in Kafka for certain.

Records are stamped with the moment of sending: their event time is in the value, and a broker that deletes by age
would take records of last year at once. A portion is sent when the one before it is acknowledged, so the first N
records are in Kafka whenever it stops, and partitions stay close together.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import Callable, Iterator, Mapping

from agents.file_replay.records import Record
from schemas.codec import cloud_event_headers
from schemas.topics import TOPICS
from schemas.window_report import NAMESPACE
from streams.ledger.parts import Role
from streams.ports import Clock, OutgoingMessage, Publisher

__all__ = ["Sender"]

PORTION_RECORDS = 2_000
PORTION_BYTES = 4 << 20
TICK_SECONDS = 0.05
"""How often records are sent that become due one after the other."""
LONGEST_WAIT_SECONDS = 1.0
"""So that progress is seen while nothing is due."""

SOURCE = "/latelabel/replay"


@dataclasses.dataclass(slots=True, kw_only=True)
class Sender:
    """One replay.

    Args:
        topics: name on the wire of each role.
        speed: event seconds per second, the first record at once; 0 sends as fast as Kafka takes.
        report: called after every portion and while waiting.
        sent: how many records Kafka has acknowledged.
        reached_ms: event time of the last of them.
    """

    publisher: Publisher
    clock: Clock
    topics: Mapping[Role, str]
    speed: float
    report: Callable[[], None]
    sent: int = 0
    reached_ms: int | None = None

    async def run(self, records: Iterator[Record], *, stop: asyncio.Event) -> None:
        """Send records that are ordered by event time until there are no more, or `stop` is set.

        Raises: what the publisher raises; some of the records after the first `sent` may be in Kafka then.
        """
        pending = next(records, None)
        first_ms = 0 if pending is None else pending.time_ms
        started_seconds = self.clock.monotonic_seconds()
        while pending is not None and not stop.is_set():
            due_ms = None
            if self.speed:
                due_ms = first_ms + (self.clock.monotonic_seconds() - started_seconds) * self.speed * 1000
                if pending.time_ms > due_ms:
                    await self._wait((pending.time_ms - due_ms) / 1000 / self.speed, stop)
                    continue
            portion: list[OutgoingMessage] = []
            portion_bytes = 0
            while pending is not None and len(portion) < PORTION_RECORDS and portion_bytes < PORTION_BYTES:
                if due_ms is not None and pending.time_ms > due_ms:
                    break
                portion.append(self._message(pending))
                portion_bytes += len(pending.value)
                reached_ms = pending.time_ms
                pending = next(records, None)
            await self.publisher.send(portion)
            self.sent += len(portion)
            self.reached_ms = reached_ms
            self.report()

    async def _wait(self, seconds: float, stop: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), min(max(seconds, TICK_SECONDS), LONGEST_WAIT_SECONDS))
        self.report()

    def _message(self, record: Record) -> OutgoingMessage:
        return OutgoingMessage(
            topic=self.topics[record.role],
            key=record.key,
            value=record.value,
            headers=cloud_event_headers(
                TOPICS[record.role].schema,
                event_id=str(uuid.uuid5(NAMESPACE, record.role + record.value.decode())),
                source=SOURCE,
                time_ms=record.time_ms,
            ),
        )
