"""Hands alerts from Kafka on to a receiver, at its pace: the one that reads never waits for the one that delivers.

    topic ── read ──> waiting: the latest of each alert ── deliver ──> receiver
                         └── lowest offset still waiting ──> commit

* Only the latest record of an alert waits, so an outage of hours ends with what is true now, not with its history.
* An offset is committed once everything below it was delivered, refused for good, or overtaken by a later record of
  the same alert. A crash can repeat an alert, never lose one: whoever takes over tells the end of an alert whose
  beginning may have been delivered.
* What waits is bounded in bytes; beyond them nothing is read until some was delivered.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Protocol

import msgspec

from agents.alert_feed import FeedRecord
from agents.alert_receivers.receiver import NotTaken, PublishedAlert, Receiver, Refused, Trouble
from agents.terminal_text import printable
from schemas.alert import Alert, read_alert
from schemas.codec import encode
from schemas.errors import Rejected
from schemas.times import parse_time_ms
from streams.alerting.notification import Notified, Occasion
from streams.errors import PermanentFailure, TemporaryFailure
from streams.ports import Clock

__all__ = ["AlertForwarder", "Feed", "Tally"]

_log = logging.getLogger(__name__)

WAITING_BYTES = 8 << 20
"""Some 8,000 alerts. In memory each one takes about four times its bytes."""
LOOK_SECONDS = 1.0
"""Between two looks for alerts that ended because nobody sent them again."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
LOG_SECONDS = 30.0
NAMED_ALERTS = 3
LAPSED = "monitor_silent"
"""Reason of an alert that ended because it was not sent again."""


class Feed(Protocol):
    """Where published alerts are read; see `agents.alert_feed.AlertFeed`."""

    is_caught_up: bool

    @property
    def positions(self) -> Mapping[int, int]:
        """Next offset to be read, by partition that we own."""
        ...

    async def read(self) -> Sequence[FeedRecord]:
        """What has come; returns within a second."""
        ...

    def told_until_ms(self, partition: int) -> int:
        """As the last commit said when the partition became ours."""
        ...

    def hold(self, *, is_full: bool) -> None:
        """Stop fetching, or go on."""
        ...

    async def commit(self, offsets: Mapping[int, int], *, told_until_ms: int) -> bool:
        """Everything below was delivered."""
        ...


