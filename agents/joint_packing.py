"""Packs small batches of several partitions together: packing one costs as much as some dozens of records do.

    partitions ── pack(stretch) ──> waiting ── gather for some milliseconds ──> one call for each topic ──> each its run

A large batch is packed at once and alone. Whoever has stopped waiting is left out.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Sequence

from agents.packing import PackedRun, Packer, Stretch
from streams.ledger.parts import Role

__all__ = ["LARGE_RECORDS", "JointPacker"]

GATHER_SECONDS = 0.01
"""From the first of them on: what partitions get of one fetch comes within it."""
LARGE_RECORDS = 400
"""Of one batch, of whose packing the records take nine tenths."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    stretch: Stretch
    reply: asyncio.Future[PackedRun]


class JointPacker:
    """Shared by all partitions of a worker.

    Args:
        gather_seconds: how long a small batch waits for others.
    """

    def __init__(self, packer: Packer, *, gather_seconds: float = GATHER_SECONDS) -> None:
        self._packer = packer
        self._gather_seconds = gather_seconds
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def pack(self, stretch: Stretch, *, now_ms: int) -> PackedRun:
        """Pack a stretch, perhaps together with others that are handed in meanwhile.

        Args:
            now_ms: the reader's clock; others may be packed by it too.
        """
        if len(stretch) >= LARGE_RECORDS:
            return (await self._packer.pack([stretch], now_ms=now_ms))[0]
        reply: asyncio.Future[PackedRun] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(stretch, reply))
        if len(self._waiting) == 1:
            task = asyncio.create_task(self._gather(now_ms))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await reply

    async def _gather(self, now_ms: int) -> None:
        await asyncio.sleep(self._gather_seconds)
        waiting, self._waiting = self._waiting, []
        by_role: dict[Role, list[_Waiting]] = collections.defaultdict(list)
        for each in waiting:
            if not each.reply.done():
                by_role[each.stretch.source.role].append(each)
        for together in by_role.values():
            await self._pack(together, now_ms)

    async def _pack(self, together: Sequence[_Waiting], now_ms: int) -> None:
        try:
            runs = await self._packer.pack([each.stretch for each in together], now_ms=now_ms)
        except Exception as error:  # noqa: BLE001  (it is theirs, who each end the worker by it)
            for each in together:
                if not each.reply.done():
                    each.reply.set_exception(error)
            return
        for each, run in zip(together, runs, strict=True):
            if not each.reply.done():
                each.reply.set_result(run)
