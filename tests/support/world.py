"""A world that reads logs badly: any order, any split, crashes, zombies, lost replies, rollbacks.

It drives one or more ledgers through the same steps and compares what they answer, so that one history checks
the rules (against an oracle) and the agreement of two ledgers at once.
"""

from __future__ import annotations

import collections
import copy
import random
from collections.abc import Sequence
from typing import Any, Protocol

from streams.identity import ABSENT, ANY_LABEL, EVERYTHING, FAILED, class_hash, model_version_hash
from streams.ledger.parts import Definitions, Outcome, Part, PartReply, Source
from streams.ledger.reference import ReferenceLedger
from streams.ports import Ledger
from tests.support.histories import CLASSES, Packer

__all__ = ["Restorable", "RestorableReference", "World", "readable_cells"]

EVERY_FAULT = frozenset({"crash", "zombie", "lost reply", "rollback"})
FAR_FUTURE_MS = 4_000_000_000_000


class Restorable(Protocol):
    """A ledger whose shards can be put back to an earlier moment, as a store that lost its tail does."""

    ledger: Ledger

    async def snapshot(self, shard: int) -> Any:
        """A copy of the shard as it is."""

    async def restore(self, shard: int, snapshot: Any) -> None:
        """Put the copy back."""


class RestorableReference:
    """The in-memory ledger."""

    def __init__(self, ledger: ReferenceLedger) -> None:
        self.ledger: Ledger = ledger
        self._reference = ledger

    async def snapshot(self, shard: int) -> Any:
        return copy.deepcopy(self._reference.parts[shard])

    async def restore(self, shard: int, snapshot: Any) -> None:
        self._reference.parts[shard] = copy.deepcopy(snapshot)


async def readable_cells(ledger: Ledger, names: Sequence[str]) -> collections.Counter[tuple[str, ...]]:
    """All cells of the slice `{}`, summed over shards: model, window start, label, prediction -> count."""
    models = {model_version_hash(name, "1"): name for name in names}
    classes = {class_hash(text): text for text in (*CLASSES, "why", "")}
    labels = classes | {ABSENT: "", FAILED: "failed", ANY_LABEL: "*"}
    cells: collections.Counter[tuple[str, ...]] = collections.Counter()
    for shard in range(ledger.shards):
        windows = await ledger.windows(shard)
        for (version, start_ms), counts in zip(windows, await ledger.cells(shard, windows), strict=True):
            for (piece, label, predicted), count in counts.items():
                if piece == EVERYTHING:
                    text = "" if predicted == ABSENT else classes[predicted]
                    cells[models[version], str(start_ms), labels[label], text] += count
    return cells


