"""Fakes of the publisher, the report store and the clock: they keep what they are given, and can fail on demand."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence

from agents.memory_stores import MemoryAlerts, MemoryReports
from streams.alerting.record import AlertRecord
from streams.errors import LatelabelError
from streams.ports import LastReport, OutgoingMessage

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
class FakeReports(MemoryReports):
    """The report store in memory; `failure` is raised by the next `save` instead of saving."""

    failure: LatelabelError | None = None

    async def save(
        self, model_version: bytes, name: str, reports: Sequence[LastReport], *, evaluator: bytes, watermark_ms: int
    ) -> int:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return await super().save(model_version, name, reports, evaluator=evaluator, watermark_ms=watermark_ms)


@dataclasses.dataclass
class FakeAlerts(MemoryAlerts):
    """The alert store in memory; `failure` is raised by the next `save`, after saving if `saves_before_failing`."""

    reports: MemoryReports = dataclasses.field(default_factory=FakeReports)
    failure: LatelabelError | None = None
    saves_before_failing: bool = False

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
        kept = await super().save(model_version, changes, expected=expected, judged=judged)
        if failure is not None:
            raise failure
        return kept
