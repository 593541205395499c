"""How the windows of each model are counted, as the ledger remembers it, and how that may change.

Counts know nothing of the settings that made them. Were a window counted in part under one base window or horizon and
in part under another, its reports would be wrong; so a model that has been counted keeps them. Segments follow in
windows that start later (`streams.ledger.segmentation`), which every worker has to know of before it counts one of
them. Scores are about the positive class of their time: after a change, figures of scores begin anew with windows that
start later.

    stored   what the ledger was counted by        (None: nothing is known, this is the first start that asks)
    wanted   what the configuration says now
    counted  names of the models that have counts: all others may change as they like

How segments change. Each agreement has an edition, and a shard takes predictions only of one that it was told of:

    proposed      the charter says what is wanted and a new edition     predictions are taken by the old one still
    held          every shard was told of the edition                   none are taken: nobody knows its agreement yet
    concluded     the largest event time of all shards stands still, so the change holds from the next common beginning
                  of windows after it; the charter has the agreement, its edition, and no proposal any more
    followed      shards are told of that edition as workers that know it find them
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping

from streams.ledger.segmentation import Segmentation, agreed_by_both, followed_by
from streams.monitored_model import MonitoredModel

__all__ = [
    "Agreement",
    "Agreements",
    "Breach",
    "Proposal",
    "SegmentChange",
    "agree",
    "breaches",
    "changed_segments",
    "concluded",
    "joined",
]

CLASSES = "classes"
"""What binary and multiclass models answer: the same counts, read in two ways."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How one model's windows are counted.

    `answers` says which kind of counts there are. Sums of scores are about `positive_class` in windows that start at
    `scored_from_ms` or later; those of earlier ones mean something else. `segments` and `cross` hold from
    `segmented_from_ms` on, before that `segmented_before`.
    """

    base_window_ms: int
    label_horizon_ms: int
    segments: tuple[str, ...]
    cross: tuple[tuple[str, ...], ...]
    answers: str
    positive_class: str | None = None
    scored_from_ms: int = 0
    segmented_from_ms: int = 0
    segmented_before: tuple[Segmentation, ...] = ()

    @classmethod
    def of(cls, model: MonitoredModel) -> Agreement:
        """What the configuration says."""
        segmentation = Segmentation.of(model)
        return cls(
            base_window_ms=model.base_window_ms,
            label_horizon_ms=model.label_horizon_ms,
            segments=segmentation.segments,
            cross=segmentation.cross,
            answers=CLASSES if model.task.counts_classes else str(model.task),
            positive_class=model.positive_class,
        )

    @property
    def segmentations(self) -> tuple[Segmentation, ...]:
        """What it is and was counted by, from the beginning of time."""
        return (*self.segmented_before, Segmentation(self.segments, self.cross, self.segmented_from_ms))

    def segmented(self, segmentations: tuple[Segmentation, ...]) -> Agreement:
        """The same with other segments."""
        *before, newest = segmentations
        return dataclasses.replace(
            self,
            segments=newest.segments,
            cross=newest.cross,
            segmented_from_ms=newest.from_ms,
            segmented_before=tuple(before),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Agreements:
    """Those of all models, as one edition of the charter has them; `models` None: nothing was agreed on."""

    edition: int = 0
    models: Mapping[str, Agreement] | None = None

    def segmentations(self, model: MonitoredModel) -> tuple[Segmentation, ...]:
        """By which segments a model is and was counted, whatever this worker's configuration says."""
        if self.models is None:
            return (Segmentation.of(model),)
        agreement = self.models.get(model.name)
        return (Segmentation(),) if agreement is None else agreement.segmentations


@dataclasses.dataclass(frozen=True, slots=True)
class Breach:
    """A setting of a counted model that is not what its windows were counted by; `setting` is a field's name."""

    model: str
    setting: str
    stored: object
    wanted: object


_FIXED = ("base_window_ms", "label_horizon_ms", "answers")


