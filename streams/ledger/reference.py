"""The ledger in memory: the oracle that the Redis ledger must agree with, and a complete ledger by itself."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from streams.errors import PermanentFailure
from streams.ledger.founding import Charter
from streams.ledger.join import MAX_LABELS
from streams.ledger.parts import (
    CommitReply,
    Definitions,
    Gap,
    NameList,
    Part,
    ShardState,
    Source,
    SourceState,
)
from streams.ledger.reference_shard import ReferenceShard, Window
from streams.ports import Cell, ChangedWindow, WindowCells

__all__ = ["ReferenceLedger"]


class ReferenceLedger:
    """All shards, behind the ledger port."""

    def __init__(self, *, shards: int, label_hold_ms: int, keep_windows_ms: int, max_labels: int = MAX_LABELS) -> None:
        self._settings = (label_hold_ms, keep_windows_ms, max_labels)
        self.parts = [ReferenceShard(*self._settings) for _ in range(shards)]
        self._charter: Charter | None = None
        self._registry: dict[bytes, NameList] = {}
        self._ledger_id: str | None = None

    @property
    def shards(self) -> int:
        return len(self.parts)

    async def charter(self) -> Charter | None:
        return self._charter

    async def found(self, charter: Charter) -> Charter:
        self._charter = self._charter or charter
        return self._charter

    async def finish_founding(self) -> None:
        if self._charter is not None:
            self._charter = dataclasses.replace(self._charter, is_creating=False)

    async def amend_charter(self, before: Charter, after: Charter) -> bool:
        if self._charter is None or self._charter != before:
            return False
        self._charter = after
        return True

    async def hold_edition(self, shard: int, edition: int) -> int:
        here = self.parts[shard]
        here.edition = max(here.edition, edition)
        return here.edition

    async def state(self, shard: int) -> ShardState | None:
        here = self.parts[shard]
        if here.ledger_id is None:
            return None
        self._ledger_id = self._ledger_id or here.ledger_id
        return ShardState(here.ledger_id, dict(here.sources), here.edition)

    async def create(self, shard: int, *, ledger_id: str, sources: Mapping[Source, int]) -> None:
        here = self.parts[shard]
        if here.ledger_id is None:
            here.ledger_id = ledger_id
            here.sources = {source: SourceState(offset) for source, offset in sources.items()}
        self._ledger_id = self._ledger_id or here.ledger_id

    async def drop(self, shard: int, *, shards: int) -> None:
        if shards == self.shards:
            self.parts[shard] = ReferenceShard(*self._settings)

    async def drop_charter(self) -> None:
        self._charter = None
        self._registry.clear()

    async def commit(
        self, shard: int, parts: Sequence[Part], definitions: Definitions, *, forget_limit: int
    ) -> CommitReply:
        here = self.parts[shard]
        if here.ledger_id is None or here.ledger_id != self._ledger_id:
            raise PermanentFailure(f"shard {shard} no longer belongs to ledger {self._ledger_id}")
        return here.commit(parts, definitions, forget_limit=forget_limit)

    async def forget(self, shard: int, *, limit: int) -> int:
        return self.parts[shard].forget(limit=limit, in_part=True)

    async def admit(self, group: bytes, names: Sequence[bytes], *, limit: int, known: NameList) -> NameList:
        admitted = self._registry.get(group, NameList()).merged(known)
        for name in names:
            if name not in admitted.admitted and not admitted.full:
                admitted = admitted.merged(NameList((name,)))
                admitted = NameList(admitted.admitted, len(admitted.admitted) >= limit)
        self._registry[group] = admitted
        return admitted

    async def registry(self) -> Mapping[bytes, NameList]:
        return dict(self._registry)

    async def name_lists(self, shard: int) -> Mapping[bytes, NameList]:
        return dict(self.parts[shard].name_lists)

    async def changed_windows(self, shard: int) -> Sequence[ChangedWindow]:
        changes = self.parts[shard].changes.items()
        changed = [ChangedWindow(version, start_ms, mark) for (version, start_ms), mark in changes]
        return sorted(changed, key=lambda window: (window.start_ms, window.model_version))

    async def clear_changed(self, shard: int, windows: Sequence[ChangedWindow]) -> None:
        changes = self.parts[shard].changes
        for window in windows:
            key = (window.model_version, window.start_ms)
            if changes.get(key) == window.mark:
                del changes[key]

    async def note_reported(self, shard: int, watermarks: Mapping[bytes, int]) -> None:
        self.parts[shard].reported_ms.update(watermarks)

    async def cells(self, shard: int, windows: Sequence[Window]) -> Sequence[WindowCells]:
        return [dict(self.parts[shard].cells.get(window, {})) for window in windows]

    async def sums(self, groups: Sequence[Sequence[Window]]) -> Sequence[WindowCells]:
        found: list[WindowCells] = []
        for group in groups:
            total: collections.Counter[Cell] = collections.Counter()
            for part in self.parts:
                for window in group:
                    total.update(part.cells.get(window, {}))
            found.append({cell: count for cell, count in total.items() if count})
        return found

    async def windows(self, shard: int) -> Sequence[Window]:
        return sorted(self.parts[shard].cells, key=lambda window: (window[1], window[0]))

    async def names(self, shard: int) -> Mapping[bytes, str]:
        return dict(self.parts[shard].names)

    async def gaps(self, shard: int) -> Sequence[Gap]:
        return list(self.parts[shard].gaps)

    async def fates(self, shard: int) -> Mapping[str, int]:
        return dict(self.parts[shard].fates)
