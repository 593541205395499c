"""One task per shard that commits what the partitions hand in, one call at a time.

    partitions ── submit(part) ──> waiting ── gather up to 1,000 rows ──> commit ──> each part's reply
                                                     ^                      │ held back
                                                     └── define, decide ────┘

While a call is on its way further parts gather, so that many small batches cost few calls. A partition has
one part in flight per shard; it hands in the next when it has the reply.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Mapping, Sequence

from agents.name_registry import NameRegistry
from agents.outages import Outages
from streams.ledger.parts import CommitReply, Definitions, NameList, Part, PartReply
from streams.ports import Ledger

__all__ = ["MAX_ROWS", "ShardWriter"]

MAX_ROWS = 1000
"""Of one call: some 7 ms in which Redis does nothing else."""
FORGET_PER_ROW = 2
FORGET_AT_LEAST = 200
"""Each commit forgets more ids than it can bring, so that memory shrinks after a stall."""
MAX_HELD_BACK = 20
"""A commit that is held back so often lacks something that nobody can define."""
MAX_KNOWN_NAMES = 200_000


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    part: Part
    definitions: Definitions
    reply: asyncio.Future[PartReply]

    @property
    def row_count(self) -> int:
        return len(self.part.rows) // self.part.row_bytes


class ShardWriter:
    """Commits to one shard. `run` is its task."""

    def __init__(self, shard: int, ledger: Ledger, registry: NameRegistry, outages: Outages) -> None:
        self._shard = shard
        self._ledger = ledger
        self._registry = registry
        self._outages = outages
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._arrived = asyncio.Event()
        self._known_names: set[bytes] = set()
        self._known_terms: set[bytes] = set()
        self._known_lists: dict[bytes, NameList] = {}
        self.commits = 0

    def submit(self, part: Part, definitions: Definitions) -> asyncio.Future[PartReply]:
        """Commit a part together with what others hand in; it is handed in at once, and the shard's answer awaited.

        Args:
            definitions: every name and term that the rows refer to, and the lists that decided how they are counted;
                known ones are not sent again.
        """
        reply: asyncio.Future[PartReply] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(part, definitions, reply))
        self._arrived.set()
        return reply

    def forget_definitions(self) -> None:
        """Send all definitions again: the shard may have lost some of its past, and the registry too."""
        self._forget_known()
        self._registry.doubt()

    def _forget_known(self) -> None:
        self._known_names.clear()
        self._known_terms.clear()
        self._known_lists.clear()

    async def run(self) -> None:
        """Commit for ever."""
        while True:
            await self._arrived.wait()
            if waiting := self._take():
                await self._commit(waiting)
            if not self._queue:
                self._arrived.clear()

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        rows = 0
        while self._queue and (not taken or rows + self._queue[0].row_count <= MAX_ROWS):
            waiting = self._queue.popleft()
            if not waiting.reply.done():  # whoever asked may be gone
                taken.append(waiting)
                rows += waiting.row_count
        return taken

    async def _commit(self, waiting: Sequence[_Waiting]) -> None:
        parts = [each.part for each in waiting]
        name_lists: Mapping[bytes, NameList] = {}
        forget_limit = FORGET_PER_ROW * sum(each.row_count for each in waiting) + FORGET_AT_LEAST
        for _ in range(MAX_HELD_BACK):
            definitions = self._unknown(waiting, name_lists)
            reply = await self._outages.ride_out(
                lambda definitions=definitions: self._ledger.commit(  # type: ignore[misc]
                    self._shard, parts, definitions, forget_limit=forget_limit
                )
            )
            self.commits += 1
            self._remember(definitions)
            if not reply.undecided and not reply.unknown_terms:
                for each, part_reply in zip(waiting, reply.parts, strict=True):
                    if not each.reply.done():
                        each.reply.set_result(part_reply)
                return
            name_lists = await self._resolve(reply)
        raise AssertionError(f"shard {self._shard} held back a commit {MAX_HELD_BACK} times: {reply}")

    async def _resolve(self, reply: CommitReply) -> Mapping[bytes, NameList]:
        if reply.unknown_terms:
            self.forget_definitions()
        names: dict[bytes, list[bytes]] = collections.defaultdict(list)
        for group, name in reply.undecided:
            names[group].append(name)
        return {group: await self._registry.decide_classes(group, found) for group, found in names.items()}

    def _unknown(self, waiting: Sequence[_Waiting], name_lists: Mapping[bytes, NameList]) -> Definitions:
        names: dict[bytes, str] = {}
        terms: dict[bytes, bytes] = {}
        lists = dict(name_lists)
        # What was packed together has one and the same.
        for definitions in {id(each.definitions): each.definitions for each in waiting}.values():
            for group, decided in definitions.name_lists.items():
                known = lists.get(group) or self._known_lists.get(group, NameList())
                # A worker's lists only grow, so the longer one holds the other.
                if len(decided.admitted) > len(known.admitted) or (decided.full and not known.full):
                    lists[group] = decided
            for name in definitions.names.keys() - self._known_names:
                names[name] = definitions.names[name]
            for name in definitions.terms.keys() - self._known_terms:
                terms[name] = definitions.terms[name]
        return Definitions(names, terms, lists)

    def _remember(self, definitions: Definitions) -> None:
        if len(self._known_names) + len(self._known_terms) > MAX_KNOWN_NAMES:
            self._forget_known()
        self._known_names.update(definitions.names)
        self._known_terms.update(definitions.terms)
        self._known_lists.update(definitions.name_lists)
