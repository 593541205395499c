"""Cells of explanations in memory, and workers that share them: the fake of `agents.redis_attributions`."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agents.attribution_intake import AttributionIntake, CellStore, IntakeSettings
from agents.attribution_publishing import (
    AttributionPorts,
    AttributionPublishing,
    CellSource,
    PublishingSettings,
)
from agents.record_batch import Envelope, RecordBatch
from schemas.codec import encode
from schemas.explanation import Explanation
from streams.explanation.attribution_reports import AttributionTerms
from streams.explanation.attribution_sample import Cell
from streams.explanation.terms import ExplainTerms
from streams.ledger.agreements import Agreements
from streams.monitored_model import DAY_MS, MINUTE_MS, MonitoredModel
from streams.ports import ReportStore
from tests.support.explanations import NOON_MS
from tests.support.publishing import FakeClock, FakePublisher

__all__ = ["AttributionWorld", "CellsInMemory", "MemoryCells", "newest_attributions"]

StoredCell = tuple[int, Cell]


class CellsInMemory(CellStore, CellSource):
    """Both halves of the store, as `RedisAttributions` has them."""


@dataclasses.dataclass
class MemoryCells(CellsInMemory):
    """Keeps what it is given, packed, and lets others in between a load and a save."""

    named: dict[bytes, tuple[str, str]] = dataclasses.field(default_factory=dict)
    times: dict[bytes, tuple[int, int]] = dataclasses.field(default_factory=dict)
    done: dict[bytes, int] = dataclasses.field(default_factory=dict)
    stored: dict[bytes, dict[int, tuple[int, bytes]]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(dict)
    )
    reached: dict[int, int] = dataclasses.field(default_factory=dict)

    async def versions(self) -> Mapping[bytes, tuple[str, str]]:
        return dict(self.named)

    async def hear(self, version: bytes, named: tuple[str, str], *, newest_ms: int, now_ms: int) -> None:
        self.named[version] = named
        newest, heard = self.times.get(version, (0, 0))
        self.times[version] = (max(newest, newest_ms), max(heard, now_ms))

    async def progress(self, versions: Collection[bytes]) -> Mapping[bytes, tuple[int, int]]:
        return {version: self.times[version] for version in versions if version in self.times}

    async def finished_ms(self, version: bytes) -> int:
        return self.done.get(version, 0)

    async def load(self, version: bytes, starts_ms: Collection[int]) -> list[StoredCell]:
        cells = self.stored[version]
        found = [
            (cells[start][0], Cell.unpacked(cells[start][1])) if start in cells else (0, Cell()) for start in starts_ms
        ]
        await asyncio.sleep(0)
        return found

    async def save(self, version: bytes, start_ms: int, cell: Cell, *, revision: int, keep_ms: int) -> bool:
        stored, _ = self.stored[version].get(start_ms, (0, b""))
        if stored == revision:
            self.stored[version][start_ms] = (revision + 1, cell.packed())
        return stored == revision

    async def cells(self, versions: Collection[bytes]) -> Mapping[bytes, Mapping[int, int]]:
        return {
            version: {start: revision for start, (revision, _) in self.stored[version].items()} for version in versions
        }

    async def finish(self, version: bytes, starts_ms: Collection[int], *, until_ms: int) -> None:
        self.done[version] = max(until_ms, self.done.get(version, 0))
        for start in starts_ms:
            self.stored[version].pop(start, None)

    async def drop_version(self, version: bytes) -> None:
        for forgotten in (self.named, self.times, self.done):
            forgotten.pop(version, None)

    async def offsets(self) -> Mapping[int, int]:
        return dict(self.reached)

    async def save_offsets(self, offsets: Mapping[int, int]) -> None:
        self.reached |= offsets


class AttributionWorld:
    """Workers that share their cells and reports; model fraud is explained."""

    def __init__(self, store: CellsInMemory, reports: ReportStore) -> None:
        self.store = store
        self.reports = reports
        self.clock = FakeClock(NOON_MS + 20 * MINUTE_MS)
        self.publisher = FakePublisher()
        self.offsets: collections.Counter[int] = collections.Counter()
        self.partitions = 4
        self.agreed = Agreements()

    async def intake(self, *owned: int, most_versions: int = 10) -> AttributionIntake:
        """A worker that owns these partitions, or all."""

        def model(name: str) -> MonitoredModel:
            terms = ExplainTerms(predictor="served:fraud") if name == "fraud" else None
            return MonitoredModel(name=name, explanation=terms)

        async def partitions() -> int:
            return self.partitions

        publishing = AttributionPublishing(
            AttributionPorts(
                store=self.store,
                reports=self.reports,
                publisher=self.publisher,
                clock=self.clock,
                partitions=partitions,
            ),
            PublishingSettings(
                model=model,
                agreed=lambda: self.agreed,
                interval_ms=0,
                lateness_ms=10 * MINUTE_MS,
                keep_windows_ms=30 * DAY_MS,
                reports=AttributionTerms(
                    topic="model-metrics", source="/latelabel/test", config_hash="", confidence_level=0.95
                ),
            ),
        )
        settings = IntakeSettings(
            model=model, agreed=lambda: self.agreed, most_versions=most_versions, lateness_ms=10 * MINUTE_MS
        )
        intake = AttributionIntake(self.store, publishing, self.clock, settings)
        await intake.assign(frozenset(owned or range(self.partitions)))
        return intake

    async def read(
        self, intake: AttributionIntake, found: Sequence[Explanation | bytes | None], *, partition: int = 0
    ) -> list[int]:
        """Hand records over as one batch. Returns a list that is no longer empty once they are acknowledged."""
        acknowledged: list[int] = []
        base = self.offsets[partition]
        self.offsets[partition] += len(found)
        batch = RecordBatch(
            topic="explanations",
            partition=partition,
            base=base,
            next=self.offsets[partition],
            values=[encode(each) if isinstance(each, Explanation) else each for each in found],
            timestamps_ms=[self.clock.wall_ms] * len(found),
            offsets=None,
            envelope=lambda _: Envelope(None, ()),
        )
        await intake.take_in(batch, lambda: acknowledged.append(base))
        return acknowledged

    def newest(self) -> dict[bytes | None, dict[str, Any]]:
        """The report with the highest revision under each key."""
        return newest_attributions((message.key, message.value) for message in self.publisher.sent)


def newest_attributions(records: Any) -> dict[bytes | None, dict[str, Any]]:
    """The report on attribution with the highest revision under each key."""
    reports: dict[bytes | None, dict[str, Any]] = {}
    for key, value in records:
        report = json.loads(value or b"{}")
        if report.get("kind") == "attribution" and report["revision"] > reports.get(key, {"revision": -1})["revision"]:
            reports[key] = report
    return reports
