"""Which partitions are idle, and how far their watermarks may be raised so that they hold nobody up.

A partition is idle when every shard has applied its log to the end and nothing was added for a while.
Each worker sees that for itself, from the ends of the logs and from what the shards have stored; only the
partition's owner raises it:

    watermarks in one shard      A 10 (idle)    B 50    C 70      A is raised to 50, the least of B and C
                                 A 10           B 50    C 70      A has records to read: nothing moves
                                 A 10 (idle)    B, C idle         all are idle: nothing moves
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from streams.ledger.parts import ShardState, Source

__all__ = ["Idleness", "applied_to", "raised_watermark_ms"]


def applied_to(source: Source, states: Sequence[ShardState]) -> int:
    """The offset up to which every shard has applied a source; -1 while one does not know it."""
    return min(state.sources[source].next if source in state.sources else -1 for state in states)


def raised_watermark_ms(state: ShardState, idle: Collection[Source]) -> int | None:
    """What idle partitions are raised to in this shard; None if every partition is idle."""
    return min((at.watermark_ms for source, at in state.sources.items() if source not in idle), default=None)


@dataclasses.dataclass(slots=True)
class Idleness:
    """Remembers since when each partition has been at its end. One of which more is applied than there is was replaced:
    it is stopped, not idle."""

    idle_after_seconds: float
    _since: dict[Source, tuple[int, float]] = dataclasses.field(default_factory=dict)

    def observe(
        self, states: Sequence[ShardState], ends: Mapping[Source, int], *, now_seconds: float
    ) -> frozenset[Source]:
        """Look at all shards and at the ends of all logs; `now_seconds` is monotonic time.

        Returns: the partitions that are idle now.
        """
        idle = set()
        for source, end in ends.items():
            if applied_to(source, states) != end:
                self._since.pop(source, None)
                continue
            known_end, since = self._since.get(source, (end, now_seconds))
            if known_end != end:
                since = now_seconds
            self._since[source] = (end, since)
            if now_seconds - since >= self.idle_after_seconds:
                idle.add(source)
        return frozenset(idle)
