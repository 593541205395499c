"""Which model versions, segment values, classes and signals get cells of their own: asked once, then remembered.

The ledger decides, first come up to a limit, for all shards and workers. A decision is never taken back, so
what this worker has heard is right for ever, also after the ledger lost it: it is then told again. So is what any
shard was told, because its counts rest on it:

    rows and the lists they were made with ──> shards          written together, by every worker
    what the shards have and the registry lacks ──> registry   before the first question after a start or a loss
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterable

from agents.outages import Outages
from streams.errors import TemporaryFailure
from streams.identity import class_hash, registry_group
from streams.ledger.parts import NameList
from streams.monitored_model import MonitoredModel
from streams.ports import Ledger

__all__ = ["MODEL_VERSIONS", "NameLimits", "NameRegistry", "segment_values_group", "signals_group"]

_log = logging.getLogger(__name__)

MODEL_VERSIONS = registry_group("model_versions")


def segment_values_group(model: str, segment: str) -> bytes:
    """The group of one declared segment's values."""
    return registry_group("segment_values", model, segment)


def signals_group(model: str) -> bytes:
    """The group of the signals that a model reports."""
    return registry_group("signals", model)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NameLimits:
    """How many names of a kind get cells: model versions in all, classes per model, values per segment, signals per
    model."""

    models: int = 1000
    classes: int = 200
    segment_values: int = 200
    signals: int = 20


class NameRegistry:
    """Decisions heard so far, and the way to hear more."""

    def __init__(self, ledger: Ledger, outages: Outages, *, limits: NameLimits) -> None:
        self.limits = limits
        self._ledger = ledger
        self._outages = outages
        self._lists: dict[bytes, NameList] = {}
        self._admitted: dict[bytes, set[bytes]] = {}
        self._declared: dict[bytes, tuple[bytes, ...]] = {}
        self._is_doubtful = True
        self._restoring = asyncio.Lock()

    def doubt(self) -> None:
        """Compare with what the shards use before the next question: the ledger may have lost its tail."""
        self._is_doubtful = True

    def declare_classes(self, group: bytes, model: MonitoredModel) -> None:
        """Have the classes that the configuration names admitted before any other."""
        self._declared[group] = tuple(class_hash(name) for name in model.class_names)

    def has_cells(self, group: bytes, name: bytes) -> bool:
        """What was decided about a name; it must have been passed to `decide` before."""
        return name in self._admitted.get(group, ())

    def list_of(self, group: bytes) -> NameList:
        """All that was heard of a group."""
        return self._lists.get(group, NameList())

    async def decide(self, group: bytes, names: Iterable[bytes], *, limit: int) -> NameList:
        """Have it decided which of the names get cells; asks the ledger only about new ones."""
        known = self._lists.get(group, NameList())
        if known.full:
            return known
        new = [name for name in names if not self.has_cells(group, name)]
        return await self._ask(group, new, limit=limit) if new else known

    async def decide_classes(self, group: bytes, names: Iterable[bytes]) -> NameList:
        """The whole list of a model's classes once it says something about each of `names`."""
        wanted = list(dict.fromkeys((*self._declared.get(group, ()), *names)))
        known = self._lists.get(group, NameList())
        if known.full or all(self.has_cells(group, name) for name in wanted):
            return known
        return await self._ask(group, wanted, limit=self.limits.classes)

    async def _ask(self, group: bytes, names: list[bytes], *, limit: int) -> NameList:
        async def ask() -> NameList:
            try:
                async with self._restoring:
                    if self._is_doubtful:
                        self._is_doubtful = False
                        await self._restore()
                known = self._lists.get(group, NameList())
                return await self._ledger.admit(group, names, limit=limit, known=known)
            except TemporaryFailure:
                # Whoever was away may come back without its last second.
                self._is_doubtful = True
                raise

        return self._learn(group, await self._outages.ride_out(ask))

    def _learn(self, group: bytes, decided: NameList) -> NameList:
        merged = self._lists.get(group, NameList()).merged(decided)
        self._lists[group] = merged
        self._admitted[group] = set(merged.admitted)
        return merged

    async def _restore(self) -> None:
        """Learn what the shards use, and write back what the registry lacks of it."""
        registered = await self._ledger.registry()
        for lists in await asyncio.gather(*map(self._ledger.name_lists, range(self._ledger.shards))):
            for group, names in lists.items():
                self._learn(group, names)
        behind = [group for group, names in self._lists.items() if registered.get(group, NameList()).lacks(names)]
        for group in behind:
            # No candidate, so no limit: what is in use stays.
            await self._ledger.admit(group, (), limit=0, known=self._lists[group])
        if behind:
            _log.warning("Wrote back %d lists of names that the registry had lost", len(behind))
