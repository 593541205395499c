"""Fakes of the publisher, the report store and the clock: they keep what they are given, and can fail on demand."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence

from streams.errors import LatelabelError
from streams.ports import Claim, LastReport, OutgoingMessage

__all__ = ["FakeClock", "FakePublisher", "FakeReports"]


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
    failure: LatelabelError | None = None

    async def model_versions(self) -> Mapping[bytes, str]:
        return dict(self.names)

    async def keys(self, model_version: bytes) -> Sequence[bytes]:
        return list(self.reports.get(model_version, {}))

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
        mine = self.evaluators.get(model_version) == evaluator
        kept = mine
        stored = self.reports.setdefault(model_version, {})
        for report in reports:
            before = stored.get(report.key)
            newer = before is None or report.revision > before.revision
            if mine and (newer or before == dataclasses.replace(report, due_ms=before.due_ms if before else 0)):
                stored[report.key] = report
            else:
                higher = report if newer or before is None else before
                stored[report.key] = dataclasses.replace(higher, due_ms=0, contested=True)
                kept = False
        if mine:
            self.watermarks_ms[model_version] = max(self.watermarks_ms.get(model_version, 0), watermark_ms)
        return kept

    async def forget(self, model_version: bytes, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.reports.get(model_version, {}).pop(key, None)
