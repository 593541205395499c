"""Takes in explanations, from which reports on what decided a model's answers are made.

    take in    decode, and note for the cell of each prediction's base window          as batches come
    flush      keep the cells, then the offsets; publish what is due                   every few seconds

Explanations of one model version stand in all partitions, so several workers put them into the same cells, each over
the revision it has read; a worker that was overtaken takes up what is stored and puts its own in again. A cell is the
same whoever put what in, and how often (`streams.explanation.attribution_sample`), so reading at least once is enough.

Nothing here touches the ledger.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import msgspec

from agents.attribution_publishing import AttributionPublishing
from agents.record_batch import RecordBatch
from agents.redis_attributions import StoredCell
from schemas.errors import Rejected
from schemas.explanation import Explanation
from schemas.times import parse_time_ms
from streams.explanation.attribution_progress import closed_ms
from streams.explanation.attribution_sample import Cell, ExplanationFate, Row, Sample, row_of
from streams.identity import model_version_hash
from streams.ledger.agreements import Agreements
from streams.monitored_model import DAY_MS, MonitoredModel
from streams.ports import Clock
from streams.windows import window_start_ms

__all__ = ["AttributionIntake", "CellStore", "IntakeSettings"]

_log = logging.getLogger(__name__)

MOST_UNSAVED = 5_000
"""Explanations read and not kept yet; beyond it they are kept at once, and reading waits."""
MARGIN_MS = 2 * DAY_MS
"""Of wall time, that a cell is kept for beyond the time that it may take until its windows are final."""

_decode = msgspec.json.Decoder(Explanation).decode


class CellStore(Protocol):
    """`agents.redis_attributions.RedisAttributions`, as far as it is written here; see there."""

    async def versions(self) -> Mapping[bytes, tuple[str, str]]: ...
    async def hear(self, version: bytes, named: tuple[str, str], *, newest_ms: int, now_ms: int) -> None: ...
    async def finished_ms(self, version: bytes) -> int: ...
    async def load(self, version: bytes, starts_ms: Collection[int]) -> list[StoredCell]: ...
    async def save(self, version: bytes, start_ms: int, cell: Cell, *, revision: int, keep_ms: int) -> bool: ...
    async def offsets(self) -> Mapping[int, int]: ...
    async def save_offsets(self, offsets: Mapping[int, int]) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IntakeSettings:
    """How explanations are counted. `agreed` says how models are counted at the moment. `most_versions` bounds the
    model versions; those of others are left out."""

    model: Callable[[str], MonitoredModel]
    agreed: Callable[[], Agreements]
    most_versions: int
    lateness_ms: int


@dataclasses.dataclass(slots=True)
class _Unsaved:
    """What was read of one model version since the last flush: by start of the cell, what belongs into it."""

    named: tuple[str, str]
    newest_ms: int = 0
    cells: dict[int, list[tuple[Sample, Row]]] = dataclasses.field(default_factory=dict)


class AttributionIntake:
    """All explanations in the partitions that this worker owns."""

    def __init__(
        self, store: CellStore, publishing: AttributionPublishing, clock: Clock, settings: IntakeSettings
    ) -> None:
        self.fates: collections.Counter[ExplanationFate] = collections.Counter()
        self._store = store
        self._publishing = publishing
        self._clock = clock
        self._settings = settings
        self._busy = asyncio.Lock()
        self._unsaved: dict[bytes, _Unsaved] = {}
        self._count = 0
        self._offsets: dict[int, int] = {}
        self._expected: dict[int, int] = {}
        self._acknowledgements: list[Callable[[], None]] = []

    async def assign(self, partitions: frozenset[int]) -> Mapping[int, int]:
        """Own exactly these partitions. Returns the offset wanted next of those that were read before."""
        async with self._busy:
            self._let_go()
            await self._publishing.own(partitions)
            stored = await self._store.offsets()
        return {partition: stored[partition] for partition in partitions if partition in stored}

    def expect(self, offsets: Mapping[int, int]) -> None:
        """Told where reading of these partitions begins, or goes on behind what was lost."""
        self._expected |= offsets

    async def give_up(self) -> None:
        """Own nothing: somebody else may have the partitions already, and reads again what is not kept."""
        async with self._busy:
            self._let_go()
            self._publishing.disown()

    def _let_go(self) -> None:
        for forgotten in (self._unsaved, self._offsets, self._expected, self._acknowledgements):
            forgotten.clear()
        self._count = 0

    async def take_in(self, batch: RecordBatch, acknowledge: Callable[[], None]) -> None:
        """Note a batch. `acknowledge` is called once it is kept.

        Raises: TemporaryFailure.
        """
        async with self._busy:
            if batch.base > self._expected.get(batch.partition, batch.base):
                return  # fetched before the partition was given anew; what it leaves out is read first
            for value in batch.values:
                self._note(value)
            self._expected[batch.partition] = max(batch.next, self._expected.get(batch.partition, 0))
            self._offsets[batch.partition] = self._expected[batch.partition]
            self._acknowledgements.append(acknowledge)
            is_full = self._count >= MOST_UNSAVED
        if is_full:
            await self.flush()

    async def flush(self) -> None:
        """Keep what was read, and publish what is due.

        Raises: TemporaryFailure; to be called again.
        """
        async with self._busy:
            known = await self._store.versions() if self._unsaved else {}
            for version, unsaved in list(self._unsaved.items()):
                if version in known or len(known) < self._settings.most_versions:
                    known = {**known, version: unsaved.named}
                    await self._keep(version, unsaved)
                else:
                    self.fates[ExplanationFate.BEYOND_LIMIT] += sum(map(len, unsaved.cells.values()))
                del self._unsaved[version]
            self._count = 0
            offsets, self._offsets = self._offsets, {}
            await self._store.save_offsets(offsets)
            for acknowledge in self._acknowledgements:
                acknowledge()
            self._acknowledgements.clear()
            await self._publishing.publish()

    def _note(self, value: bytes | None) -> None:
        try:
            explanation = _decode(value or b"")
            time_ms = 0 if explanation.event_time is None else parse_time_ms(explanation.event_time)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Rejected):
            self.fates[ExplanationFate.UNREADABLE] += 1
            return
        model = self._settings.model(explanation.model)
        found = row_of(explanation, model.explanation)
        if isinstance(found, ExplanationFate):
            self.fates[found] += 1
            return
        named = (explanation.model, explanation.model_version)
        unsaved = self._unsaved.setdefault(model_version_hash(*named), _Unsaved(named))
        unsaved.newest_ms = max(unsaved.newest_ms, time_ms)
        start_ms = window_start_ms(time_ms, size_ms=model.base_window_ms)
        unsaved.cells.setdefault(start_ms, []).append(found)
        self._count += 1

    async def _keep(self, version: bytes, unsaved: _Unsaved) -> None:
        model, now_ms = self._settings.model(unsaved.named[0]), self._clock.now_ms()
        await self._store.hear(version, unsaved.named, newest_ms=unsaved.newest_ms, now_ms=now_ms)
        finished_ms = await self._store.finished_ms(version)
        eras = self._settings.agreed().eras(model)
        for start_ms, entries in list(unsaved.cells.items()):
            if start_ms < finished_ms:
                self.fates[ExplanationFate.LATE] += len(entries)
            else:
                open_ms = closed_ms(start_ms, model=model, eras=eras) - start_ms
                await self._put(version, start_ms, entries, keep_ms=open_ms + self._settings.lateness_ms + MARGIN_MS)
            del unsaved.cells[start_ms]

    async def _put(self, version: bytes, start_ms: int, entries: list[tuple[Sample, Row]], *, keep_ms: int) -> None:
        """Put explanations into a cell, until nobody else was faster."""
        while True:
            ((revision, cell),) = await self._store.load(version, [start_ms])
            fates = collections.Counter(cell.take(sample, row) for sample, row in entries)
            is_news = fates[ExplanationFate.COUNTED] or fates[ExplanationFate.CROWDED]
            if not is_news or await self._store.save(version, start_ms, cell, revision=revision, keep_ms=keep_ms):
                self.fates.update(fates)
                return
