"""Takes in resource samples, and publishes reports on what models take.

    take in    decode, dead letters, count in the series of each target                     as batches come
    flush      publish what is due, keep the reports, keep the series, then the offsets     every few seconds

Nothing here touches the ledger: another consumer group, other keys. Offsets are noted last, so that after a crash the
samples since are read again; a sample of a time that is known changes nothing. A series is written only over the
revision it was read as; when another worker was faster, what came since is counted again on top of what is stored.
Reports and dead letters leave at least once, with stable keys and content ids.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from agents.record_batch import RecordBatch
from agents.redis_resources import KEEP_MS, TargetLine, series_key
from agents.refused_record import letter_message, refusal
from schemas.codec import decode_resource_samples
from schemas.errors import Rejected
from schemas.resource_sample import SentResourceSample
from streams.identity import model_version_hash, model_version_name
from streams.monitored_model import MINUTE_MS, MonitoredModel
from streams.ports import Clock, Publisher, ReportStore, Shape, WindowQuery
from streams.stability.resource_reports import ReportSettings, due_reports, told_name
from streams.stability.resource_series import ResourceSeries, SampleFate, SeriesSettings

__all__ = ["IntakeSettings", "ResourceIntake", "ResourcePorts"]

_log = logging.getLogger(__name__)

MOST_UNSAVED = 20_000
"""Samples counted and not kept yet; beyond it they are kept at once, and reading waits."""
LOOK_MS = MINUTE_MS
"""Between two looks for targets that have fallen silent."""
LETTERS_A_MINUTE = 100
"""Of a worker: a sample is not worth keeping for itself, only to see what is wrong. All are counted."""
FORGOTTEN_AT_ONCE = 500
"""Reports."""

_Entry = tuple[SentResourceSample, int]


class ResourceStore(Protocol):
    """`agents.redis_resources.RedisResources`; see there."""

    async def targets(self) -> Mapping[bytes, TargetLine]: ...
    async def load(self, key: bytes) -> ResourceSeries | None: ...
    async def save(self, key: bytes, series: ResourceSeries) -> bool: ...
    async def drop_lines(self, keys: list[bytes]) -> None: ...
    async def offsets(self) -> Mapping[int, int]: ...
    async def save_offsets(self, offsets: Mapping[int, int]) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePorts:
    """What the intake asks of the world."""

    store: ResourceStore
    reports: ReportStore
    publisher: Publisher
    clock: Clock


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IntakeSettings:
    """How samples are counted. `most_targets` bounds the series; further targets are counted as beyond the limit."""

    model: Callable[[str], MonitoredModel]
    lateness_ms: int
    max_future_skew_ms: int
    block_ms: int
    most_targets: int
    dead_letters: str
    reports: ReportSettings


class ResourceIntake:
    """All targets of the partitions that this worker owns."""

    def __init__(self, ports: ResourcePorts, settings: IntakeSettings) -> None:
        self.fates: collections.Counter[SampleFate] = collections.Counter()
        self._ports = ports
        self._settings = settings
        self._busy = asyncio.Lock()
        self._partitions: frozenset[int] = frozenset()
        self._series: dict[bytes, ResourceSeries] = {}
        self._unsaved: dict[bytes, list[_Entry]] = {}
        self._silent: set[bytes] = set()
        self._offsets: dict[int, int] = {}
        self._expected: dict[int, int] = {}
        self._acknowledgements: list[Callable[[], None]] = []
        self._known: set[bytes] | None = None
        self._looked_ms = 0
        self._letters_since_ms = 0
        self._letters = 0

    @property
    def targets(self) -> int:
        """How many targets are watched here."""
        return len(self._series)

    async def assign(self, partitions: frozenset[int]) -> Mapping[int, int]:
        """Own exactly these partitions. Returns the offset wanted next of those that were read before."""
        async with self._busy:
            self._let_go()
            self._partitions = partitions
            stored = await self._ports.store.offsets()
        return {partition: stored[partition] for partition in partitions if partition in stored}

    def expect(self, offsets: Mapping[int, int]) -> None:
        """Told where reading of these partitions begins, or goes on behind what was lost."""
        self._expected |= offsets

    async def give_up(self) -> None:
        """Own nothing: somebody else may have the partitions already, and reads again what is not kept."""
        async with self._busy:
            self._let_go()

    def _let_go(self) -> None:
        for forgotten in (self._series, self._unsaved, self._silent, self._offsets, self._acknowledgements):
            forgotten.clear()
        self._expected.clear()
        self._partitions, self._known, self._looked_ms = frozenset(), None, 0

    async def take_in(self, batch: RecordBatch, acknowledge: Callable[[], None]) -> None:
        """Count a batch. `acknowledge` is called once it is kept.

        Raises: TemporaryFailure; the batch may be given once more.
        """
        async with self._busy:
            if batch.base > self._expected.get(batch.partition, batch.base):
                return  # fetched before the partition was given anew; what it leaves out is read first
            decoded = decode_resource_samples(
                batch.values,
                batch.timestamps_ms,
                now_ms=self._ports.clock.now_ms(),
                max_future_skew_ms=self._settings.max_future_skew_ms,
            )
            # Before anything is counted: what has not been acknowledged comes again.
            await self._send_letters(batch, decoded.rejected)
            entries: dict[bytes, list[_Entry]] = collections.defaultdict(list)
            for sample, time_ms in zip(decoded.records, decoded.times_ms.tolist(), strict=True):
                entries[series_key(sample.model, sample.model_version or "", sample.target)].append((sample, time_ms))
            for key, of_target in entries.items():
                await self._open(key, of_target[0][0], batch.partition)
            self.fates[SampleFate.REJECTED] += len(decoded.rejected)
            for key, of_target in entries.items():
                self._count(key, of_target)
            self._expected[batch.partition] = max(batch.next, self._expected.get(batch.partition, 0))
            self._offsets[batch.partition] = self._expected[batch.partition]
            self._acknowledgements.append(acknowledge)
            is_full = sum(map(len, self._unsaved.values())) >= MOST_UNSAVED
        if is_full:
            await self.flush()

    async def flush(self) -> None:
        """Publish what is due, and keep what was counted.

        Raises: TemporaryFailure; to be called again.
        """
        async with self._busy:
            await self._look_for_silent()
            for key in [*self._unsaved, *(self._silent - self._unsaved.keys())]:
                while not await self._flush(key):
                    pass
                self._unsaved.pop(key, None)
                self._silent.discard(key)
            offsets, self._offsets = self._offsets, {}
            await self._ports.store.save_offsets(offsets)
            for acknowledge in self._acknowledgements:
                acknowledge()
            self._acknowledgements.clear()

    async def _send_letters(self, batch: RecordBatch, rejections: Sequence[tuple[int, Rejected]]) -> None:
        """Keep what was refused, but of a flood only so much that it can be understood."""
        now_ms = self._ports.clock.now_ms()
        if now_ms - self._letters_since_ms >= MINUTE_MS:
            self._letters_since_ms, self._letters = now_ms, 0
        kept = rejections[: max(0, LETTERS_A_MINUTE - self._letters)]
        messages = [
            letter_message(
                batch,
                index,
                refusal(batch.values[index], rejected),
                topic=self._settings.dead_letters,
                now_ms=now_ms,
            )
            for index, rejected in kept
        ]
        await self._ports.publisher.send(messages)
        self._letters += len(messages)

    async def _open(self, key: bytes, sample: SentResourceSample, partition: int) -> None:
        """Have the series of a target at hand, unless there are too many targets."""
        if key in self._series:
            self._series[key].partition = partition
            return
        if self._known is None:
            self._known = set(await self._ports.store.targets())
        if key not in self._known and len(self._known) >= self._settings.most_targets:
            return
        self._known.add(key)
        series = await self._ports.store.load(key)
        if series is None:
            series = ResourceSeries(model=sample.model, model_version=sample.model_version or "", target=sample.target)
        self._remember(key, series, partition)

    def _remember(self, key: bytes, series: ResourceSeries, partition: int) -> None:
        series.partition = partition
        series.adopt(self._settings_of(series))
        self._series[key] = series

    def _count(self, key: bytes, entries: Sequence[_Entry]) -> None:
        series = self._series.get(key)
        if series is None:
            self.fates[SampleFate.BEYOND_LIMIT] += len(entries)
            return
        settings = self._settings_of(series)
        series.adopt(settings)
        unsaved = self._unsaved.setdefault(key, [])
        for sample, time_ms in entries:
            fate = series.take(sample, time_ms, settings)
            self.fates[fate] += 1
            if fate is SampleFate.COUNTED:
                unsaved.append((sample, time_ms))

    async def _flush(self, key: bytes) -> bool:
        """Publish and keep one target. False if another worker was faster: then what is stored is taken up."""
        series = self._series[key]
        now_ms = self._ports.clock.now_ms()
        series.close_if_silent(now_ms)
        due = list(due_reports(series, now_ms=now_ms, settings=self._settings.reports))
        if due:
            await self._ports.publisher.send([revision.message for revision in due])
            model_version = model_version_hash(series.model, series.model_version)
            name = model_version_name(series.model, series.model_version)
            await self._ports.reports.keep(model_version, name, [revision.kept for revision in due])
            for revision in due:
                series.told[told_name(revision.place)] = revision.told
        for place in series.places():
            if place.is_final:
                await self._drop_old_reports(series, place.size_ms, now_ms)
                series.forget(place)
                series.told.pop(told_name(place), None)
        if await self._ports.store.save(key, series):
            return True
        _log.info("Another worker counts samples of %s too; counting on from what it has", series.target)
        stored = await self._ports.store.load(key)
        if stored is None:
            stored = ResourceSeries(model=series.model, model_version=series.model_version, target=series.target)
        self._remember(key, stored, series.partition)
        for sample, time_ms in self._unsaved.get(key, ()):
            stored.take(sample, time_ms, self._settings_of(stored))
        return False

    async def _drop_old_reports(self, series: ResourceSeries, size_ms: int, now_ms: int) -> None:
        model_version = model_version_hash(series.model, series.model_version)
        query = WindowQuery(
            model_version=model_version,
            shape=Shape("resources", size_ms // 1000),
            until_ms=now_ms - KEEP_MS,
            most=FORGOTTEN_AT_ONCE,
            of_segments=True,
        )
        (old,) = await self._ports.reports.find([query])
        await self._ports.reports.forget(model_version, old)

    async def _look_for_silent(self) -> None:
        """Now and then, find targets of our partitions that send nothing, so that their windows close too."""
        now_ms = self._ports.clock.now_ms()
        if now_ms - self._looked_ms < LOOK_MS:
            return
        self._looked_ms = now_ms
        lines = await self._ports.store.targets()
        gone = []
        for key, line in lines.items():
            if line.partition not in self._partitions:
                continue
            if key not in self._series:
                series = await self._ports.store.load(key)
                if series is None:
                    gone.append(key)
                    continue
                self._remember(key, series, line.partition)
            if key not in self._unsaved and self._series[key].places():
                self._silent.add(key)
            elif key not in self._unsaved and now_ms - self._series[key].newest_ms > KEEP_MS:
                del self._series[key]
        await self._ports.store.drop_lines(gone)
        self._known = lines.keys() - set(gone) | self._series.keys()

    def _settings_of(self, series: ResourceSeries) -> SeriesSettings:
        return SeriesSettings.of(
            self._settings.model(series.model),
            lateness_ms=self._settings.lateness_ms,
            block_ms=self._settings.block_ms,
        )
