"""Hands alerts from Kafka on to a receiver, at its pace: the one that reads never waits for the one that delivers.

    topic ── read ──> waiting: the latest of each alert ── deliver ──> receiver
                         └── lowest offset still waiting ──> commit

* Only the latest record of an alert waits, so an outage of hours ends with what is true now, not with its history.
* An offset is committed once everything below it was delivered, refused for good, or overtaken by a later record of
  the same alert. A crash can repeat an alert, never lose one: whoever takes over tells the end of an alert whose
  beginning may have been delivered.
* Nothing is delivered unless Kafka has said within the last seconds that the partitions are ours. Who stood still, or
  is cut off, does not tell what another one has told since.
* What waits is bounded in bytes; beyond them nothing is read until some was delivered.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
from collections import Counter
from collections.abc import Sequence
from itertools import islice

import msgspec

from agents.alert_feed import Feed, FeedRecord
from agents.alert_receivers.receiver import NotTaken, PublishedAlert, Receiver, Refused, Trouble
from agents.terminal_text import printable
from schemas.alert import Alert, read_alert
from schemas.codec import encode
from schemas.errors import Rejected
from schemas.times import parse_time_ms
from streams.alerting.notification import Notified, Occasion
from streams.errors import PermanentFailure, TemporaryFailure
from streams.ports import Clock

__all__ = ["AlertForwarder", "Tally"]

_log = logging.getLogger(__name__)

WAITING_BYTES = 8 << 20
"""Some 8,000 alerts. In memory each one takes about four times its bytes."""
CONFIRMED_SECONDS = 3.0
"""After this long Kafka is asked again whether the partitions are ours; well below the session timeout, 10 s."""
LOOK_SECONDS = 1.0
"""Between two looks for alerts that ended because nobody sent them again."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LOG_SECONDS = 0.5, 60.0, 30.0
NAMED_ALERTS = 3
LAPSED = "monitor_silent"
"""Reason of an alert that ended because it was not sent again."""


@dataclasses.dataclass(slots=True)
class Tally:
    """What became of alerts since the start: delivered by status; an alert may need many attempts that fail."""

    delivered: Counter[str] = dataclasses.field(default_factory=Counter)
    refused: int = 0
    unreadable: int = 0
    failures: Counter[Trouble] = dataclasses.field(default_factory=Counter)


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    """The latest of one alert; `offset` is None for an end that nobody published.

    `is_perhaps_told` if it, or one that it overtook, may have been delivered as firing by a process that is gone.
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
        self._uncommitted: set[tuple[int, int | None]] = set()
        """Partition and offset of what was delivered and stands behind the commit."""
        self._assignment = feed.assignment
        self._confirmed_seconds = float("-inf")
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
        """Read and deliver for ever. Raises PermanentFailure if Kafka does not let us read."""
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
            if self._assignment != self._feed.assignment:
                self._begin_anew()
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
        # What is read once more after partitions were dealt out is not told once more by whoever has told it.
        if record.is_history or (record.partition, record.offset) in self._uncommitted:
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

    def _begin_anew(self) -> None:
        """Forget everything: what is ours is read again, the rest is somebody else's now."""
        self._assignment = self._feed.assignment
        self._confirmed_seconds = float("-inf")
        self._waiting.clear()
        self._partition_of.clear()
        self._bytes = 0
        self._committed.clear()
        self._told_of_lapsed, self._looked_ms = False, None
        if self._notified is not None:
            self._notified.clear()

    # --- delivering --------------------------------------------------------------------------------------------------

    async def _deliver_for_ever(self) -> None:
        failures = 0
        while True:
            self._look_for_lapsed()
            failed = await self._round()
            await self._commit()
            if failed is None:
                failures = 0
                if not self._waiting:
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
        assignment, news, size = self._assignment, self._news(), self._receiver.most_at_once
        for at in range(0, len(news), size):
            if not await self._is_ours(assignment):
                break
            try:
                await self._deliver(news[at : at + size])
            except NotTaken as failure:
                failed = failure
                self.tally.failures[failure.trouble] += 1
                if failure.concerns_all:
                    break
        return failed

    async def _is_ours(self, assignment: int) -> bool:
        """Whether what was read then is still ours to be told. It is noted where we begin before any of it is."""
        if assignment != self._feed.assignment:
            return False
        return self._is_confirmed() or (await self._commit(is_due=True) and self._is_confirmed())

    def _is_confirmed(self) -> bool:
        return self._clock.monotonic_seconds() - self._confirmed_seconds < CONFIRMED_SECONDS

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
        assignment = self._assignment
        try:
            await self._receiver.deliver([_as_told(waiting.published, occasion) for waiting, occasion in some])
        except Refused as refusal:
            if len(some) > 1:
                # Which one it is: each for itself. The others are then taken, or were already.
                for one in some:
                    await self._deliver([one])
                return
            waiting, occasion = some[0]
            self.tally.refused += 1
            self.tally.failures[Trouble.REFUSED] += 1
            _log.error("Stepping over %s (%s): %s", waiting.alert.name, waiting.alert.fingerprint, refusal)
            if self._notified is not None and occasion in (Occasion.RESOLVED, Occasion.EXPIRED):
                self._notified.forget(waiting.alert.fingerprint)  # else it would lapse, and be refused, for ever
            self._done(waiting)
            return
        self.tally.delivered.update(waiting.alert.status for waiting, _ in some)
        self._uncommitted.update((waiting.partition, waiting.offset) for waiting, _ in some)
        if assignment != self._assignment:
            return  # what is noted now is about other partitions
        for waiting, occasion in some:
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
            return  # what prolongs them may not be read yet
        self._looked_ms = self._clock.now_ms()
        for alert in list(self._notified.expired(now_ms=self._looked_ms)):
            partition = self._partition_of[alert.fingerprint]
            if parse_time_ms(alert.ends_at) <= self._feed.told_until_ms(partition):
                self._notified.forget(alert.fingerprint)
            elif alert.fingerprint not in self._waiting:
                self._wait(_Waiting(PublishedAlert(alert, encode(alert)), partition, None))

    async def _commit(self, *, is_due: bool = False) -> bool:
        """Commit what is news, or if it `is_due`. Returns whether Kafka says that the partitions are ours."""
        assignment, offsets = self._feed.assignment, dict(self._feed.positions)
        for waiting in self._waiting.values():
            if waiting.offset is not None and waiting.partition in offsets:
                offsets[waiting.partition] = min(offsets[waiting.partition], waiting.offset)
        is_news = offsets != self._committed or self._told_of_lapsed
        if not offsets or not (is_news or is_due):
            return False
        asked_seconds = self._clock.monotonic_seconds()
        try:
            is_taken = await self._feed.commit(offsets, told_until_ms=self._told_until_ms())
        except TemporaryFailure as failure:
            # Nothing is lost: the next commit says the same and more.
            _log.warning("%s; alerts wait, and what was delivered may be delivered again after a restart", failure)
            return False
        if not is_taken or assignment != self._feed.assignment:
            return False
        self._committed, self._told_of_lapsed = offsets, False
        self._uncommitted = {
            (partition, offset)
            for partition, offset in self._uncommitted
            if offset is not None and offset >= offsets.get(partition, offset + 1)
        }
        self._confirmed_seconds = asked_seconds
        return True

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
