"""What the signals of a model are compared with: how they were distributed in a span of event time, kept for good.

    reference                            compared
    |<----------- span ----------->|     | window | window | ...
    start                          end   final once W > end + horizon

The span is read once, when all of its windows are final, and then kept, so that it outlives the counts it was made of.
Only windows that begin when the span is over are compared with it: they become final after it, so that their final
reports say the same whoever makes them, and when.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from streams.identity import segment_name
from streams.signals.sums import LEFT_OUT, SignalTotals

__all__ = ["SignalReference", "SignalSpan", "SignalTerms"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SignalSpan:
    """Which predictions are the reference: of `[start_ms, end_ms)`, which begin and end with base windows.

    `model_version` None: of the version itself that is compared.
    """

    start_ms: int
    end_ms: int
    model_version: str | None = None

    @property
    def name(self) -> str:
        """What it is kept under, beside the model version that it is of."""
        return f"signals {self.start_ms} {self.end_ms}"


@dataclasses.dataclass(frozen=True, slots=True)
class SignalTerms:
    """What is configured about the signals of a model.

    `names` have figures before any other, and where no prediction tells them; `reference` is what signals are compared
    with.
    """

    names: tuple[str, ...] = ()
    reference: SignalSpan | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SignalReference:
    """Counts of values by bucket, by signal and slice."""

    slices: Mapping[str, Mapping[str, Mapping[int, int]]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, slices: Iterable[tuple[Mapping[str, str], Mapping[str, SignalTotals]]]) -> SignalReference:
        """Of the signals of windows, by slice.

        >>> windows = [({}, {"margin": SignalTotals({3: 2})}), ({}, {"margin": SignalTotals({3: 1, 4: 5})})]
        >>> SignalReference.of(windows).counts({})
        {'margin': {3: 3, 4: 5}}
        """
        found = cls()
        for segment, signals in slices:
            told = {name: totals.counts for name, totals in signals.items() if name != LEFT_OUT}
            found += cls({segment_name(segment): told} if told else {})
        return found

    def __add__(self, other: SignalReference) -> SignalReference:
        slices = {piece: dict(known) for piece, known in self.slices.items()}
        for piece, signals in other.slices.items():
            known = slices.setdefault(piece, {})
            for name, counts in signals.items():
                known[name] = dict(Counter(known.get(name, {})) + Counter(counts))
        return SignalReference(slices)

    def counts(self, segment: Mapping[str, str]) -> Mapping[str, Mapping[int, int]]:
        """Of one slice, by signal."""
        return self.slices.get(segment_name(segment), {})

    def pack(self) -> bytes:
        """As it is kept."""
        flat = {
            piece: {name: [*map(list, counts.items())] for name, counts in known.items()}
            for piece, known in self.slices.items()
        }
        return json.dumps(flat, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> SignalReference:
        """The inverse of `pack`."""
        flat: dict[str, dict[str, list[Any]]] = json.loads(packed)
        return cls({piece: {name: dict(counts) for name, counts in known.items()} for piece, known in flat.items()})
