"""A world that reads logs badly, and ledgers side by side that must not mind.

`SideBySide` holds what workers can do to ledgers, one step a method; after every commit the ledgers must agree and
conserve. `World` draws the steps from a seed, so that one history checks the rules (against an oracle) and the
agreement of two ledgers at once. Logs are revealed bit by bit where that matters:

    log          r0  r1  r2 | r3  r4        read to the end: it may be idle, and its watermark raised
    revealed     ^^^^^^^^^^                 r3 was written later, perhaps behind the raised watermark:
                                            its id is exempt from the oracle, never from the agreement
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from streams.identity import (
    ABSENT,
    ANY_LABEL,
    EVERYTHING,
    FAILED,
    OTHER,
    OTHER_WRONG,
    SUM,
    class_hash,
    model_version_hash,
    registry_group,
    request_key,
    shard_of,
)
from streams.ledger.parts import CommitReply, Definitions, NameList, Outcome, Part, PartReply, ShardState, Source
from streams.ledger.reference import ReferenceLedger
from streams.pair_sums.delay import DELAY_PREFIX
from streams.ports import Ledger
from streams.signals.sums import SIGNAL_PREFIX
from streams.stability.latency_sums import LATENCY_PREFIX
from tests.support.histories import (
    ALIAS,
    CLASSES,
    Cells,
    Delays,
    Packer,
    beyond_limits,
    expected_outcome,
    expected_sums,
    kept_labels,
    order_matters,
    request_slice,
)

__all__ = [
    "EVERY_FAULT",
    "EVERY_TROUBLE",
    "FOREVER_MS",
    "REGISTRY",
    "Commit",
    "Restorable",
    "RestorableReference",
    "SideBySide",
    "World",
    "readable_cells",
]

EVERY_FAULT = frozenset({"crash", "zombie", "lost reply", "rollback"})
EVERY_TROUBLE = EVERY_FAULT | {"idle", "added", "together", "forget"}
"""Faults, and what is no fault but comes at awkward moments."""
FAR_FUTURE_MS = 4_000_000_000_000
_OF_PREDICTIONS = (DELAY_PREFIX, LATENCY_PREFIX, SIGNAL_PREFIX)
"""How the names of sums begin that need no lists."""
FOREVER_MS = 10**13
"""Windows kept for so long are never dropped."""


REGISTRY = -1
"""In the place of a shard: the registry of names, which stands elsewhere and may be put back alone."""


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
        self.reference = ledger

    async def snapshot(self, shard: int) -> Any:
        return copy.deepcopy(self.reference._registry if shard == REGISTRY else self.reference.parts[shard])

    async def restore(self, shard: int, snapshot: Any) -> None:
        if shard == REGISTRY:
            self.reference._registry = copy.deepcopy(snapshot)
        else:
            self.reference.parts[shard] = copy.deepcopy(snapshot)


TEXTS = {class_hash(text): text for text in (*CLASSES, ALIAS, "")} | {
    ABSENT: "",
    FAILED: "failed",
    ANY_LABEL: "*",
    OTHER: "__other__",
    OTHER_WRONG: "__other_wrong__",
}


async def _counts(
    ledger: Ledger, models: Iterable[str]
) -> AsyncIterator[tuple[tuple[str, str], tuple[bytes, bytes, bytes], int]]:
    """Every cell and sum of every shard: (model, window start), the cell, and its count."""
    names = {model_version_hash(name, "1"): name for name in models}
    for shard in range(ledger.shards):
        windows = await ledger.windows(shard)
        for (version, start_ms), counts in zip(windows, await ledger.cells(shard, windows), strict=True):
            for cell, count in counts.items() if version in names else ():
                yield (names[version], str(start_ms)), cell, count


async def _cells_by_slice(ledger: Ledger, models: Iterable[str]) -> Mapping[bytes, Cells]:
    """All cells, summed over shards: slice -> (model, window start, label, prediction) -> count."""
    cells: dict[bytes, Cells] = collections.defaultdict(collections.Counter)
    async for window, (piece, label, predicted), count in _counts(ledger, models):
        if label != SUM:
            cells[piece][*window, TEXTS.get(label, label.hex()), TEXTS[predicted]] += count
    return cells


async def _sums_by_slice(
    ledger: Ledger, models: Iterable[str], is_wanted: Callable[[str], bool]
) -> Mapping[bytes, Delays]:
    """Sums, added up over shards: slice -> (model, window start, name of the sum) -> its value."""
    sums: dict[bytes, Delays] = collections.defaultdict(collections.Counter)
    async for window, (piece, label, name), count in _counts(ledger, models):
        if label == SUM and is_wanted(name.decode()):
            sums[piece][*window, name.decode()] += count
    return sums


async def readable_cells(ledger: Ledger, models: Iterable[str]) -> Cells:
    """All cells of the slice `{}`, summed over shards: model, window start, label, prediction -> count."""
    return (await _cells_by_slice(ledger, models))[EVERYTHING]


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """One call as it was sent, so that it can be sent again at any later time."""

    shard: int
    parts: tuple[Part, ...]
    definitions: Definitions = dataclasses.field(default_factory=Definitions)
    forget_limit: int = 0


class SideBySide:
    """Ledgers that get the same calls and must give the same answers; the first is the reference.

    Args:
        revealed: whether the logs are whole from the start; otherwise `reveal` adds to them.
        added: partitions that the ledger is not created with; `add` brings them.
        class_limit: how many classes of a model get cells of their own.
    """

    def __init__(
        self,
        ledgers: Sequence[Restorable],
        packer: Packer,
        *,
        revealed: bool = True,
        added: Collection[Source] = (),
        class_limit: int = 200,
    ) -> None:
        first = ledgers[0]
        assert isinstance(first, RestorableReference)
        self.reference = first.reference
        self.ledgers = ledgers
        self.packer = packer
        self.log = packer.log
        self.shards = packer.shards
        self.ends = {source: len(records) if revealed else 0 for source, records in packer.log.items()}
        self.sources = [source for source in packer.log if source not in added]
        self.believed: dict[tuple[int, Source], int] = {}
        self.sent: list[Commit] = []
        self.snapshots: list[list[list[Any]]] = [[] for _ in range(self.shards + 1)]
        self._exempt: set[str] = set()
        self._class_limit = class_limit

    async def start(self) -> None:
        """Create the ledger at the start of every log."""
        for shard in range(self.shards):
            for each in self.ledgers:
                await each.ledger.create(shard, ledger_id="test", sources=dict.fromkeys(self.sources, 0))
            await self.snapshot(shard)
        await self.snapshot(REGISTRY)

    def state(self, shard: int) -> ShardState:
        """What the shard has stored."""
        part = self.reference.parts[shard]
        return ShardState("test", part.sources)

    # What happens to logs ---------------------------------------------------------------------------------------

    def reveal(self, source: Source, count: int) -> None:
        """Somebody writes up to `count` records to the log."""
        self.ends[source] = min(self.ends[source] + count, len(self.log[source]))

    def add(self) -> None:
        """A partition is added, if one is left."""
        self.sources += [source for source in self.log if source not in self.sources][:1]

    # What workers do --------------------------------------------------------------------------------------------

    def next_part(self, shard: int, source: Source, *, length: int, expected: int | None = None) -> Part:
        """Up to `length` records from where the worker believes the shard to be; none at the log's end."""
        stored = self.state(shard).sources.get(source)
        if expected is None:
            expected = self.believed.get((shard, source), stored.next if stored else 0)
        end = max(expected, min(expected + length, self.ends[source]))
        return self.packer.part(
            shard, source, expected=expected, next_offset=end, register=stored is None and expected == 0
        )

    async def read(self, shard: int, source: Source, *, length: int, forget_limit: int, is_lost: bool = False) -> None:
        """Apply some records in one shard; `is_lost`: the worker never sees the reply."""
        part = self.next_part(shard, source, length=length)
        await self.commit(shard, [part], forget_limit=forget_limit, is_lost=is_lost)

    async def commit(
        self, shard: int, parts: Sequence[Part], *, forget_limit: int, is_lost: bool = False
    ) -> Sequence[PartReply]:
        """Commit, as a worker does: with what was found missing, until nothing is held back."""
        commit = Commit(shard, tuple(parts), forget_limit=forget_limit)
        reply = await self.send(commit)
        while any(part.outcome is Outcome.HELD_BACK for part in reply.parts):
            commit = dataclasses.replace(commit, definitions=await self._define(reply))
            reply = await self.send(commit)
        for part, answer in zip(parts, reply.parts, strict=True):
            if answer.stored is None:
                self.believed.pop((shard, part.source), None)
            elif not is_lost:
                self.believed[shard, part.source] = answer.stored
        return reply.parts

    async def send(self, commit: Commit) -> CommitReply:
        """Give one call to every ledger. Anything that was ever sent may be sent again."""
        self._note_exemptions(commit)
        if commit not in self.sent[-3:]:
            self.sent.append(commit)
        replies = [
            await each.ledger.commit(commit.shard, commit.parts, commit.definitions, forget_limit=commit.forget_limit)
            for each in self.ledgers
        ]
        assert all(reply == replies[0] for reply in replies), (commit, replies)
        await self.check(commit.shard)
        return replies[0]

    async def _define(self, reply: CommitReply) -> Definitions:
        asked: dict[bytes, list[bytes]] = collections.defaultdict(list)
        for group, name in reply.undecided:
            asked[group].append(name)
        lists = {}
        for group, names in asked.items():
            known = NameList()
            for part in self.reference.parts:
                known = known.merged(part.name_lists.get(group, NameList()))
            admitted = [
                await each.ledger.admit(group, names, limit=self._class_limit, known=known) for each in self.ledgers
            ]
            assert all(each == admitted[0] for each in admitted), admitted
            lists[group] = admitted[0]
        everything = self.packer.definitions()
        return Definitions(everything.names, everything.terms, lists)

    def _note_exemptions(self, commit: Commit) -> None:
        """Records that will stand behind a watermark which their partition is given now."""
        for part in commit.parts:
            given_ms = part.raise_to_ms
            if part.register and part.source not in self.state(commit.shard).sources:
                given_ms = max(given_ms, self.state(commit.shard).watermark_ms)
            for record in self.log[part.source][part.expected :]:
                if record is not None and record.time_ms < given_ms:
                    self._exempt.add(record.request_id)

    def at_end(self) -> list[Source]:
        """Partitions whose logs every shard has applied to the end: they may be idle."""
        states = [self.state(shard).sources for shard in range(self.shards)]
        return [
            source
            for source in self.sources
            if all(source in state and state[source].next == self.ends[source] for state in states)
        ]

    async def raise_idle(self, shard: int, idle: Collection[Source], *, forget_limit: int) -> None:
        """Raise idle partitions of one shard to the lowest of the others."""
        sources = self.state(shard).sources
        others = [state.watermark_ms for source, state in sources.items() if source not in idle]
        if idle and others:
            parts = [
                Part(source=source, expected=self.ends[source], next=self.ends[source], raise_to_ms=min(others))
                for source in idle
            ]
            await self.commit(shard, parts, forget_limit=forget_limit)

    async def forget(self, shard: int, *, limit: int) -> int:
        """Forget outside a commit."""
        visited = [await each.ledger.forget(shard, limit=limit) for each in self.ledgers]
        assert all(each == visited[0] for each in visited), visited
        await self.check(shard)
        return visited[0]

    async def report(self, shard: int) -> None:
        """All reports that are due at the shard's watermark have been published."""
        reported = {model_version_hash(name, "1"): self.state(shard).watermark_ms for name in self.packer.models}
        for each in self.ledgers:
            await each.ledger.note_reported(shard, reported)

    def restart(self) -> None:
        """A worker that starts believes nothing."""
        self.believed.clear()

    # What happens to the store ----------------------------------------------------------------------------------

    async def snapshot(self, shard: int) -> None:
        """A moment that the shard may be put back to."""
        self.snapshots[shard].append([await each.snapshot(shard) for each in self.ledgers])

    async def roll_back(self, shard: int, moment: int) -> None:
        """The store loses what came after one of the shard's snapshots."""
        del self.snapshots[shard][moment + 1 :]
        for each, snapshot in zip(self.ledgers, self.snapshots[shard][moment], strict=True):
            await each.restore(shard, snapshot)
        if shard != REGISTRY:
            await self.check(shard)

    # The end ----------------------------------------------------------------------------------------------------

    async def drain(self, rng: random.Random) -> int:
        """Without further faults, read every log to its end in every shard; returns the number of parts."""
        self.restart()
        self.sources = list(self.log)
        for source in self.log:
            self.reveal(source, len(self.log[source]))
        count = 0
        while True:
            unread = [
                (shard, source)
                for source, end in self.ends.items()
                for shard in range(self.shards)
                if source not in (known := self.state(shard).sources) or known[source].next < end
            ]
            if not unread:
                return count
            shard, source = rng.choice(unread)
            await self.read(shard, source, length=rng.randint(1, 6), forget_limit=rng.randrange(20))
            count += 1

    async def close(self) -> None:
        """Raise every partition far past every horizon and forget everything."""
        for shard in range(self.shards):
            parts = [
                Part(source=source, expected=end, next=end, raise_to_ms=FAR_FUTURE_MS)
                for source, end in self.ends.items()
            ]
            await self.commit(shard, parts, forget_limit=0)
            while await self.forget(shard, limit=100):
                pass

    async def check_outcome(self) -> int:
        """Compare every id with the oracle after `close`; returns how many ids were compared.

        Ids for which design leaves the choice to the order of reading are left out, but even they are
        counted at most once, unless their predictions differ.
        """
        models = self.packer.models
        lists = [name for name, model in models.items() if model.task.takes_lists]
        expected, free = expected_outcome(models, self.log), order_matters(self.log, kept=kept_labels(models))
        exempt = self._exempt | free
        ids = {record.request_id for records in self.log.values() for record in records if record}
        for each in self.ledgers:
            cells = await _cells_by_slice(each.ledger, models)
            delays = await _sums_by_slice(each.ledger, models, lambda name: name.startswith(DELAY_PREFIX))
            latencies = await _sums_by_slice(each.ledger, models, lambda name: name.startswith(LATENCY_PREFIX))
            signals = await _sums_by_slice(each.ledger, models, lambda name: name.startswith(SIGNAL_PREFIX))
            sums = await _sums_by_slice(each.ledger, lists, lambda name: name[0] not in _OF_PREDICTIONS)
            for request_id in ids - exempt:
                admitted = self._admitted(shard_of(request_key(request_id), shards=self.shards))
                wanted = beyond_limits(expected.cells[request_id], admitted)
                assert wanted == cells.get(request_slice(request_id), {}), request_id
                assert expected.delays[request_id] == delays.get(request_slice(request_id), {}), request_id
                assert expected.latencies[request_id] == latencies.get(request_slice(request_id), {}), request_id
                assert expected.signals[request_id] == signals.get(request_slice(request_id), {}), request_id
                of_lists = expected_sums(expected.lists[request_id], admitted)
                assert of_lists == sums.get(request_slice(request_id), {}), request_id
            for request_id in self._exempt - free:
                counted = collections.Counter[tuple[str, bool]]()
                for (model, _, label, _), count in cells.get(request_slice(request_id), {}).items():
                    counted[model, label == "failed"] += count
                assert max(counted.values(), default=0) <= 1, request_id
        fates = sum((part.fates for part in self.reference.parts), collections.Counter())
        assert fates["predictions:waiting"] == fates["labels:held"] == 0
        for role in ("predictions", "labels"):
            written = sum(len(records) for source, records in self.log.items() if source.role == role)
            assert written == fates[f"{role}:read"]
        if not exempt & ids:
            assert {name: count for name, count in expected.fates.items() if count} == {
                name: fates[f"predictions:{name}"]
                for name in ("matched", "never_labelled", "failed", "late_prediction", "duplicate_prediction")
                if fates[f"predictions:{name}"]
            }
        for part in self.reference.parts:
            assert part.entries == {}
            assert part.overdue == {}
        return len(ids - exempt)

    def _admitted(self, shard: int) -> Mapping[str, Collection[str]]:
        lists = self.reference.parts[shard].name_lists
        admitted = {}
        for name in self.packer.models:
            names = lists.get(registry_group("classes", name), NameList())
            # Below the limit every class has cells of its own.
            admitted[name] = {TEXTS[each] for each in names.admitted} if names.full else set(TEXTS.values())
        return admitted

    async def check(self, shard: int) -> None:
        """What must hold at any moment: ledgers agree, fates add up to what was read, cells to the fates."""
        views = [await _view(each.ledger, shard) for each in self.ledgers]
        for view in views[1:]:
            assert views[0] == view
        fates, cells = collections.Counter(views[0].fates), views[0].cells
        assert min(fates.values(), default=0) >= 0, fates
        for role in ("predictions", "labels"):
            ends = sum(count for name, count in fates.items() if name.startswith(role) and not name.endswith(":read"))
            assert ends == fates[f"{role}:read"], fates
        whole = collections.Counter[str]()
        for counts in cells.values():
            for (piece, label, _), count in counts.items():
                assert count > 0 or label == SUM, counts
                if piece == EVERYTHING and label != SUM:
                    whole["failed" if label == FAILED else "unlabelled" if label == ABSENT else "labelled"] += count
        if self.reference.parts[shard].keep_windows_ms == FOREVER_MS:
            assert whole["labelled"] == fates["predictions:matched"]
            assert whole["failed"] == fates["predictions:failed"]
            assert whole["unlabelled"] == fates["predictions:waiting"] + fates["predictions:never_labelled"]


