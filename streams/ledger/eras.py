"""How a model is counted, and from which event time on; what may be told of a window, and when it is settled, follow.

A change begins a new era, at a moment at which windows of all sizes begin and which nothing that was counted has
reached:

    12:00          13:00          14:00
      | country, 2h  | country, device, 1h
      |--- 12:00 ----|--- 13:00 ----|        windows of an hour have the slices and the label horizon of their time
      |------------- two hours -----------|  one that holds both has the slices that both have, and waits for both

Whoever counts goes by the event time of each prediction, so it does not matter when or by whom it is read.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

from streams.monitored_model import DAY_MS, MonitoredModel

__all__ = [
    "Era",
    "Eras",
    "agreed_by_both",
    "era_at",
    "first_settled_ms",
    "followed_by",
    "in_force",
    "last_label_ms",
    "longest_horizon_ms",
    "parts_of",
    "settled_ms",
    "settled_until_ms",
    "whole_slices",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Era:
    """The declared segments, their combinations, sorted, and the label horizon of predictions whose event time is
    `from_ms` or later."""

    segments: tuple[str, ...] = ()
    cross: tuple[tuple[str, ...], ...] = ()
    label_horizon_ms: int = DAY_MS
    from_ms: int = 0

    @classmethod
    def of(cls, model: MonitoredModel) -> Era:
        """What the configuration says, whenever it holds.

        >>> Era.of(MonitoredModel(name="fraud", segments=("b", "a"), cross=(("b", "a"),), label_horizon_ms=7))
        Era(segments=('a', 'b'), cross=(('a', 'b'),), label_horizon_ms=7, from_ms=0)
        """
        cross = {tuple(sorted({*names})) for names in model.cross}
        return cls(tuple(sorted({*model.segments})), tuple(sorted(cross)), model.label_horizon_ms)

    @property
    def crosses(self) -> tuple[tuple[str, ...], ...]:
        """The names of each slice that a prediction enters beside the one of everything."""
        return (*((name,) for name in self.segments), *self.cross)

    @property
    def slices(self) -> frozenset[frozenset[str]]:
        """The names of each slice; none for everything."""
        return frozenset(map(frozenset, ((), *self.crosses)))

    def is_like(self, other: Era) -> bool:
        """Whether both count alike, whenever they hold."""
        return dataclasses.replace(other, from_ms=self.from_ms) == self

    def counted(self, model: MonitoredModel) -> MonitoredModel:
        """The model with the label horizon that holds here."""
        if model.label_horizon_ms == self.label_horizon_ms:
            return model
        return dataclasses.replace(model, label_horizon_ms=self.label_horizon_ms)


Eras: TypeAlias = Sequence[Era]
"""One after another, the first from the beginning of time."""


def in_force(eras: Eras, time_ms: int) -> int:
    """The index of the one that holds at an event time."""
    return max(bisect.bisect_right([each.from_ms for each in eras], time_ms) - 1, 0)


def era_at(eras: Eras, time_ms: int) -> Era:
    """The one that holds at an event time."""
    return eras[in_force(eras, time_ms)]


def parts_of(eras: Eras, start_ms: int, end_ms: int) -> list[tuple[Era, int, int]]:
    """The eras that share `[start_ms, end_ms)`, each with the beginning and the end of its part.

    >>> [part[1:] for part in parts_of((Era(), Era(from_ms=60), Era(from_ms=120)), 30, 90)]
    [(30, 60), (60, 90)]
    """
    held = eras[in_force(eras, start_ms) : in_force(eras, end_ms - 1) + 1]
    ends_ms = [*(each.from_ms for each in held[1:]), end_ms]
    return [(era, max(start_ms, era.from_ms), until_ms) for era, until_ms in zip(held, ends_ms, strict=True)]


def whole_slices(eras: Eras, start_ms: int, end_ms: int) -> frozenset[frozenset[str]]:
    """The slices that every prediction of `[start_ms, end_ms)` has entered which belongs to them.

    >>> changed = (Era(("country",)), Era(("country", "device"), from_ms=60))
    >>> sorted(map(sorted, whole_slices(changed, 0, 60)))
    [[], ['country']]
    >>> whole_slices(changed, 0, 120) == whole_slices(changed, 0, 60)
    True
    >>> sorted(map(sorted, whole_slices(changed, 60, 120)))
    [[], ['country'], ['device']]
    """
    return frozenset.intersection(*(era.slices for era, *_ in parts_of(eras, start_ms, end_ms)))


def settled_ms(eras: Eras, end_ms: int) -> int:
    """The watermark from which no label counts any more for any prediction made before `end_ms`: windows that end there
    are final then. So windows become final in order, though one whose own horizon is shorter waits for those before it.

    >>> shortened = (Era(label_horizon_ms=100), Era(label_horizon_ms=10, from_ms=60))
    >>> [settled_ms(shortened, end_ms) for end_ms in (59, 60, 120, 600)]
    [159, 160, 160, 610]
    """
    return last_label_ms(eras, 0, end_ms)


def settled_until_ms(eras: Eras, watermark_ms: int) -> int:
    """The moment before which everything is settled at a watermark.

    >>> shortened = (Era(label_horizon_ms=100), Era(label_horizon_ms=10, from_ms=60))
    >>> [settled_until_ms(shortened, watermark_ms) for watermark_ms in (159, 160, 600)]
    [59, 150, 590]
    """
    for era, from_ms, until_ms in parts_of(eras, 0, watermark_ms + 1):
        if watermark_ms < until_ms + era.label_horizon_ms:
            return max(from_ms, watermark_ms - era.label_horizon_ms)
    return 0


def last_label_ms(eras: Eras, start_ms: int, end_ms: int) -> int:
    """The event time before which labels of predictions of `[start_ms, end_ms)` count.

    >>> shortened = (Era(label_horizon_ms=100), Era(label_horizon_ms=10, from_ms=60))
    >>> [last_label_ms(shortened, *window) for window in ((0, 60), (60, 120), (0, 120))]
    [160, 130, 160]
    """
    return max(until_ms + era.label_horizon_ms for era, _, until_ms in parts_of(eras, start_ms, end_ms))


def first_settled_ms(eras: Eras, start_ms: int, end_ms: int, *, base_ms: int) -> int:
    """The watermark from which no label counts any more for the first of the base windows in `[start_ms, end_ms)`.

    >>> shortened = (Era(label_horizon_ms=100), Era(label_horizon_ms=10, from_ms=60))
    >>> first_settled_ms(shortened, 0, 120, base_ms=20)
    90
    """
    return min(from_ms + base_ms + era.label_horizon_ms for era, from_ms, _ in parts_of(eras, start_ms, end_ms))


def longest_horizon_ms(eras: Eras, *, watermark_ms: int = 0) -> int:
    """The longest label horizon of the predictions that are not settled at a watermark or come later.

    >>> shortened = (Era(label_horizon_ms=100), Era(label_horizon_ms=10, from_ms=60))
    >>> [longest_horizon_ms(shortened, watermark_ms=watermark_ms) for watermark_ms in (159, 160)]
    [100, 10]
    """
    ends_ms = [each.from_ms for each in eras[1:]]
    waiting = [
        era.label_horizon_ms
        for era, end_ms in zip(eras, ends_ms, strict=False)
        if watermark_ms < end_ms + era.label_horizon_ms
    ]
    return max([*waiting, eras[-1].label_horizon_ms])


def followed_by(eras: Eras, wanted: Era) -> tuple[Era, ...]:
    """The same until `wanted` begins, and that from then on. What was to begin then or later is taken back.

    >>> followed_by((Era(), Era(("a",), from_ms=60)), Era(from_ms=60)) == (Era(),)
    True
    """
    kept = tuple(each for each in eras if each.from_ms < wanted.from_ms)
    return kept if kept and kept[-1].is_like(wanted) else (*kept, wanted)


def agreed_by_both(some: Eras, others: Eras) -> tuple[Era, ...]:
    """At each time what both have, and the longer horizon: of two of which nobody knows which one predictions were
    counted by."""
    both: list[Era] = []
    for from_ms in sorted({each.from_ms for each in (*some, *others)}):
        one, other = era_at(some, from_ms), era_at(others, from_ms)
        era = Era(
            segments=tuple(sorted({*one.segments} & {*other.segments})),
            cross=tuple(sorted({*one.cross} & {*other.cross})),
            label_horizon_ms=max(one.label_horizon_ms, other.label_horizon_ms),
            from_ms=from_ms,
        )
        if not both or not both[-1].is_like(era):
            both.append(era)
    return tuple(both)
