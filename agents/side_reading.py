"""Reading another topic beside the counting of predictions, so that neither can disturb the other.

A Faust app of its own: another consumer group, such as `<kafka.group>-resources`, another thread, other keys in Redis.
Whatever ends it (a topic that is not there, a right that is missing, a mistake of ours) is told, and tried again after
a minute; the worker goes on counting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any, Generic, Protocol, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from agents.faust_app import FaustApp, build_faust_app
from agents.outages import Outages
from agents.record_batch import RecordBatch
from streams.errors import LatelabelError

__all__ = ["SideIntake", "SideReading"]

_log = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
"""A crash costs reading so much again; shorter writes every state more often."""
AGAIN_SECONDS = 60.0
STOP_SECONDS = 5.0
WATCH_SECONDS = 0.2

TopicExists = Callable[[], Awaitable[bool]]


class SideIntake(Protocol):
    """Takes in what is read; every method may raise `TemporaryFailure`, and is called again then."""

    async def assign(self, partitions: frozenset[int]) -> Mapping[int, int]:
        """Own exactly these partitions. Returns the offset wanted next of those that were read before."""

    def expect(self, offsets: Mapping[int, int]) -> None:
        """Told where reading of these partitions begins, or goes on behind what was lost."""

    async def give_up(self) -> None:
        """Own nothing: somebody else may have the partitions already."""

    async def take_in(self, batch: RecordBatch, acknowledge: Callable[[], None]) -> None:
        """Take a batch, and call `acknowledge` once it is kept."""

    async def flush(self) -> None:
        """Keep and publish what is due."""


Taken = TypeVar("Taken", bound=SideIntake)


class SideReading(Generic[Taken]):
    """Runs until it is cancelled.

    Args:
        group: its name.
        what: for the log, what is done with what is read, such as `resources are watched`.
        connection: makes aiokafka's arguments for brokers and security.
        exists: whether the topic does.
        flush_seconds: between two rounds of reports, if shorter than `FLUSH_SECONDS`.
    """

    def __init__(
        self,
        intake: Taken,
        outages: Outages,
        *,
        group: str,
        what: str,
        client_id: str,
        topic: str,
        connection: Callable[[], Mapping[str, Any]],
        exists: TopicExists,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._intake = intake
        self._outages = outages
        self._group = group
        self._what = what
        self._client_id = client_id
        self._topic = topic
        self._connection = connection
        self._exists = exists
        self._flush_seconds = min(flush_seconds, FLUSH_SECONDS)
        self.is_reading = False

    @property
    def intake(self) -> Taken:
        """What it reads into."""
        return self._intake

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run beside the block, until it is left."""
        task = asyncio.ensure_future(self.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def run(self) -> None:
        """Read, and begin again whenever that ends."""
        told = None
        while True:
            try:
                if await self._outages.ride_out(self._exists):
                    told = None
                    await self._read()
                elif told is None:
                    told = f"no topic {self._topic}"
                    _log.info(
                        "No %s: there is no topic %s; `latelabel topics create` makes it", self._what, self._topic
                    )
            except LatelabelError as failure:
                if told != str(failure):
                    told = str(failure)
                    _log.error("No %s, and it is tried again every minute: %s", self._what, failure)
            except Exception:  # noqa: BLE001  (counting must go on, whatever this is)
                _log.exception("No %s for a minute, because of an error that nobody expects", self._what)
            finally:
                self.is_reading = False
            await asyncio.sleep(AGAIN_SECONDS)

    async def _read(self) -> None:
        app = self._app()
        flushing = asyncio.ensure_future(self._flush())
        starting = asyncio.ensure_future(app.start())
        try:
            while not app.crashed:
                self.is_reading = app.is_reading
                await asyncio.wait({flushing}, timeout=WATCH_SECONDS)
                for task in (flushing, starting):
                    if task.done():
                        task.result()
            raise app.why_crashed()
        finally:
            for task in (flushing, starting):
                task.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await app.stop()

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(self._flush_seconds)
            await self._outages.ride_out(self._intake.flush)

    def _app(self) -> FaustApp:
        async def start_offsets(assigned: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
            stored = await self._outages.ride_out(
                lambda: self._intake.assign(frozenset(at.partition for at in assigned))
            )
            return await self._begin(app, {at: stored.get(at.partition, 0) for at in assigned})

        async def take_in(batch: RecordBatch, acknowledge: Callable[[], None]) -> None:
            await self._outages.ride_out(lambda: self._intake.take_in(batch, acknowledge))

        def out_of_range(lost: Collection[TopicPartition]) -> None:
            task = asyncio.ensure_future(self._seek(app, lost))
            seeking.add(task)
            task.add_done_callback(seeking.discard)

        seeking: set[asyncio.Future[None]] = set()
        app = build_faust_app(
            group=self._group,
            client_id=self._client_id,
            connection=self._connection(),
            topics=[self._topic],
            start_offsets=start_offsets,
            paused=frozenset,
            out_of_range=out_of_range,
            give_up=self._intake.give_up,
            take_in=take_in,
        )
        return app

    async def _begin(self, app: FaustApp, wanted: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        offsets = await _within_log(app, wanted)
        self._intake.expect({at.partition: offset for at, offset in offsets.items()})
        return offsets

    async def _seek(self, app: FaustApp, lost: Collection[TopicPartition]) -> None:
        with contextlib.suppress(IllegalStateError):  # taken away meanwhile
            await app.consumer.seek_wait(await self._begin(app, dict.fromkeys(lost, -1)))


async def _within_log(app: FaustApp, wanted: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
    """The offsets as far as the log has them; what retention took is lost, and a log that is another is read anew."""
    starts = await app.consumer.earliest_offsets(*wanted)
    ends = await app.consumer.highwaters(*wanted)
    return {at: offset if starts[at] <= offset <= ends[at] else starts[at] for at, offset in wanted.items()}