class World:
    """One history of reading. `faults` names what may go wrong."""

    def __init__(
        self,
        ledgers: Sequence[Restorable],
        packer: Packer,
        rng: random.Random,
        *,
        faults: frozenset[str] = frozenset(),
    ) -> None:
        self._ledgers = ledgers
        self._packer = packer
        self._rng = rng
        self._faults = faults
        self._shards = ledgers[0].ledger.shards
        self._believed: dict[tuple[int, Source], int] = {}
        self._zombies: list[tuple[int, Part]] = []
        self._snapshots: list[list[list[Any]]] = [[] for _ in range(self._shards)]
        self.steps = 0

    async def start(self) -> None:
        """Create the ledger at the start of every log."""
        for shard in range(self._shards):
            for each in self._ledgers:
                await each.ledger.create(shard, ledger_id="test", sources=dict.fromkeys(self._packer.log, 0))
            await self._snapshot(shard)

    async def step(self) -> None:
        """One thing happens."""
        self.steps += 1
        chance = self._rng.random()
        if "zombie" in self._faults and self._zombies and chance < 0.1:
            shard, part = self._rng.choice(self._zombies)
            await self._send(shard, part)
        elif "rollback" in self._faults and chance > 0.97:
            shard = self._rng.randrange(self._shards)
            kept = self._rng.randrange(len(self._snapshots[shard])) + 1
            del self._snapshots[shard][kept:]
            for each, snapshot in zip(self._ledgers, self._snapshots[shard][-1], strict=True):
                await each.restore(shard, snapshot)
        elif "rollback" in self._faults and chance > 0.85:
            await self._snapshot(self._rng.randrange(self._shards))
        else:
            await self._read_some()

    async def drain(self) -> None:
        """Without further faults, read every log to its end in every shard."""
        self._faults = frozenset()
        self._believed.clear()
        while await self._read_some():
            self.steps += 1

    async def close(self) -> None:
        """Raise every partition far past every horizon and forget everything."""
        for shard in range(self._shards):
            for source, records in self._packer.log.items():
                part = Part(source=source, expected=len(records), next=len(records), raise_to_ms=FAR_FUTURE_MS)
                await self._send(shard, part)
            for each in self._ledgers:
                while await each.ledger.forget(shard, limit=100):
                    pass

    async def _read_some(self) -> bool:
        unread = []
        for source, records in self._packer.log.items():
            stored = [await self._stored(shard, source) for shard in range(self._shards)]
            if min(stored) < len(records):
                unread.append((source, stored))
        if not unread:
            return False
        source, stored = self._rng.choice(unread)
        length = self._rng.randint(1, 4)
        order = self._rng.sample(range(self._shards), self._shards)
        if "crash" in self._faults and self._rng.random() < 0.3:
            order = order[: self._rng.randrange(self._shards + 1)]
            self._believed.clear()
        for shard in order:
            await self._read(shard, source, self._believed.get((shard, source), stored[shard]), length)
        return True

    async def _read(self, shard: int, source: Source, expected: int, length: int) -> None:
        end = len(self._packer.log[source])
        part = self._packer.part(shard, source, expected=expected, next_offset=min(expected + length, end))
        if self._rng.random() < 0.3:
            self._zombies.append((shard, part))
        reply = await self._send(shard, part)
        if "lost reply" not in self._faults or self._rng.random() > 0.1:
            self._believed[shard, source] = reply.stored or 0

    async def _stored(self, shard: int, source: Source) -> int:
        state = await self._ledgers[0].ledger.state(shard)
        assert state is not None
        return state.sources[source].next

    async def _snapshot(self, shard: int) -> None:
        self._snapshots[shard].append([await each.snapshot(shard) for each in self._ledgers])

    async def _send(self, shard: int, part: Part) -> PartReply:
        """Commit, as a worker does: with what was found missing, until nothing is held back."""
        definitions, limit = Definitions(), self._rng.randrange(20)
        while True:
            replies = [
                await each.ledger.commit(shard, [part], definitions, forget_limit=limit) for each in self._ledgers
            ]
            assert all(reply == replies[0] for reply in replies), (part, replies)
            await self._check(shard)
            if replies[0].parts[0].outcome is not Outcome.HELD_BACK:
                return replies[0].parts[0]
            everything = self._packer.definitions()
            groups = {group for group, _ in replies[0].undecided}
            lists = {group: names for group, names in self._packer.name_lists().items() if group in groups}
            definitions = Definitions(everything.names, everything.terms, lists)

    async def _check(self, shard: int) -> None:
        """What must hold after every commit: ledgers agree, fates add up to what was read, cells to the fates."""
        first, *others = [await each.ledger.fates(shard) for each in self._ledgers]
        fates = collections.Counter(first)
        for other in others:
            assert {name: count for name, count in first.items() if count} == {
                name: count for name, count in other.items() if count
            }
        assert min(fates.values(), default=0) >= 0, fates
        for role in ("predictions", "labels"):
            ends = sum(count for name, count in fates.items() if name.startswith(role) and not name.endswith(":read"))
            assert ends == fates[f"{role}:read"], fates
        states = [await each.ledger.state(shard) for each in self._ledgers]
        assert all(state == states[0] for state in states)
        windows = [await each.ledger.windows(shard) for each in self._ledgers]
        assert all(each == windows[0] for each in windows)
        cells = [[dict(counts) for counts in await each.ledger.cells(shard, windows[0])] for each in self._ledgers]
        assert all(each == cells[0] for each in cells)
        whole = collections.Counter[str]()
        for counts in cells[0]:
            for (piece, label, _), count in counts.items():
                assert count > 0
                if piece == EVERYTHING:
                    whole["failed" if label == FAILED else "unlabelled" if label == ABSENT else "labelled"] += count
        assert whole["labelled"] == fates["predictions:matched"]
        assert whole["failed"] == fates["predictions:failed"]
        assert whole["unlabelled"] == fates["predictions:waiting"] + fates["predictions:never_labelled"]


def exempt_because_of_cap(packer: Packer) -> bool:
    """Whether some id has more labels than an entry keeps; what counts then depends on the order of reading."""
    labels: dict[str, set[Any]] = collections.defaultdict(set)
    for records in packer.log.values():
        for record in records:
            if record is not None and not hasattr(record, "predicted"):
                labels[record.request_id].add(record)
    return any(len(each) > 8 for each in labels.values())
