"""Publishes reports on attribution of the model versions that fall to this worker.

One worker publishes what several have counted: the owner of the partition of explanations that the model version's hash
falls to. A worker that has just become it looks at all windows that are not final once; after that at those whose cells
have another revision, or whose status changes. Reports leave at least once, with stable keys and content ids.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from agents.redis_attributions import StoredCell
from schemas.attribution_report import AttributionReport
from schemas.window_report import report_key
from streams.explanation.attribution_progress import (
    AttributionWindow,
    Progress,
    Settling,
    reached_ms,
    status_of,
    windows_of,
)
from streams.explanation.attribution_reports import AttributionTerms, can_be_compared, report_on, revised
from streams.identity import model_version_name
from streams.ledger.agreements import Agreements
from streams.ledger.eras import Eras
from streams.monitored_model import DAY_MS, MonitoredModel
from streams.ports import Clock, Publisher, ReportStore, Shape, WindowQuery
from streams.windows import WindowStatus

__all__ = ["AttributionPorts", "AttributionPublishing", "PublishingSettings"]

AGE_SHARE = 0.01
"""Of a window's age that passes between two of its revisions, if that is longer than the interval."""
LOOKED_BACK = 12
"""Windows before one, among which one that it can be compared with is looked for."""
FORGOTTEN_AT_ONCE = 500
"""Reports."""
SILENT_MS = 2 * DAY_MS
"""After so long without an explanation and without open windows a model version is forgotten."""

_decode = msgspec.json.Decoder(AttributionReport).decode