def breaches(
    stored: Mapping[str, Agreement] | None, wanted: Mapping[str, MonitoredModel], *, counted: Collection[str]
) -> list[Breach]:
    """Every setting that a counted model would have to keep, by model and setting."""
    if stored is None:
        return []
    found = []
    for name in sorted({*stored, *wanted} & {*counted}):
        before, now = _stored(stored, name), _wanted(wanted, name)
        found += [
            Breach(name, setting, getattr(before, setting), getattr(now, setting))
            for setting in _FIXED
            if getattr(before, setting) != getattr(now, setting)
        ]
    return found


def agree(
    stored: Mapping[str, Agreement] | None,
    wanted: Mapping[str, MonitoredModel],
    *,
    counted: Collection[str],
    later_ms: int,
) -> Mapping[str, Agreement]:
    """What the ledger is to remember from now on, where nothing is breached. Segments stay as they are agreed.

    Args:
        later_ms: an event time that nobody has read yet.
    """
    agreed = {}
    for name in sorted({*(stored or {}), *wanted}):
        now = _wanted(wanted, name)
        if stored is not None:
            before = _stored(stored, name)
            now = now.segmented(before.segmentations)
            if name in counted:
                is_kept = before.positive_class == now.positive_class
                now = dataclasses.replace(now, scored_from_ms=before.scored_from_ms if is_kept else later_ms)
        agreed[name] = now
    return agreed


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SegmentChange:
    """Other segments for a model, from a moment at which windows of this length begin, as those of all sizes do."""

    segments: tuple[str, ...]
    cross: tuple[tuple[str, ...], ...]
    step_ms: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Changes by model that are not concluded yet; `edition` is the one that holds predictions back meanwhile."""

    edition: int
    changes: Mapping[str, SegmentChange]


def changed_segments(
    stored: Mapping[str, Agreement] | None, wanted: Mapping[str, MonitoredModel]
) -> Mapping[str, SegmentChange]:
    """The models whose segments are to be others than the newest that were agreed on."""
    changes = {}
    for name in sorted({*stored, *wanted}) if stored is not None else ():
        model = wanted.get(name) or MonitoredModel(name=name)
        now = Segmentation.of(model)
        if not now.is_like(_stored(stored or {}, name).segmentations[-1]):
            step_ms = math.lcm(model.base_window_ms, *model.report_windows_ms)
            changes[name] = SegmentChange(segments=now.segments, cross=now.cross, step_ms=step_ms)
    return changes


def concluded(
    stored: Mapping[str, Agreement], changes: Mapping[str, SegmentChange], *, counted: Collection[str], high_ms: int
) -> Mapping[str, Agreement]:
    """What is agreed once every shard holds predictions back.

    Args:
        counted: names of the models that have counts; a change holds from the beginning of time for all others.
        high_ms: the largest event time of a prediction that any shard may have taken.
    """
    agreed = dict(stored)
    for name, change in changes.items():
        from_ms = (high_ms // change.step_ms + 1) * change.step_ms if name in counted else 0
        before = _stored(stored, name)
        wanted = Segmentation(change.segments, change.cross, from_ms)
        agreed[name] = before.segmented(followed_by(before.segmentations, wanted))
    return agreed


def joined(
    stored: Mapping[str, Agreement], known: Mapping[str, Agreement]
) -> tuple[Mapping[str, Agreement], Mapping[str, SegmentChange]]:
    """What to make of a charter that has lost its tail, by a worker that still knows what stood there.

    Predictions may have been counted by either since. Returns: agreements that claim only what both have, and the
    changes that lead to the known segments again.
    """
    agreed, changes = dict(stored), {}
    for name, lost in known.items():
        before = _stored(stored, name)
        newest = lost.segmentations[-1]
        if before.segmentations != lost.segmentations:
            agreed[name] = before.segmented(agreed_by_both(before.segmentations, lost.segmentations))
            changes[name] = SegmentChange(segments=newest.segments, cross=newest.cross, step_ms=lost.base_window_ms)
    return agreed, changes


def _stored(stored: Mapping[str, Agreement], name: str) -> Agreement:
    return stored.get(name) or Agreement.of(MonitoredModel(name=name))


def _wanted(wanted: Mapping[str, MonitoredModel], name: str) -> Agreement:
    return Agreement.of(wanted.get(name) or MonitoredModel(name=name))
