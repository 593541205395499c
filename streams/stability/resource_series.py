"""The resource samples of one target that serves one model version: each counted once, in windows of event time.

    samples ──► cells (the open ones know which times they have) ──► sums of report windows ──► reports
                   │ closed once the newest sample is further ahead than the allowed lateness
                   └── a sample for a closed cell is late

Invariants: a sample is identified by its time, and a repeat changes nothing; any order within the allowed lateness
gives the same sums; the size is bounded, however many samples, restarts or repeats come. What is said of growth is
what was known when it was said.

Restarts and kills are told by counters that only samples newer than all others can move.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

from schemas.resource_sample import SentResourceSample
from schemas.times import parse_time_ms
from streams.monitored_model import MINUTE_MS, MonitoredModel
from streams.stability.block_minima import MemoryBlocks
from streams.stability.resource_sums import Outlook, Sums, measures_of, memory_of
from streams.windows import window_start_ms

__all__ = [
    "MOST_IN_A_CELL",
    "SAMPLE_FATES",
    "SILENT_MS",
    "ResourceSeries",
    "SampleFate",
    "SeriesSettings",
    "Told",
    "WindowPlace",
]

LONGEST_CELL_MS = MINUTE_MS
MOST_LATENESS_MS = 10 * MINUTE_MS
MOST_IN_A_CELL = 600
"""Ten samples a second; more are a flood."""
SILENT_MS = 60 * MINUTE_MS
"""After so long without a sample, by wall time, windows close by themselves. A probe keeps an hour of samples."""


class SampleFate(enum.StrEnum):
    """What became of a sample; each has one."""

    COUNTED = "counted"
    REPEATED = "repeated"
    LATE = "late"
    CROWDED = "crowded"
    BEYOND_LIMIT = "beyond_limit"
    REJECTED = "rejected"


SAMPLE_FATES: Mapping[SampleFate, str] = MappingProxyType(
    {
        SampleFate.COUNTED: "In the windows of its target.",
        SampleFate.REPEATED: "Its target has a sample of that time already.",
        SampleFate.LATE: "Its window is closed: it came further behind the newest of its target than"
        " `allowed_lateness`, or than ten minutes if that is less.",
        SampleFate.CROWDED: f"Its minute has {MOST_IN_A_CELL} samples already.",
        SampleFate.BEYOND_LIMIT: "Its target is new, and there are as many as are watched.",
        SampleFate.REJECTED: "It cannot be read, or its time cannot be true; it is among the dead letters.",
    }
)
"""What each fate says about a sample."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSettings:
    """How the samples of a model are counted.

    `cell_ms` divides all of `window_sizes_ms`, `block_ms` is the shortest block of the leak rule.
    """

    window_sizes_ms: tuple[int, ...]
    cell_ms: int
    lateness_ms: int
    block_ms: int

    @classmethod
    def of(cls, model: MonitoredModel, *, lateness_ms: int, block_ms: int) -> SeriesSettings:
        """Those of a model, in the windows that its quality is reported in."""
        return cls(
            window_sizes_ms=model.report_windows_ms,
            cell_ms=math.gcd(LONGEST_CELL_MS, *model.report_windows_ms),
            lateness_ms=min(lateness_ms, MOST_LATENESS_MS),
            block_ms=block_ms,
        )


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class WindowPlace:
    """A report window, and whether nothing can change it any more."""

    start_ms: int
    size_ms: int
    is_final: bool


class _Cell(msgspec.Struct, array_like=True):
    """`times` are those of its samples, in milliseconds from its start."""

    sums: Sums
    times: list[int]


class Told(msgspec.Struct, array_like=True):
    """What was published last about a window that is not final."""

    revision: int
    published_ms: int
    event_id: str


