"""By which segments a model is counted, and from which event time on; what may be told of a window follows.

A change holds from a moment at which windows of all sizes begin and which nothing that was counted has reached:

    12:00          13:00          14:00
      | country      | country, device
      |--- 12:00 ----|--- 13:00 ----|        windows of an hour have all slices of their time
      |------------- two hours -----------|  a window that holds both has what both have: country

Whoever counts goes by the event time of each prediction, so it does not matter when or by whom it is read.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

from streams.monitored_model import MonitoredModel

__all__ = ["Segmentation", "Segmentations", "agreed_by_both", "followed_by", "in_force", "whole_slices"]


@dataclasses.dataclass(frozen=True, slots=True)
class Segmentation:
    """The declared segments and their combinations, sorted, of predictions whose event time is `from_ms` or later."""

    segments: tuple[str, ...] = ()
    cross: tuple[tuple[str, ...], ...] = ()
    from_ms: int = 0

    @classmethod
    def of(cls, model: MonitoredModel) -> Segmentation:
        """What the configuration says, whenever it holds.

        >>> Segmentation.of(MonitoredModel(name="fraud", segments=("b", "a"), cross=(("b", "a"),)))
        Segmentation(segments=('a', 'b'), cross=(('a', 'b'),), from_ms=0)
        """
        cross = {tuple(sorted({*names})) for names in model.cross}
        return cls(tuple(sorted({*model.segments})), tuple(sorted(cross)))

    @property
    def crosses(self) -> tuple[tuple[str, ...], ...]:
        """The names of each slice that a prediction enters beside the one of everything."""
        return (*((name,) for name in self.segments), *self.cross)

    @property
    def slices(self) -> frozenset[frozenset[str]]:
        """The names of each slice; none for everything."""
        return frozenset(map(frozenset, ((), *self.crosses)))

    def is_like(self, other: Segmentation) -> bool:
        """Whether both have the same slices, whenever they hold."""
        return (self.segments, self.cross) == (other.segments, other.cross)


Segmentations: TypeAlias = Sequence[Segmentation]
"""One after another, the first from the beginning of time."""


def in_force(segmentations: Segmentations, time_ms: int) -> int:
    """The index of the one that holds at an event time."""
    return max(bisect.bisect_right([each.from_ms for each in segmentations], time_ms) - 1, 0)


def whole_slices(segmentations: Segmentations, start_ms: int, end_ms: int) -> frozenset[frozenset[str]]:
    """The slices that every prediction of `[start_ms, end_ms)` has entered which belongs to them.

    >>> changed = (Segmentation(("country",)), Segmentation(("country", "device"), from_ms=60))
    >>> sorted(map(sorted, whole_slices(changed, 0, 60)))
    [[], ['country']]
    >>> whole_slices(changed, 0, 120) == whole_slices(changed, 0, 60)
    True
    >>> sorted(map(sorted, whole_slices(changed, 60, 120)))
    [[], ['country'], ['device']]
    """
    first, last = in_force(segmentations, start_ms), in_force(segmentations, end_ms - 1)
    return frozenset.intersection(*(each.slices for each in segmentations[first : last + 1]))


def followed_by(segmentations: Segmentations, wanted: Segmentation) -> tuple[Segmentation, ...]:
    """The same until `wanted` begins, and that from then on. What was to begin then or later is taken back.

    >>> followed_by((Segmentation(), Segmentation(("a",), from_ms=60)), Segmentation(from_ms=60))
    (Segmentation(segments=(), cross=(), from_ms=0),)
    """
    kept = tuple(each for each in segmentations if each.from_ms < wanted.from_ms)
    return kept if kept and kept[-1].is_like(wanted) else (*kept, wanted)


def agreed_by_both(some: Segmentations, others: Segmentations) -> tuple[Segmentation, ...]:
    """At each time what both have: of two of which nobody knows which one predictions were counted by."""
    both: list[Segmentation] = []
    for from_ms in sorted({each.from_ms for each in (*some, *others)}):
        one, other = some[in_force(some, from_ms)], others[in_force(others, from_ms)]
        segments = tuple(sorted({*one.segments} & {*other.segments}))
        cross = tuple(sorted({*one.cross} & {*other.cross}))
        if not both or (both[-1].segments, both[-1].cross) != (segments, cross):
            both.append(Segmentation(segments, cross, from_ms))
    return tuple(both)
