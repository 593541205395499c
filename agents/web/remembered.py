"""Kept reports as the page reads them: what was read holds until the store changes, whoever asks and whatever else.

    changes() ──> another number, or some seconds later ──> all is forgotten

A report's bytes are most of what an answer has to fetch, and questions about one day have most of them in common.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from streams.ports import Clock, LastReport, Shape, WindowQuery

__all__ = ["RememberedReports", "ReportReading"]

HOLDS_SECONDS = 5.0
"""A worker may end between a change and its number."""
MOST_BYTES = 16 << 20
"""Of reports and keys; beyond it they are read again."""
KEY_BYTES = 200
"""What a key takes beside its own bytes."""


_NOTHING: Mapping[Any, Any] = {}


class ReportReading(Protocol):
    """What page and API ask of a `streams.ports.ReportStore`; see there."""

    async def changes(self) -> int: ...
    async def model_versions(self) -> Mapping[bytes, str]: ...
    async def shapes(self, model_versions: Sequence[bytes]) -> Sequence[Collection[Shape]]: ...
    async def find(self, queries: Sequence[WindowQuery]) -> Sequence[Sequence[bytes]]: ...
    async def last(self, wanted: Mapping[bytes, Sequence[bytes]]) -> Mapping[bytes, LastReport]: ...


class _Memory:
    """What was read between two changes; None is a report that is not there."""

    def __init__(self, number: int, until_seconds: float) -> None:
        self.number = number
        self.until_seconds = until_seconds
        self.versions: Mapping[bytes, str] | None = None
        self.shapes: dict[bytes, Collection[Shape]] = {}
        self.found: dict[WindowQuery, Sequence[bytes]] = {}
        self.last: dict[bytes, LastReport | None] = {}
        self._bytes = 0

    def keep(
        self,
        *,
        found: Mapping[WindowQuery, Sequence[bytes]] = _NOTHING,
        last: Mapping[bytes, LastReport | None] = _NOTHING,
    ) -> None:
        """Remember these too; nothing any more if there is no room."""
        self._bytes += sum(KEY_BYTES + len(key) for keys in found.values() for key in keys) + KEY_BYTES * len(found)
        self._bytes += sum(KEY_BYTES + len(key) + (len(report.value) if report else 0) for key, report in last.items())
        if self._bytes > MOST_BYTES:
            self.found, self.last, self._bytes = {}, {}, 0
        else:
            self.found.update(found)
            self.last.update(last)


class RememberedReports:
    """Reads each thing once between two changes.

    Args:
        store: of the reports.
        clock: how old what is remembered is.
    """

    def __init__(self, store: ReportReading, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._memory = _Memory(-1, float("-inf"))

    async def changes(self) -> int:
        """The store's number; what was read before another one, or long ago, is forgotten."""
        number = await self._store.changes()
        now = self._clock.monotonic_seconds()
        if number != self._memory.number or now >= self._memory.until_seconds:
            self._memory = _Memory(number, now + HOLDS_SECONDS)
        return number

    async def model_versions(self) -> Mapping[bytes, str]:
        memory = self._memory
        if memory.versions is None:
            memory.versions = await self._store.model_versions()
        return memory.versions

    async def shapes(self, model_versions: Sequence[bytes]) -> Sequence[Collection[Shape]]:
        # Kept by where it was when this began: what is read across a change is of the older memory.
        memory = self._memory
        unknown = [each for each in model_versions if each not in memory.shapes]
        memory.shapes.update(zip(unknown, await self._store.shapes(unknown), strict=True))
        return [memory.shapes[each] for each in model_versions]

    async def find(self, queries: Sequence[WindowQuery]) -> Sequence[Sequence[bytes]]:
        memory = self._memory
        unknown = [each for each in queries if each not in memory.found]
        found = dict(zip(unknown, await self._store.find(unknown), strict=True))
        answer = [found[each] if each in found else memory.found[each] for each in queries]
        memory.keep(found=found)
        return answer

    async def last(self, wanted: Mapping[bytes, Sequence[bytes]]) -> Mapping[bytes, LastReport]:
        memory = self._memory
        unknown = {version: [key for key in keys if key not in memory.last] for version, keys in wanted.items()}
        read = await self._store.last(unknown) if any(unknown.values()) else {}
        last = {key: read.get(key) for keys in unknown.values() for key in keys}
        every = ((key, last[key] if key in last else memory.last[key]) for keys in wanted.values() for key in keys)
        answer = {key: report for key, report in every if report is not None}
        memory.keep(last=last)
        return answer