class ResourceSeries(msgspec.Struct, kw_only=True, array_like=True):
    """All that is kept of one target and model version.

    `closed_ms`: cells that start before are closed. `windows` holds, by size and start, the closed cells of windows
    that are not final. `start_ms` and `oom_kills` are the newest process's.
    """

    model: str
    model_version: str
    target: str
    partition: int = 0
    revision: int = 0
    newest_ms: int = 0
    closed_ms: int = 0
    start_ms: int | None = None
    oom_kills: int | None = None
    cell_ms: int = LONGEST_CELL_MS
    cells: dict[int, _Cell] = {}
    windows: dict[int, dict[int, Sums]] = {}
    memory: MemoryBlocks = msgspec.field(default_factory=lambda: MemoryBlocks(MINUTE_MS))
    told: dict[str, Told] = {}

    def adopt(self, settings: SeriesSettings) -> None:
        """Go on under the settings of now: what is changed begins with the samples that come."""
        if self.cell_ms != settings.cell_ms:
            for start_ms in sorted(self.cells):
                self._close(start_ms)
            self.closed_ms = max(
                self.closed_ms, _ceiling(self.newest_ms + 1, settings.cell_ms) if self.newest_ms else 0
            )
            self.cell_ms = settings.cell_ms
        for size_ms in self.windows.keys() - set(settings.window_sizes_ms):
            del self.windows[size_ms]
        for size_ms in settings.window_sizes_ms:
            self.windows.setdefault(size_ms, {})
        if self.memory.block_ms != settings.block_ms:
            self.memory = MemoryBlocks(settings.block_ms)

    def take(self, sample: SentResourceSample, time_ms: int, settings: SeriesSettings) -> SampleFate:
        """Count one sample; `adopt` comes first."""
        start_ms = window_start_ms(time_ms, size_ms=self.cell_ms)
        if start_ms < self.closed_ms:
            return SampleFate.LATE
        cell = self.cells.get(start_ms) or _Cell(Sums(), [])
        if time_ms - start_ms in cell.times:
            return SampleFate.REPEATED
        if len(cell.times) >= MOST_IN_A_CELL:
            return SampleFate.CROWDED
        self.cells[start_ms] = cell
        cell.times.append(time_ms - start_ms)
        cell.sums.samples += 1
        for name, value in measures_of(sample):
            cell.sums.add(name, value)
        if time_ms > self.newest_ms:
            self._notice_restart(sample, cell.sums)
            self.newest_ms = time_ms
        self._look_ahead(sample, time_ms, cell.sums)
        self._close_until(time_ms - settings.lateness_ms)
        return SampleFate.COUNTED

    def close_if_silent(self, now_ms: int) -> None:
        """Close what no sample can be expected for any longer."""
        if now_ms - self.newest_ms > SILENT_MS:
            self._close_until(now_ms - SILENT_MS)

    def places(self) -> list[WindowPlace]:
        """All windows that there is something to say about, in order of start."""
        starts = {(size_ms, start_ms) for size_ms, windows in self.windows.items() for start_ms in windows}
        for size_ms in self.windows:
            starts.update((size_ms, window_start_ms(start_ms, size_ms=size_ms)) for start_ms in self.cells)
        return sorted(WindowPlace(start, size, start + size <= self.closed_ms) for size, start in starts)

    def sums_of(self, place: WindowPlace) -> Sums:
        """What a window adds up to now."""
        total = Sums()
        for part in self._parts(place):
            total.merge(part)
        return total

    def forget(self, place: WindowPlace) -> None:
        """Drop a window whose final report is published."""
        self.windows[place.size_ms].pop(place.start_ms, None)

    def _parts(self, place: WindowPlace) -> Iterator[Sums]:
        closed = self.windows[place.size_ms].get(place.start_ms)
        if closed is not None:
            yield closed
        for start_ms, cell in self.cells.items():
            if place.start_ms <= start_ms < place.start_ms + place.size_ms:
                yield cell.sums

    def _notice_restart(self, sample: SentResourceSample, sums: Sums) -> None:
        if sample.process_start_time is not None:
            start_ms = parse_time_ms(sample.process_start_time)
            if self.start_ms is not None and start_ms != self.start_ms:
                sums.restarts += 1
                self.memory = MemoryBlocks(self.memory.block_ms)
            self.start_ms = start_ms
        if sample.oom_kills is not None:
            # A smaller number is another container's, which has killed so many already.
            if self.oom_kills is not None:
                is_same = sample.oom_kills >= self.oom_kills
                sums.oom_kills += sample.oom_kills - (self.oom_kills if is_same else 0)
            self.oom_kills = sample.oom_kills

    def _look_ahead(self, sample: SentResourceSample, time_ms: int, sums: Sums) -> None:
        own_bytes, limited_bytes = memory_of(sample)
        # An older sample may be of the process before.
        is_of_now = sample.process_start_time is None or parse_time_ms(sample.process_start_time) == self.start_ms
        if own_bytes is not None and is_of_now:
            self.memory.take(time_ms, own_bytes)
        if own_bytes is not None and (sums.outlook is None or time_ms > sums.outlook.time_ms):
            sums.outlook = Outlook(time_ms, self.memory.growth(), limited_bytes, sample.memory_limit_bytes)

    def _close_until(self, watermark_ms: int) -> None:
        until_ms = window_start_ms(watermark_ms, size_ms=self.cell_ms)
        if until_ms <= self.closed_ms:
            return
        self.closed_ms = until_ms
        for start_ms in sorted(start for start in self.cells if start < until_ms):
            self._close(start_ms)

    def _close(self, start_ms: int) -> None:
        cell = self.cells.pop(start_ms)
        for size_ms, windows in self.windows.items():
            windows.setdefault(window_start_ms(start_ms, size_ms=size_ms), Sums()).merge(cell.sums)


def _ceiling(time_ms: int, size_ms: int) -> int:
    return -(-time_ms // size_ms) * size_ms