@dataclasses.dataclass(slots=True)
class Tally:
    """What became of alerts since the start."""

    delivered: Counter[str] = dataclasses.field(default_factory=Counter)
    """By status."""
    refused: int = 0
    unreadable: int = 0
    failures: Counter[Trouble] = dataclasses.field(default_factory=Counter)
    """Attempts that failed; each alert may need many."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    """The latest of one alert.

    `offset` is None for an end that nobody published. `is_perhaps_told` if it, or one that it overtook, may have been
    delivered as firing by a process that is gone.
    """

    published: PublishedAlert
    partition: int
    offset: int | None
    is_perhaps_told: bool = False

    @property
    def alert(self) -> Alert:
        return self.published.alert


class AlertForwarder:
    """Reads and delivers until it is cancelled.

    Args:
        feed: where alerts come from.
        receiver: where they go to.
        notified: what a receiver without state of its own was told; None for one that keeps its own.
    """

    def __init__(self, feed: Feed, receiver: Receiver, *, notified: Notified | None, clock: Clock) -> None:
        self.tally = Tally()
        self._feed = feed
        self._receiver = receiver
        self._notified = notified
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}
        self._partition_of: dict[str, int] = {}
        self._bytes = 0
        self._changed = asyncio.Event()
        self._committed: dict[int, int] = {}
        self._told_of_lapsed = False
        self._looked_ms: int | None = None
        self._failing_since: float | None = None
        self._logged_seconds = float("-inf")

    @property
    def waiting(self) -> int:
        """Alerts that the receiver has not taken yet."""
        return len(self._waiting)

    @property
    def failing_seconds(self) -> float:
        """Since when the receiver takes nothing; 0 while it does."""
        return 0.0 if self._failing_since is None else self._clock.monotonic_seconds() - self._failing_since

    async def run(self) -> None:
        """Read and deliver for ever.

        Raises: PermanentFailure if Kafka does not let us read.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read_for_ever())
                tasks.create_task(self._deliver_for_ever())
        except* PermanentFailure as failures:
            raise failures.exceptions[0] from None

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read_for_ever(self) -> None:
        while True:
            records = await self._feed.read()
            self._leave_to_others()
            for record in records:
                self._take(record)
            self._feed.hold(is_full=self._bytes >= WAITING_BYTES)
            if records:
                self._changed.set()

    def _take(self, record: FeedRecord) -> None:
        try:
            alert = read_alert(record.value)
        except Rejected as rejected:
            if record.value is not None and not record.is_history:
                self.tally.unreadable += 1
                _log.error("Stepping over partition %d, offset %d: %s", record.partition, record.offset, rejected)
            return
        if record.is_history:
            if self._notified is not None:
                self._partition_of[alert.fingerprint] = record.partition
                self._notified.recall(alert, at_ms=record.timestamp_ms)
                self._tidy(alert.fingerprint)
            return
        assert record.value is not None
        overtaken = self._waiting.get(alert.fingerprint)
        is_perhaps_told = (record.is_in_doubt and alert.status == "firing") or (
            overtaken is not None and overtaken.is_perhaps_told
        )
        self._wait(_Waiting(PublishedAlert(alert, record.value), record.partition, record.offset, is_perhaps_told))

    def _wait(self, waiting: _Waiting) -> None:
        fingerprint = waiting.alert.fingerprint
        overtaken = self._waiting.get(fingerprint)
        self._bytes += len(waiting.published.value) - (len(overtaken.published.value) if overtaken else 0)
        # In the place of the one it overtakes, so that what has waited longest is delivered first.
        self._waiting[fingerprint] = waiting
        self._partition_of[fingerprint] = waiting.partition

    def _drop(self, fingerprint: str) -> None:
        dropped = self._waiting.pop(fingerprint, None)
        if dropped is not None:
            self._bytes -= len(dropped.published.value)

    def _tidy(self, fingerprint: str) -> None:
        """Remember nothing of an alert that neither waits nor is known to be firing."""
        if fingerprint not in self._waiting and (self._notified is None or fingerprint not in self._notified):
            self._partition_of.pop(fingerprint, None)

    def _leave_to_others(self) -> None:
        """Forget the alerts of partitions that are somebody else's now, who reads them from the last commit on."""
        owned = self._feed.positions
        for fingerprint, partition in list(self._partition_of.items()):
            if partition not in owned:
                self._drop(fingerprint)
                del self._partition_of[fingerprint]
                if self._notified is not None:
                    self._notified.forget(fingerprint)

    # --- delivering --------------------------------------------------------------------------------------------------

    async def _deliver_for_ever(self) -> None:
        failures = 0
        while True:
            self._look_for_lapsed()
            await self._commit()  # where we begin, before anything is delivered
            failed = await self._round()
            await self._commit()
            if failed is None:
                failures = 0
                self._relax()
                await self._something_new(LOOK_SECONDS)
                continue
            failures += 1
            self._complain(failed)
            pause_seconds = max(_pause_seconds(failures), failed.retry_after_seconds)
            if failed.concerns_all:
                await asyncio.sleep(pause_seconds)
            else:
                await self._something_new(pause_seconds)

    async def _something_new(self, longest_seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_seconds):
                await self._changed.wait()
        self._changed.clear()

    async def _round(self) -> NotTaken | None:
        """Deliver what waits. Returns why some of it waits on."""
        failed: NotTaken | None = None
        news = self._news()
        size = self._receiver.most_at_once
        for at in range(0, len(news), size):
            try:
                await self._deliver(news[at : at + size])
            except NotTaken as failure:
                self.tally.failures[failure.trouble] += 1
                failed = failure
                if failure.concerns_all:
                    break
        return failed

    def _news(self) -> list[tuple[_Waiting, Occasion | None]]:
        """What waits and is worth telling; the rest is done with."""
        everything = list(self._waiting.values())
        if self._notified is None:
            return [(waiting, None) for waiting in everything]
        now_ms = self._clock.now_ms()
        news: list[tuple[_Waiting, Occasion | None]] = []
        for waiting in everything:
            occasion = self._notified.heard(waiting.alert, now_ms=now_ms, is_perhaps_told=waiting.is_perhaps_told)
            if occasion is None:
                self._done(waiting)
            else:
                news.append((waiting, occasion))
        return news

    async def _deliver(self, some: Sequence[tuple[_Waiting, Occasion | None]]) -> None:
        try:
            await self._receiver.deliver([_as_told(waiting.published, occasion) for waiting, occasion in some])
        except Refused as refusal:
            if len(some) > 1:
                # Which one it is: each for itself. The others are then taken, or were already.
                for one in some:
                    await self._deliver([one])
                return
            (waiting, _) = some[0]
            self.tally.refused += 1
            self.tally.failures[Trouble.REFUSED] += 1
            _log.error("Stepping over %s (%s): %s", waiting.alert.name, waiting.alert.fingerprint, refusal)
            self._done(waiting)
            return
        for waiting, occasion in some:
            self.tally.delivered[waiting.alert.status] += 1
            if self._notified is not None and occasion is not None:
                self._notified.tell(waiting.alert, occasion, now_ms=self._clock.now_ms())
                self._told_of_lapsed |= waiting.offset is None
            self._done(waiting)

    def _done(self, waiting: _Waiting) -> None:
        # A later record of the alert may have come while this one was delivered; it waits on.
        if self._waiting.get(waiting.alert.fingerprint) is waiting:
            self._drop(waiting.alert.fingerprint)
            self._tidy(waiting.alert.fingerprint)

    def _look_for_lapsed(self) -> None:
        """Let alerts wait whose end nobody published, as Alertmanager does at `endsAt`."""
        if self._notified is None or not self._feed.is_caught_up:
            return  # the record that prolongs them may stand among those that are not read yet
        self._looked_ms = self._clock.now_ms()
        for alert in list(self._notified.expired(now_ms=self._looked_ms)):
            partition = self._partition_of[alert.fingerprint]
            if parse_time_ms(alert.ends_at) <= self._feed.told_until_ms(partition):
                self._notified.forget(alert.fingerprint)
            elif alert.fingerprint not in self._waiting:
                self._wait(_Waiting(PublishedAlert(alert, encode(alert)), partition, None))

    async def _commit(self) -> None:
        offsets = dict(self._feed.positions)
        for waiting in self._waiting.values():
            if waiting.offset is not None and waiting.partition in offsets:
                offsets[waiting.partition] = min(offsets[waiting.partition], waiting.offset)
        if not offsets or (offsets == self._committed and not self._told_of_lapsed):
            return
        try:
            if await self._feed.commit(offsets, told_until_ms=self._told_until_ms()):
                self._committed, self._told_of_lapsed = offsets, False
        except TemporaryFailure as failure:
            # Nothing is lost: the next commit says the same and more.
            _log.warning("%s; what was delivered may be delivered again after a restart", failure)

    def _told_until_ms(self) -> int:
        if self._looked_ms is None:
            return min(self._feed.told_until_ms(partition) for partition in self._feed.positions)
        ends = [parse_time_ms(each.alert.ends_at) - 1 for each in self._waiting.values() if each.offset is None]
        return min(ends, default=self._looked_ms)

    # --- troubles ----------------------------------------------------------------------------------------------------

    def _complain(self, failure: NotTaken) -> None:
        now = self._clock.monotonic_seconds()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if now - self._logged_seconds >= LOG_SECONDS:
            self._logged_seconds = now
            _log.warning(
                "%s; %d alerts wait (%s), for %.0f s now",
                failure,
                len(self._waiting),
                self._named(),
                self.failing_seconds,
            )

    def _named(self) -> str:
        """Some of what waits, longest first."""
        some = [f"{each.alert.name} {each.alert.fingerprint}" for each in islice(self._waiting.values(), NAMED_ALERTS)]
        return printable(", ".join(some)) + (", …" if len(self._waiting) > len(some) else "")

    def _relax(self) -> None:
        if self._failing_since is not None:
            _log.info("Nothing waits for %s any more, after %.1f s", self._receiver.name, self.failing_seconds)
            self._failing_since, self._logged_seconds = None, float("-inf")


def _as_told(published: PublishedAlert, occasion: Occasion | None) -> PublishedAlert:
    """The alert as the receiver has to hear it: one that lapsed has ended, although nobody said so."""
    if occasion is not Occasion.EXPIRED:
        return published
    ended = msgspec.structs.replace(published.alert, status="resolved", reason=LAPSED)
    return PublishedAlert(ended, encode(ended))


def _pause_seconds(failures: int) -> float:
    """Twice as long after each failure, up to a minute, and never the same for two processes."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20))
    return longest * random.uniform(0.5, 1.0)
