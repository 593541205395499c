"""Fakes of the publisher, the report store and the clock: they keep what they are given, and can fail on demand."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence

from schemas.times import parse_time_ms
from streams.alerting.record import AlertRecord
from streams.errors import LatelabelError
from streams.ports import Claim, LastReport, OutgoingMessage, Shape, StoredAlerts, WindowQuery

__all__ = ["FakeAlerts", "FakeClock", "FakePublisher", "FakeReports"]


@dataclasses.dataclass
class FakeClock:
    """A clock that stands still until it is moved."""

    wall_ms: int

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_seconds(self) -> float:
        return self.wall_ms / 1000


@dataclasses.dataclass
class FakePublisher:
    """Keeps what is sent; `failure` is raised instead, once, after the messages have been written."""

    sent: list[OutgoingMessage] = dataclasses.field(default_factory=list)
    failure: LatelabelError | None = None

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        await asyncio.sleep(0)
        self.sent += messages
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure


@dataclasses.dataclass
class FakeReports:
    """The report store in memory; `failure` is raised by the next `save` instead of saving."""

    names: dict[bytes, str] = dataclasses.field(default_factory=dict)
    evaluators: dict[bytes, bytes] = dataclasses.field(default_factory=dict)
    watermarks_ms: dict[bytes, int] = dataclasses.field(default_factory=dict)
    reports: dict[bytes, dict[bytes, LastReport]] = dataclasses.field(default_factory=dict)
    news: dict[bytes, dict[bytes, int]] = dataclasses.field(default_factory=dict)
    saves: int = 0
    failure: LatelabelError | None = None

    async def model_versions(self) -> Mapping[bytes, str]:
        return dict(self.names)

    async def keys(self, model_version: bytes) -> Sequence[bytes]:
        return list(self.reports.get(model_version, {}))

    async def shapes(self, model_versions: Sequence[bytes]) -> Sequence[Collection[Shape]]:
        return [
            {Shape(json.loads(key)[0], json.loads(key)[4]) for key in self.reports.get(model_version, {})}
            for model_version in model_versions
        ]

    async def find(self, queries: Sequence[WindowQuery]) -> Sequence[Sequence[bytes]]:
        return [self._find(query) for query in queries]

    def _find(self, query: WindowQuery) -> Sequence[bytes]:
        found = []
        for key in self.reports.get(query.model_version, {}):
            kind, _, _, segment, size_seconds, start = json.loads(key)
            start_ms = parse_time_ms(start)
            if (
                Shape(kind, size_seconds) == query.shape
                and bool(segment) == query.of_segments
                and (query.since_ms is None or start_ms >= query.since_ms)
                and (query.until_ms is None or start_ms < query.until_ms)
            ):
                found.append((start_ms, key))
        return [key for _, key in sorted(found, reverse=True)][: query.most]

    async def changes(self) -> int:
        return self.saves

    async def claim(self, model_versions: Sequence[bytes], *, evaluator: bytes, watermark_ms: int) -> Sequence[Claim]:
        return [self._claim(model_version, evaluator, watermark_ms) for model_version in model_versions]

    def _claim(self, model_version: bytes, evaluator: bytes, watermark_ms: int) -> Claim:
        undisturbed = self.evaluators.get(model_version) == evaluator
        self.evaluators[model_version] = evaluator
        reports = sorted(self.reports.get(model_version, {}).values(), key=lambda report: (report.due_ms, report.key))
        due = tuple(report.key for report in reports if report.due_ms <= watermark_ms)
        return Claim(undisturbed=undisturbed, watermark_ms=self.watermarks_ms.get(model_version, 0), due=due)

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
    ) -> bool:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        if reports:
            self.names[model_version] = name
            self.saves += 1
        mine = self.evaluators.get(model_version) == evaluator
        kept = mine
        stored = self.reports.setdefault(model_version, {})
        for report in reports:
            before = stored.get(report.key)
            newer = before is None or report.revision > before.revision
            if mine and (newer or before == dataclasses.replace(report, due_ms=before.due_ms if before else 0)):
                stored[report.key] = report
                if newer:
                    self.news.setdefault(model_version, {})[report.key] = report.revision
            else:
                higher = report if newer or before is None else before
                stored[report.key] = dataclasses.replace(higher, due_ms=0, contested=True)
                kept = False
        if mine:
            self.watermarks_ms[model_version] = max(self.watermarks_ms.get(model_version, 0), watermark_ms)
        return kept

    async def forget(self, model_version: bytes, keys: Sequence[bytes]) -> None:
        self.saves += 1
        for key in keys:
            self.reports.get(model_version, {}).pop(key, None)
            self.news.get(model_version, {}).pop(key, None)


@dataclasses.dataclass
class FakeAlerts:
    """The alert store in memory, with the news of `reports`; `failure` is raised by the next `save`, after saving if
    `saves_before_failing`."""

    reports: FakeReports = dataclasses.field(default_factory=FakeReports)
    versions: dict[bytes, int] = dataclasses.field(default_factory=dict)
    alerts: dict[bytes, dict[str, AlertRecord]] = dataclasses.field(default_factory=dict)
    failure: LatelabelError | None = None
    saves_before_failing: bool = False

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
        failure, self.failure = self.failure, None
        if failure is not None and not self.saves_before_failing:
            raise failure
        kept = self.versions.get(model_version, 0) == expected
        if kept:
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
        if failure is not None:
            raise failure
        return kept

    async def every_alert(self) -> Sequence[AlertRecord]:
        return [record for alerts in self.alerts.values() for record in alerts.values()]
