"""The newest explanations, bounded in count and size, and found again by model version and event time.

    a slot of event time   at most so many: wrong predictions first, then by request key
    all slots together     at most so many bytes: the slots of the oldest event times leave, whole

Which of a slot stay follows from what they are about, not from the order in which they come.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Callable, Iterator, Mapping

import msgspec
from msgspec import UNSET

from schemas.errors import Rejected
from schemas.explanation import Explanation
from schemas.times import parse_time_ms
from streams.identity import request_key

__all__ = ["ExplanationsAsked", "KeptExplanation", "KeptExplanations", "kept_explanation"]

MOST_IN_SLOT = 20
"""People look at a few; the rest stands on the topic."""
MOST_BYTES = 16 << 20
LARGEST_BYTES = 64 * 1024
"""Of one. Inputs are cut before they are published, so what is larger is not ours."""
ENTRY_BYTES = 1000
"""What keeping one costs beside its value."""
MISSING = "__missing__"
"""In a declared segment: predictions without the name."""

_decode = msgspec.json.Decoder(Explanation).decode


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KeptExplanation:
    """One explanation: `value` as it was published, the rest is what it is found by."""

    model: str
    model_version: str
    time_ms: int
    key: bytes
    segment: Mapping[str, str]
    is_wrong: bool
    value: bytes

    @property
    def place(self) -> tuple[int, bytes]:
        """Where it stands among others, oldest first."""
        return self.time_ms, self.key


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationsAsked:
    """Which ones are wanted; None is any. `before` is the place of the last one that was seen."""

    model: str
    model_version: str | None = None
    segment: Mapping[str, str] | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    is_wrong: bool | None = None
    before: tuple[int, bytes] | None = None


def kept_explanation(value: bytes) -> KeptExplanation | None:
    """What is kept of a record; None if it is no explanation, or too large, or of an unknown time."""
    if len(value) > LARGEST_BYTES:
        return None
    try:
        explanation = _decode(value)
        if explanation.event_time is None:
            return None
        time_ms = parse_time_ms(explanation.event_time)
    except (msgspec.DecodeError, Rejected, ValueError):
        return None
    told = (explanation.label, explanation.predicted)
    return KeptExplanation(
        model=explanation.model,
        model_version=explanation.model_version,
        time_ms=time_ms,
        key=request_key(explanation.request_id, explanation.instance),
        segment={} if explanation.segment is UNSET else explanation.segment,
        is_wrong=None not in told and told[0] != told[1],
        value=value,
    )


class KeptExplanations:
    """All that is kept.

    Args:
        slot_ms: how long a slot of a model is.
    """

    def __init__(
        self, slot_ms: Callable[[str], int], *, most_in_slot: int = MOST_IN_SLOT, most_bytes: int = MOST_BYTES
    ) -> None:
        self._slot_ms = slot_ms
        self._most_in_slot = most_in_slot
        self._most_bytes = most_bytes
        self._slots: dict[str, dict[tuple[int, str], dict[bytes, KeptExplanation]]] = {}
        self._oldest: list[tuple[int, str, str]] = []
        self.bytes = 0
        self.count = 0

    def add(self, each: KeptExplanation) -> None:
        """Keep it as far as there is room; one about the same prediction is replaced."""
        size_ms = self._slot_ms(each.model)
        start_ms = each.time_ms // size_ms * size_ms
        slots = self._slots.setdefault(each.model, {})
        slot = slots.get((start_ms, each.model_version))
        if slot is None:
            slot = slots[start_ms, each.model_version] = {}
            heapq.heappush(self._oldest, (start_ms, each.model, each.model_version))
        self._drop(slot, each.key)
        slot[each.key] = each
        self.count += 1
        self.bytes += len(each.value) + ENTRY_BYTES
        if len(slot) > self._most_in_slot:
            self._drop(slot, max(slot, key=lambda key: (not slot[key].is_wrong, key)))
        while self.bytes > self._most_bytes:
            oldest_ms, model, version = heapq.heappop(self._oldest)
            leaving = self._slots[model].pop((oldest_ms, version))
            for key in list(leaving):
                self._drop(leaving, key)
            if not self._slots[model]:
                del self._slots[model]

    def find(self, asked: ExplanationsAsked) -> Iterator[KeptExplanation]:
        """Those that are wanted, newest event time first."""
        size_ms = self._slot_ms(asked.model)
        # A slot may begin before what is wanted.
        since_ms = -math.inf if asked.since_ms is None else asked.since_ms - size_ms
        until_ms = math.inf if asked.until_ms is None else asked.until_ms
        slots = self._slots.get(asked.model, {})
        starts = sorted({start_ms for start_ms, _ in slots if since_ms < start_ms < until_ms}, reverse=True)
        versions = sorted({version for _, version in slots} if asked.model_version is None else [asked.model_version])
        for start_ms in starts:
            found = [each for version in versions for each in slots.get((start_ms, version), {}).values()]
            yield from sorted((each for each in found if _is_asked(each, asked)), key=_place, reverse=True)

    def _drop(self, slot: dict[bytes, KeptExplanation], key: bytes) -> None:
        dropped = slot.pop(key, None)
        if dropped is not None:
            self.count -= 1
            self.bytes -= len(dropped.value) + ENTRY_BYTES


def _place(each: KeptExplanation) -> tuple[int, bytes]:
    return each.place


def _is_asked(each: KeptExplanation, asked: ExplanationsAsked) -> bool:
    return (
        (asked.since_ms is None or each.time_ms >= asked.since_ms)
        and (asked.until_ms is None or each.time_ms < asked.until_ms)
        and (asked.is_wrong is None or each.is_wrong is asked.is_wrong)
        and (asked.before is None or each.place < asked.before)
        and all(each.segment.get(name, MISSING) == value for name, value in (asked.segment or {}).items())
    )
