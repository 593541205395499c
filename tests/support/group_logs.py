"""Logs that ledgers are founded on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from agents.partition_intake import LogBounds
from streams.ledger.parts import Source

__all__ = ["StillLog"]


@dataclasses.dataclass(frozen=True, slots=True)
class StillLog:
    """A log to which nothing comes, and whether its group has committed."""

    bounds: Mapping[Source, LogBounds]
    is_committed: bool

    async def all_bounds(self) -> Mapping[Source, LogBounds]:
        return self.bounds

    async def has_committed(self) -> bool:
        return self.is_committed

    async def commit(self, offsets: Mapping[Source, int]) -> None:
        """Nobody asks for it."""
