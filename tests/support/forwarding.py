"""A feed and a receiver that a test controls, and the forwarder between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from unittest.mock import patch

from agents import alert_forwarder
from agents.alert_feed import FeedRecord
from agents.alert_forwarder import AlertForwarder
from agents.alert_receivers.receiver import NotTaken, PublishedAlert, Trouble
from agents.clock import SystemClock
from schemas.alert import Alert
from schemas.codec import encode
from streams.alerting.notification import Notified
from tests.support.alerts import now_ms

__all__ = ["FakeFeed", "FakeReceiver", "ShiftedClock", "away", "running", "until"]


class ShiftedClock(SystemClock):
    """The system's, moved on by a test."""

    shift_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.shift_ms

    def monotonic_seconds(self) -> float:
        return super().monotonic_seconds() + self.shift_ms / 1000


class FakeFeed:
    """A log of partitions in memory. What `deal_out` says is read next, from the beginning of another assignment."""

    def __init__(self) -> None:
        self.is_caught_up = True
        self.assignment = 0
        self.is_ours = True
        self.positions: Mapping[int, int] = {0: 0, 1: 0}
        self.committed: list[tuple[dict[int, int], int]] = []
        self.is_full = False
        self.told_until = 0
        self.failure: Exception | None = None
        self._ends = dict(self.positions)
        self._coming: list[FeedRecord] = []

    def publish(self, *alerts: Alert, partition: int = 0, is_history: bool = False, is_in_doubt: bool = False) -> None:
        for alert in alerts:
            self.publish_bytes(encode(alert), partition=partition, is_history=is_history, is_in_doubt=is_in_doubt)

    def publish_bytes(
        self, value: bytes | None, *, partition: int = 0, is_history: bool = False, is_in_doubt: bool = False
    ) -> None:
        offset = self._ends[partition]
        self._ends[partition] += 1
        self._coming.append(FeedRecord(partition, offset, now_ms(), value, is_history, is_in_doubt))

    def deal_out(self, positions: Mapping[int, int]) -> None:
        self.assignment += 1
        self.positions, self._ends = positions, dict(positions)
        self._coming.clear()

    async def read(self) -> Sequence[FeedRecord]:
        await asyncio.sleep(0.005)
        if self.failure is not None:
            raise self.failure
        if self.is_full:
            return ()
        coming, self._coming = self._coming, []
        self.positions = dict(self._ends)
        return coming

    def told_until_ms(self, partition: int) -> int:
        return self.told_until

    def hold(self, *, is_full: bool) -> None:
        self.is_full = is_full

    async def commit(self, offsets: Mapping[int, int], *, told_until_ms: int) -> bool:
        if self.is_ours:
            self.committed.append((dict(offsets), told_until_ms))
        return self.is_ours


class FakeReceiver:
    """Takes what `refusal` does not object to."""

    name = "fake"

    def __init__(self, *, most_at_once: int = 1) -> None:
        self.most_at_once = most_at_once
        self.taken: list[Alert] = []
        self.batches: list[int] = []
        self.refusal: Callable[[Alert], Exception | None] = lambda _: None

    async def deliver(self, alerts: Sequence[PublishedAlert]) -> None:
        self.batches.append(len(alerts))
        for each in alerts:
            if failure := self.refusal(each.alert):
                raise failure
        self.taken += [each.alert for each in alerts]

    async def close(self) -> None: ...


@contextlib.asynccontextmanager
async def running(
    feed: FakeFeed, receiver: FakeReceiver, notified: Notified | None = None, clock: SystemClock | None = None
) -> AsyncIterator[AlertForwarder]:
    """The forwarder at work, with pauses that nobody has to wait for."""
    forwarder = AlertForwarder(feed, receiver, notified=notified, clock=clock or SystemClock())
    with patch.multiple(alert_forwarder, FIRST_PAUSE_SECONDS=0.01, LONGEST_PAUSE_SECONDS=0.05, LOOK_SECONDS=0.02):
        work = asyncio.create_task(forwarder.run())
        try:
            yield forwarder
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (the condition is about many things)
            await asyncio.sleep(0.005)


def away(_: Alert) -> Exception:
    return NotTaken("away", Trouble.CONNECTION)
