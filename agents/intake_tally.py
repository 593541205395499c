"""What a worker has taken in since its start, by topic, for Prometheus. What is read twice counts twice."""

from __future__ import annotations

import dataclasses
from collections import Counter

from streams.ledger.parts import Role

__all__ = ["IntakeTally"]


@dataclasses.dataclass(frozen=True, slots=True)
class IntakeTally:
    """Counters of one process, whichever partitions it owns."""

    records: Counter[Role] = dataclasses.field(default_factory=Counter)
    dead_letters: Counter[Role] = dataclasses.field(default_factory=Counter)
    gaps: Counter[Role] = dataclasses.field(default_factory=Counter)
    """Times a shard stepped over input that Kafka no longer had, which leaves windows incomplete."""
