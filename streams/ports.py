"""What the core asks of the world. Each port has an adapter in `agents` and a fake that obeys the same tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from streams.ledger.parts import CommitReply, Definitions, NameList, Part, ShardState, Source

__all__ = ["Cell", "ChangedWindow", "Clock", "Ledger", "WindowCells"]

Cell = tuple[bytes, bytes, bytes]
"""Slice, label and prediction hashes of one count."""

WindowCells = Mapping[Cell, int]


@dataclasses.dataclass(frozen=True, slots=True)
class ChangedWindow:
    """A base window whose counts changed since it was last published. `mark` names the change, so that
    clearing it does not clear a later one."""

    model_version: bytes
    start_ms: int
    mark: int


class Clock(Protocol):
    """Wall and monotonic time. Read in the shell only; the core is told the time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""

    def monotonic_seconds(self) -> float:
        """Seconds that never go back."""


class Ledger(Protocol):
    """Counts, held records and source offsets that move together, in `shards` parts.

    Every method may block on the network and raises `streams.errors.TemporaryFailure` when the store does not answer or
    will not write now; nothing is known then about what was applied, and every call may be repeated.
    """

    @property
    def shards(self) -> int:
        """How many shards; fixed when the ledger is created."""

    async def state(self, shard: int) -> ShardState | None:
        """The shard's offsets and watermarks; None when it belongs to no ledger."""

    async def create(self, shard: int, *, ledger_id: str, sources: Mapping[Source, int]) -> None:
        """Register the shard with its start offsets, if it belongs to no ledger yet. Idempotent."""

    async def commit(
        self, shard: int, parts: Sequence[Part], definitions: Definitions, *, forget_limit: int
    ) -> CommitReply:
        """Apply each part whose expected offset is the stored one, and forget up to `forget_limit` ids.

        Atomic. Idempotent by the compare-and-set: a repeated part is refused with its own end as `stored`.
        """

    async def forget(self, shard: int, *, limit: int) -> int:
        """Forget overdue ids, up to `limit` of them, down to the watermark itself (a commit forgets in whole
        minutes), and drop windows that are no longer kept. Returns how many ids were visited."""

    async def admit(self, group: bytes, names: Sequence[bytes], *, limit: int, known: NameList) -> NameList:
        """Decide which names of a group get cells of their own: first come, up to `limit`. `known` is what some
        shard already uses and is admitted regardless. Decided once for all shards."""

    async def changed_windows(self, shard: int) -> Sequence[ChangedWindow]:
        """Base windows changed since they were last cleared, oldest start first."""

    async def clear_changed(self, shard: int, windows: Sequence[ChangedWindow]) -> None:
        """Forget the marks, each only if its window has not changed since."""

    async def cells(self, shard: int, windows: Sequence[tuple[bytes, int]]) -> Sequence[WindowCells]:
        """The counts of (model version, base window start) pairs, in order."""

    async def windows(self, shard: int) -> Sequence[tuple[bytes, int]]:
        """Every (model version, base window start) that has counts."""

    async def names(self, shard: int) -> Mapping[bytes, str]:
        """The whole table hash -> name."""

    async def fates(self, shard: int) -> Mapping[str, int]:
        """`predictions:<fate>`, `labels:<fate>` and `<role>:read` counters."""
