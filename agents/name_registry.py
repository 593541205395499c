"""Which model versions, segment values and classes get cells of their own: asked once, then remembered.

The ledger decides, first come up to a limit, for all shards and workers. A decision is never taken back, so
what this worker has heard is right for ever, also after the ledger lost it: it is then told again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from agents.outages import Outages
from streams.identity import class_hash, registry_group
from streams.ledger.parts import NameList
from streams.monitored_model import MonitoredModel
from streams.ports import Ledger

__all__ = ["MODEL_VERSIONS", "NameLimits", "NameRegistry", "segment_values_group"]

MODEL_VERSIONS = registry_group("model_versions")


def segment_values_group(model: str, segment: str) -> bytes:
    """The group of one declared segment's values."""
    return registry_group("segment_values", model, segment)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NameLimits:
    """How many names of a kind get cells: model versions in all, classes per model, values per segment."""

    models: int = 1000
    classes: int = 200
    segment_values: int = 200


class NameRegistry:
    """Decisions heard so far, and the way to hear more."""

    def __init__(self, ledger: Ledger, outages: Outages, *, limits: NameLimits) -> None:
        self.limits = limits
        self._ledger = ledger
        self._outages = outages
        self._lists: dict[bytes, NameList] = {}
        self._admitted: dict[bytes, set[bytes]] = {}
        self._declared: dict[bytes, tuple[bytes, ...]] = {}

    def declare_classes(self, group: bytes, model: MonitoredModel) -> None:
        """Have the classes that the configuration names admitted before any other."""
        self._declared[group] = tuple(class_hash(name) for name in model.class_names)

    def has_cells(self, group: bytes, name: bytes) -> bool:
        """What was decided about a name; it must have been passed to `decide` before."""
        return name in self._admitted.get(group, ())

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
        known = self._lists.get(group, NameList())
        decided = await self._outages.ride_out(lambda: self._ledger.admit(group, names, limit=limit, known=known))
        merged = self._lists.get(group, NameList()).merged(decided)
        self._lists[group] = merged
        self._admitted[group] = set(merged.admitted)
        return merged