@dataclasses.dataclass(frozen=True, slots=True)
class _View:
    """All that the port shows of a shard."""

    state: ShardState | None
    fates: Mapping[str, int]
    cells: Mapping[tuple[bytes, int], Mapping[tuple[bytes, bytes, bytes], int]]
    changed: frozenset[tuple[bytes, int]]
    names: Mapping[bytes, str]
    lists: Mapping[bytes, NameList]


async def _view(ledger: Ledger, shard: int) -> _View:
    windows = await ledger.windows(shard)
    changed = await ledger.changed_windows(shard)
    return _View(
        await ledger.state(shard),
        {fate: count for fate, count in (await ledger.fates(shard)).items() if count},
        dict(zip(windows, await ledger.cells(shard, windows), strict=True)),
        frozenset((window.model_version, window.start_ms) for window in changed),
        await ledger.names(shard),
        await ledger.name_lists(shard),
    )


class World:
    """One history of reading, drawn from `rng`. `faults` names what may go wrong; see `EVERY_TROUBLE`."""

    def __init__(
        self,
        ledgers: Sequence[Restorable],
        packer: Packer,
        rng: random.Random,
        *,
        faults: frozenset[str] = frozenset(),
        class_limit: int = 200,
    ) -> None:
        self._rng = rng
        self._faults = faults
        added = [rng.choice(list(packer.log))] if "added" in faults else []
        self.sides = SideBySide(ledgers, packer, revealed="idle" not in faults, added=added, class_limit=class_limit)

    async def run(self, steps: int) -> int:
        """The whole history, checked to its end; returns how many ids were compared with the oracle."""
        await self.sides.start()
        for _ in range(steps):
            await self._step()
        await self.sides.drain(self._rng)
        await self.sides.close()
        return await self.sides.check_outcome()

    async def _step(self) -> None:
        rng, sides, faults = self._rng, self.sides, self._faults
        shard, chance = rng.randrange(sides.shards), rng.random()
        if "idle" in faults:
            sides.reveal(rng.choice(list(sides.log)), rng.randrange(5))
        if "zombie" in faults and sides.sent and chance < 0.1:
            await sides.send(rng.choice(sides.sent))
        elif "idle" in faults and chance < 0.2:
            at_end = sides.at_end()
            await sides.raise_idle(
                shard, rng.sample(at_end, rng.randint(0, len(at_end))), forget_limit=rng.randrange(4)
            )
        elif "added" in faults and chance < 0.22:
            sides.add()
        elif "forget" in faults and chance < 0.27:
            await sides.forget(shard, limit=rng.randint(1, 5))
        elif "rollback" in faults and chance > 0.96:
            place = rng.choice([shard, REGISTRY])
            await sides.roll_back(place, rng.randrange(len(sides.snapshots[place])))
        elif "rollback" in faults and chance > 0.85:
            await sides.snapshot(rng.choice([shard, REGISTRY]))
        elif "together" in faults and chance > 0.75:
            chosen = rng.choices(sides.sources, k=rng.randint(2, 4))
            await self._read_together(shard, chosen)
        else:
            await self._read_some()

    async def _read_together(self, shard: int, chosen: Sequence[Source]) -> None:
        """Several parts in one commit; two of one source follow each other."""
        parts: list[Part] = []
        for source in chosen:
            before = [part.next for part in parts if part.source == source]
            length = self._rng.randint(1, 3)
            parts.append(self.sides.next_part(shard, source, length=length, expected=before[-1] if before else None))
        await self.sides.commit(shard, parts, forget_limit=self._rng.randrange(20))

    async def _read_some(self) -> None:
        rng, sides = self._rng, self.sides
        source, length = rng.choice(sides.sources), rng.randint(1, 4)
        order = rng.sample(range(sides.shards), sides.shards)
        if "crash" in self._faults and rng.random() < 0.3:
            order = order[: rng.randrange(sides.shards + 1)]
            sides.restart()
        for shard in order:
            is_lost = "lost reply" in self._faults and rng.random() < 0.1
            await sides.read(shard, source, length=length, forget_limit=rng.randrange(20), is_lost=is_lost)