class CellSource(Protocol):
    """`agents.redis_attributions.RedisAttributions`, as far as it is read here; see there."""

    async def versions(self) -> Mapping[bytes, tuple[str, str]]: ...
    async def progress(self, versions: Collection[bytes]) -> Mapping[bytes, tuple[int, int]]: ...
    async def load(self, version: bytes, starts_ms: Collection[int]) -> list[StoredCell]: ...
    async def cells(self, versions: Collection[bytes]) -> Mapping[bytes, Mapping[int, int]]: ...
    async def finish(self, version: bytes, starts_ms: Collection[int], *, until_ms: int) -> None: ...
    async def drop_version(self, version: bytes) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AttributionPorts:
    """What publishing asks of the world. `partitions` tells how many the topic of explanations has."""

    store: CellSource
    reports: ReportStore
    publisher: Publisher
    clock: Clock
    partitions: Callable[[], Awaitable[int]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PublishingSettings:
    """How reports are made, and for how long they are kept; `agreed` says how models are counted at the moment."""

    model: Callable[[str], MonitoredModel]
    agreed: Callable[[], Agreements]
    interval_ms: int
    lateness_ms: int
    keep_windows_ms: int
    reports: AttributionTerms


@dataclasses.dataclass(frozen=True, slots=True)
class _Told:
    """What was last looked at of a window: the revisions of its cells, its status, and when by wall time."""

    revisions: Mapping[int, int]
    status: WindowStatus
    looked_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Version:
    """A model version as it stands now."""

    key: bytes
    model: MonitoredModel
    eras: Eras
    name: str
    progress: Progress
    lateness_ms: int
    cells: Mapping[int, int]

    def windows(self) -> Mapping[AttributionWindow, dict[int, int]]:
        """The windows that its cells are in, and the revisions of those of each."""
        windows: dict[AttributionWindow, dict[int, int]] = collections.defaultdict(dict)
        for start_ms, revision in sorted(self.cells.items()):
            for window in windows_of(start_ms, self.model):
                windows[window][start_ms] = revision
        return windows

    def status(self, window: AttributionWindow) -> WindowStatus:
        """How far its figures can still move."""
        return status_of(window, self.progress, model=self.model, eras=self.eras, lateness_ms=self.lateness_ms)


class AttributionPublishing:
    """Of one worker. Every method may raise `TemporaryFailure`, and may be called again then."""

    def __init__(self, ports: AttributionPorts, settings: PublishingSettings) -> None:
        self._ports = ports
        self._settings = settings
        self._owned: frozenset[int] = frozenset()
        self._partitions = 1
        self._told: dict[bytes, dict[AttributionWindow, _Told]] = {}
        self._settling: dict[bytes, Settling] = {}
        self._looked_ms: int | None = None

    async def own(self, partitions: frozenset[int]) -> None:
        """Publish what falls to exactly these partitions."""
        self.disown()
        self._partitions = await self._ports.partitions()
        self._owned = partitions

    def disown(self) -> None:
        """Publish nothing."""
        self._owned, self._looked_ms = frozenset(), None
        self._told.clear()
        self._settling.clear()

    async def publish(self) -> None:
        """Publish and keep what is news and due; to be called as often as one likes."""
        store, now_ms = self._ports.store, self._ports.clock.now_ms()
        if self._looked_ms is not None and now_ms - self._looked_ms < self._settings.interval_ms:
            return
        versions = {
            key: named
            for key, named in (await store.versions() if self._owned else {}).items()
            if int.from_bytes(key) % self._partitions in self._owned
        }
        progress, cells = await store.progress(list(versions)), await store.cells(list(versions))
        for key, (name, model_version) in versions.items():
            newest_ms, heard_ms = progress.get(key, (0, 0))
            reached = reached_ms(newest_ms=newest_ms, heard_ms=heard_ms, now_ms=now_ms)
            settling = self._settling.setdefault(key, Settling())
            model = self._settings.model(name)
            version = _Version(
                key,
                model,
                self._settings.agreed().eras(model),
                model_version,
                settling.note(reached, now_ms=now_ms),
                self._settings.lateness_ms,
                cells[key],
            )
            if version.cells:
                await self._publish(version, now_ms)
            elif now_ms - heard_ms > SILENT_MS:
                await store.drop_version(key)
                del self._settling[key]
        self._looked_ms = now_ms

    async def _publish(self, version: _Version, now_ms: int) -> None:
        told = self._told.setdefault(version.key, {})
        windows = version.windows()
        for window in sorted(windows):
            if self._is_due(window, windows[window], told.get(window), version, now_ms):
                told[window] = await self._look(window, sorted(windows[window]), version, now_ms)
        await self._finish(version, told)

    def _is_due(
        self,
        window: AttributionWindow,
        revisions: Mapping[int, int],
        told: _Told | None,
        version: _Version,
        now_ms: int,
    ) -> bool:
        if told is None:
            return True
        if told.status is WindowStatus.FINAL:
            return False
        if version.status(window) is not told.status:
            return True
        age_ms = max(0, version.progress.reached_ms - window.start_ms)
        spacing_ms = max(self._settings.interval_ms, AGE_SHARE * age_ms)
        return revisions != told.revisions and now_ms - told.looked_ms >= spacing_ms

    async def _look(self, window: AttributionWindow, starts_ms: Sequence[int], version: _Version, now_ms: int) -> _Told:
        """Make the report of a window, and publish it if it is news."""
        terms, status = self._settings.reports, version.status(window)
        key = report_key(
            kind="attribution",
            model=version.model.name,
            model_version=version.name,
            segment={},
            window_seconds=window.size_ms // 1000,
            window_start_ms=window.start_ms,
        )
        last = (await self._ports.reports.last({version.key: [key]})).get(key)
        stored = await self._ports.store.load(version.key, starts_ms)
        told = _Told(
            {start_ms: revision for start_ms, (revision, _) in zip(starts_ms, stored, strict=True)}, status, now_ms
        )
        if last is not None and _decode(last.value).status == "final":
            return told  # whoever had it before has said all
        before = await self._before(window, version)
        # In a thread: a window may hold thousands of explanations, for which counting must not wait.
        content = await asyncio.to_thread(
            report_on,
            window,
            [cell for _, cell in stored],
            before,
            model=version.model,
            model_version=version.name,
            status=status,
            terms=terms,
        )
        news = revised(content, last, watermark_ms=version.progress.reached_ms, now_ms=now_ms, terms=terms)
        if news is not None:
            message, kept = news
            await self._ports.publisher.send([message])
            name = model_version_name(version.model.name, version.name)
            await self._ports.reports.keep(version.key, name, [kept])
        return told

    async def _before(self, window: AttributionWindow, version: _Version) -> AttributionReport | None:
        """The last report before a window that it can be compared with."""
        query = WindowQuery(
            model_version=version.key,
            shape=Shape("attribution", window.size_ms // 1000),
            until_ms=window.start_ms,
            most=LOOKED_BACK,
        )
        (keys,) = await self._ports.reports.find([query])
        reports = await self._ports.reports.last({version.key: keys}) if keys else {}
        found = (_decode(reports[key].value) for key in keys if key in reports)
        return next((report for report in found if can_be_compared(report)), None)

    async def _finish(self, version: _Version, told: dict[AttributionWindow, _Told]) -> None:
        """Let go of cells whose windows are all final, and of reports that are kept for no longer."""
        finals = {window for window in version.windows() if version.status(window) is WindowStatus.FINAL}
        done = [start_ms for start_ms in version.cells if finals.issuperset(windows_of(start_ms, version.model))]
        if not done:
            return
        await self._ports.store.finish(version.key, done, until_ms=max(done) + version.model.base_window_ms)
        for window in finals:
            told.pop(window, None)
        queries = [
            WindowQuery(
                model_version=version.key,
                shape=Shape("attribution", size_ms // 1000),
                until_ms=min(done) - self._settings.keep_windows_ms,
                most=FORGOTTEN_AT_ONCE,
            )
            for size_ms in version.model.report_windows_ms
        ]
        for old in await self._ports.reports.find(queries):
            await self._ports.reports.forget(version.key, old)
