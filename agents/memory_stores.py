"""The report store and the alert store in memory: what a backtest needs of them, and what tests compare Redis with.

Nothing outlives the process; both obey the same tests as the stores in Redis.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import heapq
import json
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from schemas.times import parse_time_ms
from streams.alerting.record import AlertRecord
from streams.ports import NEVER_DUE_MS, Claim, LastReport, Shape, StoredAlerts, WindowQuery

__all__ = ["MemoryAlerts", "MemoryReports"]

_Index: TypeAlias = "dict[tuple[Shape, bool], list[tuple[int, bytes]]]"
"""Window start and key, ascending, by shape and whether they are about segments."""


def _indexes() -> dict[bytes, _Index]:
    return collections.defaultdict(dict)


def _heaps() -> dict[bytes, list[tuple[int, bytes]]]:
    return collections.defaultdict(list)


@dataclasses.dataclass
class MemoryReports:
    """The port `ReportStore` in memory."""

    names: dict[bytes, str] = dataclasses.field(default_factory=dict)
    evaluators: dict[bytes, bytes] = dataclasses.field(default_factory=dict)
    watermarks_ms: dict[bytes, int] = dataclasses.field(default_factory=dict)
    saves_of: dict[bytes, int] = dataclasses.field(default_factory=dict)
    reports: dict[bytes, dict[bytes, LastReport]] = dataclasses.field(default_factory=dict)
    news: dict[bytes, dict[bytes, int]] = dataclasses.field(default_factory=dict)
    references: dict[tuple[bytes, str], bytes] = dataclasses.field(default_factory=dict)
    saves: int = 0
    _index: dict[bytes, _Index] = dataclasses.field(default_factory=_indexes)
    _due: dict[bytes, list[tuple[int, bytes]]] = dataclasses.field(default_factory=_heaps)
    """When each report is due, and when it once was: an entry counts while its report says the same."""

    @property
    def next_due_ms(self) -> int | None:
        """The lowest watermark at which some report has to be looked at again."""
        tops = [due[0][0] for model_version in self._due for due in [self._settled(model_version)] if due]
        return min(tops, default=None)

    async def model_versions(self) -> Mapping[bytes, str]:
        return dict(self.names)

    async def keys(self, model_version: bytes) -> Sequence[bytes]:
        return list(self.reports.get(model_version, {}))

    async def shapes(self, model_versions: Sequence[bytes]) -> Sequence[Collection[Shape]]:
        return [{shape for shape, _ in self._index[model_version]} for model_version in model_versions]

    async def find(self, queries: Sequence[WindowQuery]) -> Sequence[Sequence[bytes]]:
        return [self._find(query) for query in queries]

    def _find(self, query: WindowQuery) -> Sequence[bytes]:
        entries = self._index[query.model_version].get((query.shape, query.of_segments), [])
        since = 0 if query.since_ms is None else bisect.bisect_left(entries, (query.since_ms, b""))
        until = len(entries) if query.until_ms is None else bisect.bisect_left(entries, (query.until_ms, b""))
        return [key for _, key in entries[max(since, until - query.most) : until]][::-1]

    async def changes(self) -> int:
        return self.saves

    async def claim(self, model_versions: Sequence[bytes], *, evaluator: bytes, watermark_ms: int) -> Sequence[Claim]:
        return [self._claim(model_version, evaluator, watermark_ms) for model_version in model_versions]

    def _claim(self, model_version: bytes, evaluator: bytes, watermark_ms: int) -> Claim:
        undisturbed = self.evaluators.get(model_version) == evaluator
        self.evaluators[model_version] = evaluator
        due: dict[bytes, int] = {}
        heap = self._settled(model_version)
        while heap and heap[0][0] <= watermark_ms:
            due_ms, key = heapq.heappop(heap)
            due[key] = due_ms
            self._settled(model_version)
        for key, due_ms in due.items():  # until it is saved again
            heapq.heappush(heap, (due_ms, key))
        return Claim(
            undisturbed=undisturbed,
            watermark_ms=self.watermarks_ms.get(model_version, 0),
            due=tuple(due),
            saves=self.saves_of.get(model_version, 0),
        )

    def _settled(self, model_version: bytes) -> list[tuple[int, bytes]]:
        """The heap with an entry at its top that counts."""
        heap, reports = self._due[model_version], self.reports.get(model_version, {})
        while heap and (heap[0][1] not in reports or reports[heap[0][1]].due_ms != heap[0][0]):
            heapq.heappop(heap)
        return heap

    async def count_due(self, model_versions: Sequence[bytes], *, watermark_ms: int) -> int:
        return sum(
            report.due_ms <= watermark_ms
            for model_version in model_versions
            for report in self.reports.get(model_version, {}).values()
        )

    async def last(self, wanted: Mapping[bytes, Sequence[bytes]]) -> Mapping[bytes, LastReport]:
        return {
            key: self.reports[model_version][key]
            for model_version, keys in wanted.items()
            for key in keys
            if key in self.reports.get(model_version, {})
        }

    async def save(
        self, model_version: bytes, name: str, reports: Sequence[LastReport], *, evaluator: bytes, watermark_ms: int
    ) -> int:
        if reports:
            self.names[model_version] = name
            self.saves += 1
        mine = self.evaluators.get(model_version) == evaluator
        kept, new = mine, mine and model_version not in self.saves_of
        stored = self.reports.setdefault(model_version, {})
        for report in reports:
            before = stored.get(report.key)
            newer = before is None or report.revision > before.revision
            if mine and (newer or before == dataclasses.replace(report, due_ms=before.due_ms if before else 0)):
                self._put(model_version, report)
                if newer:
                    self.news.setdefault(model_version, {})[report.key] = report.revision
                    new = True
            else:
                higher = report if newer or before is None else before
                self._put(model_version, dataclasses.replace(higher, due_ms=0, contested=True))
                kept = False
        if mine:
            self.watermarks_ms[model_version] = max(self.watermarks_ms.get(model_version, 0), watermark_ms)
        if new:
            self.saves_of[model_version] = self.saves_of.get(model_version, 0) + 1
        return self.saves_of[model_version] if kept else 0

    async def keep(self, model_version: bytes, name: str | None, reports: Sequence[LastReport]) -> None:
        if name is not None:
            self.names[model_version] = name
            self.saves += 1
        stored = self.reports.setdefault(model_version, {})
        for report in reports:
            if report.key not in stored or report.revision > stored[report.key].revision:
                self._put(model_version, dataclasses.replace(report, due_ms=NEVER_DUE_MS))
                self.news.setdefault(model_version, {})[report.key] = report.revision

    def _put(self, model_version: bytes, report: LastReport) -> None:
        stored = self.reports[model_version]
        if report.key not in stored:
            place, entry = _place(report.key)
            bisect.insort(self._index[model_version].setdefault(place, []), entry)
        stored[report.key] = report
        heapq.heappush(self._due[model_version], (report.due_ms, report.key))

    async def forget(self, model_version: bytes, keys: Sequence[bytes]) -> None:
        self.saves += 1
        for key in keys:
            if self.reports.get(model_version, {}).pop(key, None) is not None:
                place, entry = _place(key)
                entries = self._index[model_version][place]
                del entries[bisect.bisect_left(entries, entry)]
            self.news.get(model_version, {}).pop(key, None)

    async def reference(self, model_version: bytes, name: str) -> bytes | None:
        return self.references.get((model_version, name))

    async def keep_reference(self, model_version: bytes, name: str, content: bytes) -> bytes:
        return self.references.setdefault((model_version, name), content)


def _place(key: bytes) -> tuple[tuple[Shape, bool], tuple[int, bytes]]:
    """Where a key stands in the index."""
    kind, _, _, segment, size_seconds, start = json.loads(key)
    return (Shape(kind, size_seconds), bool(segment)), (parse_time_ms(start), key)


@dataclasses.dataclass
class MemoryAlerts:
    """The port `AlertStore` in memory, with the news of `reports`."""

    reports: MemoryReports
    versions: dict[bytes, int] = dataclasses.field(default_factory=dict)
    alerts: dict[bytes, dict[str, AlertRecord]] = dataclasses.field(default_factory=dict)

    async def load(self, model_versions: Sequence[bytes]) -> Sequence[StoredAlerts]:
        looked = await self.look(model_versions)
        return [
            dataclasses.replace(at, alerts=dict(self.alerts.get(model_version, {})))
            for at, model_version in zip(looked, model_versions, strict=True)
        ]

    async def look(self, model_versions: Sequence[bytes]) -> Sequence[StoredAlerts]:
        return [
            StoredAlerts(version=self.versions.get(each, 0), news=dict(self.reports.news.get(each, {})))
            for each in model_versions
        ]

    async def save(
        self,
        model_version: bytes,
        changes: Mapping[str, AlertRecord | None],
        *,
        expected: int,
        judged: Mapping[bytes, int],
    ) -> bool:
        if self.versions.get(model_version, 0) != expected:
            return False
        self.versions[model_version] = expected + 1
        alerts = self.alerts.setdefault(model_version, {})
        for name, record in changes.items():
            alerts.pop(name, None)
            if record is not None:
                alerts[name] = record
        news = self.reports.news.get(model_version, {})
        for key, revision in judged.items():
            if news.get(key, revision + 1) <= revision:
                del news[key]
        return True

    async def every_alert(self) -> Sequence[AlertRecord]:
        return [record for alerts in self.alerts.values() for record in alerts.values()]
