"""A probe at work: a sample at every interval, kept while Kafka is away, sent when it is there.

    read ──► sample ──► buffer, an hour at one a second ──► Kafka
               │           └── full: the oldest is dropped, and counted
               └── a target that cannot be read is told once, counted, and looked for again

Nothing here ends because of the target, but for a pid that has ended: it is never followed to another process.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable

from agents.probe.readings import Trouble, TroubleReason
from agents.probe.sampler import Sampler
from agents.probe.targets import Target
from streams.errors import PermanentFailure, TemporaryFailure
from streams.ports import Clock, OutgoingMessage, Publisher

__all__ = ["BUFFERED", "Buffer", "ProbeRun"]

_log = logging.getLogger(__name__)

BUFFERED = 3600
AT_ONCE = 500
AGAIN_SECONDS = 1.0
TOLD_SECONDS = 60.0
LAST_SECONDS = 5.0
"""To send what is left when the probe is stopped."""


class Buffer:
    """Samples that wait for Kafka, oldest first; `dropped` counts those that found no room."""

    def __init__(self, most: int = BUFFERED) -> None:
        self.dropped = 0
        self._most = most
        self._waiting: collections.deque[OutgoingMessage] = collections.deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: OutgoingMessage) -> None:
        """Add one; the oldest makes room."""
        self._waiting.append(message)
        self._shorten()

    def take(self, most: int) -> list[OutgoingMessage]:
        """Take out the oldest."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def give_back(self, messages: list[OutgoingMessage]) -> None:
        """What was taken is not sent after all."""
        self._waiting.extendleft(reversed(messages))
        self._shorten()

    def _shorten(self) -> None:
        while len(self._waiting) > self._most:
            self._waiting.popleft()
            self.dropped += 1


@dataclasses.dataclass(slots=True)
class ProbeRun:
    """One probe.

    `follows`: whether a target that has ended may come back. `connect` is called until it raises nothing, before the
    first sample is sent, and a permanent failure of it ends the probe; `close` at the end.
    """

    target: Target
    sampler: Sampler
    publisher: Publisher
    clock: Clock
    interval_seconds: float
    follows: bool
    connect: Callable[[], Awaitable[object]]
    close: Callable[[], Awaitable[object]]
    buffer: Buffer = dataclasses.field(default_factory=Buffer)
    sent: int = 0
    troubles: collections.Counter[TroubleReason] = dataclasses.field(default_factory=collections.Counter)
    _told: tuple[str, float] | None = None
    _is_connected: bool = False

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, or a target that does not come back has ended.

        Raises:
            PermanentFailure: the target was never there and cannot come, or Kafka does not let us write.
        """
        try:
            await self._work(stop)
        finally:
            await self.close()
            _log.info("%s", self.summary())

    async def _work(self, stop: asyncio.Event) -> None:
        async with self.target.opened():
            sending = asyncio.ensure_future(self._send())
            sampling = asyncio.ensure_future(self._sample())
            stopping = asyncio.ensure_future(stop.wait())
            tasks = {sending, sampling, stopping}
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        await self._send_last()

    def summary(self) -> str:
        """What became of the samples."""
        troubles = "".join(f", {count} without a sample for {reason}" for reason, count in self.troubles.items())
        return (
            f"{self.sent} samples sent, {self.buffer.dropped} dropped, {len(self.buffer)} not sent,"
            f" {self.sampler.restarts} restarts{troubles}"
        )

    async def _sample(self) -> None:
        next_seconds = self.clock.monotonic_seconds()
        is_first = True
        while True:
            try:
                reading = await self.target.read()
            except Trouble as trouble:
                if not self.follows and trouble.reason is TroubleReason.NO_PROCESS:
                    if is_first:
                        raise PermanentFailure(
                            f"{trouble}; name one that runs, or use --cmdline or --port"
                        ) from trouble
                    _log.info("%s, so the probe ends", trouble)
                    return
                self._tell(trouble)
            else:
                is_first = False
                if self._told is not None:
                    _log.info("The target is read again")
                    self._told = None
                now_ms = self.clock.now_ms()
                sample = self.sampler.sample(reading, now_ms=now_ms, monotonic_seconds=self.clock.monotonic_seconds())
                self.buffer.put(self.sampler.message(sample, now_ms=now_ms))
            # What was missed, as by a machine that slept, is not made up for.
            now_seconds = self.clock.monotonic_seconds()
            next_seconds = max(next_seconds + self.interval_seconds, now_seconds)
            await asyncio.sleep(next_seconds - now_seconds)

    def _tell(self, trouble: Trouble) -> None:
        self.troubles[trouble.reason] += 1
        now_seconds = self.clock.monotonic_seconds()
        if self._told is None or self._told[0] != trouble.reason or now_seconds - self._told[1] >= TOLD_SECONDS:
            self._told = (trouble.reason, now_seconds)
            _log.warning("%s; looking again every %g s", trouble, self.interval_seconds)

    async def _send(self) -> None:
        told_seconds = float("-inf")
        while True:
            try:
                await self._send_some()
            except TemporaryFailure as failure:
                now_seconds = self.clock.monotonic_seconds()
                if now_seconds - told_seconds >= TOLD_SECONDS:
                    told_seconds = now_seconds
                    _log.warning(
                        "%s; keeping %d samples for it, %d dropped so far",
                        failure, len(self.buffer), self.buffer.dropped,
                    )  # fmt: skip
            await asyncio.sleep(min(AGAIN_SECONDS, self.interval_seconds))

    async def _send_some(self) -> None:
        """Send what waits.

        Raises: TemporaryFailure with everything back in the buffer.
        """
        if not self._is_connected:
            await self.connect()
            self._is_connected = True
        while messages := self.buffer.take(AT_ONCE):
            try:
                await self.publisher.send(messages)
            except BaseException:
                self.buffer.give_back(messages)
                raise
            self.sent += len(messages)

    async def _send_last(self) -> None:
        with contextlib.suppress(TemporaryFailure, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self._send_some()
