"""A worker's reports on itself: what it sees of its own state, now and then, and of the books of the whole ledger.

    number     the one that this worker is known by                 Redis
    look       add up every shard, take what the parts of the worker count
    publish    the reports that are due, until they are acknowledged
    keep       them, for rules and for whoever shows them

Beside counting, and without a say in it: whatever fails here is told once and tried again at the next look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from schemas.system_report import SystemReport
from streams.alerting.record import MONITOR
from streams.errors import LatelabelError
from streams.monitored_model import DAY_MS
from streams.ports import Clock, Publisher, ReportStore, Shape, WindowQuery
from streams.stability.resource_reports import ReportSettings
from streams.stability.system_figures import SystemLook
from streams.stability.system_reports import SystemWindows, read_system_report

__all__ = ["KEEP_MS", "SystemWatch", "WorkerNumbers"]

_log = logging.getLogger(__name__)

KEEP_MS = 2 * DAY_MS
"""Of reports on workers: rules compare with the day before."""
FORGOTTEN_AT_ONCE = 500
MOST_READ = 500
"""Reports that a worker which begins looks through for its own."""
LEAST_SECONDS = 1.0
MOST_SECONDS = 10.0
"""Between two looks; a look asks every shard for its fates."""
STOP_SECONDS = 1.0


class WorkerNumbers(Protocol):
    """`agents.redis_workers.RedisWorkers`; see there."""

    async def number(self, address: str) -> int: ...
    async def let_go(self, address: str) -> None: ...


class SystemWatch:
    """Runs until it is cancelled.

    Args:
        numbers: of workers.
        reports: where reports are kept.
        publisher: where they go.
        clock: wall time.
        look: takes a look, after having asked whom it has to ask; may raise `TemporaryFailure`.
        settings: of reports.
        sizes_ms: of their windows.
        address: where this worker answers, `host:port`.
        program_version: what runs.
    """

    def __init__(
        self,
        numbers: WorkerNumbers,
        reports: ReportStore,
        publisher: Publisher,
        clock: Clock,
        look: Callable[[], Awaitable[SystemLook]],
        *,
        settings: ReportSettings,
        sizes_ms: Sequence[int],
        address: str,
        program_version: str,
    ) -> None:
        self._numbers = numbers
        self._reports = reports
        self._publisher = publisher
        self._clock = clock
        self._look = look
        self._settings = settings
        self._sizes_ms = sizes_ms
        self._address = address
        self._program_version = program_version
        self._windows: SystemWindows | None = None
        self._counted: Mapping[str, float] = {}
        self._told: str | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run beside the block, until it is left."""
        task = asyncio.ensure_future(self.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            with contextlib.suppress(LatelabelError, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._numbers.let_go(self._address)

    async def run(self) -> None:
        """Look, and report what is due."""
        while True:
            await asyncio.sleep(min(max(self._settings.interval_ms / 1000, LEAST_SECONDS), MOST_SECONDS))
            try:
                await self.round()
                self._told = None
            except LatelabelError as failure:
                self._tell(f"No report on this worker: {failure}")
            except Exception:  # noqa: BLE001  (counting must go on, whatever this is)
                _log.exception("No report on this worker, because of an error that nobody expects")

    async def round(self) -> None:
        """Do it once.

        Raises: TemporaryFailure, PermanentFailure; nothing is counted twice when it is repeated.
        """
        windows = await self._own()
        look = await self._look()
        grown = {name: value - self._counted.get(name, 0) for name, value in look.counters.items()}
        windows.take(look, grown, now_ms=self._clock.now_ms())
        self._counted = look.counters
        due = list(windows.due(now_ms=self._clock.now_ms(), settings=self._settings))
        if not due:
            return
        await self._publisher.send([revision.message for revision in due])
        await self._reports.keep(MONITOR, None, [revision.kept for revision in due])
        for revision in due:
            windows.tell(revision)
            if revision.report.status == "final":
                await self._forget_old(revision.place[0])

    async def _own(self) -> SystemWindows:
        """The windows under the number that this worker has now."""
        worker = str(await self._numbers.number(self._address))
        if self._windows is None or self._windows.worker != worker:
            queries = [
                WindowQuery(
                    model_version=MONITOR, shape=Shape("system", size_ms // 1000), most=MOST_READ, of_segments=True
                )
                for size_ms in self._sizes_ms
            ]
            keys = [key for found in await self._reports.find(queries) for key in found]
            last = await self._reports.last({MONITOR: keys})
            reports = [report for each in last.values() if (report := _read(each.value)) is not None]
            self._windows = SystemWindows(
                worker,
                address=self._address,
                program_version=self._program_version,
                sizes_ms=self._sizes_ms,
                last=[report for report in reports if report.segment == {"worker": worker}],
            )
            _log.info("This worker is number %s", worker)
        return self._windows

    async def _forget_old(self, size_ms: int) -> None:
        """Drop reports of long ago, of whichever worker."""
        query = WindowQuery(
            model_version=MONITOR,
            shape=Shape("system", size_ms // 1000),
            until_ms=self._clock.now_ms() - KEEP_MS,
            most=FORGOTTEN_AT_ONCE,
            of_segments=True,
        )
        (old,) = await self._reports.find([query])
        await self._reports.forget(MONITOR, old)

    def _tell(self, message: str) -> None:
        if message != self._told:
            _log.warning("%s; tried again at the next look", message)
        self._told = message


def _read(value: bytes) -> SystemReport | None:
    # Of another version of the program: there is nothing that could be gone on from.
    with contextlib.suppress(msgspec.DecodeError):
        return read_system_report(value)
    return None
