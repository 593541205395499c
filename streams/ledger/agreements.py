"""How the windows of each model are counted, as the ledger remembers it, and how that may change.

Counts know nothing of the settings that made them. Were a window counted in part under one base window and in part
under another, its reports would be wrong; so a model that has been counted keeps it. Segments and label horizon follow
in windows that start later (`streams.ledger.eras`), which every worker has to know of before it counts one of them.
Scores are about the positive class of their time: after a change, figures of scores begin anew with windows that start
later.

    stored   what the ledger was counted by        (None: nothing is known, this is the first start that asks)
    wanted   what the configuration says now
    counted  names of the models that have counts: all others may change as they like

How an era begins. Each agreement has an edition, and a shard takes predictions only of one that it was told of:

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

from streams.ledger.eras import Era, agreed_by_both, followed_by, longest_horizon_ms
from streams.monitored_model import MonitoredModel

__all__ = [
    "Agreement",
    "Agreements",
    "Breach",
    "Change",
    "Proposal",
    "agree",
    "breaches",
    "changes_wanted",
    "concluded",
    "joined",
]

CLASSES = "classes"
"""What binary and multiclass models answer: the same counts, read in two ways."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How one model's windows are counted.

    `answers` says which kind of counts there are. Sums of scores are about `positive_class` in windows that start at
    `scored_from_ms` or later; those of earlier ones mean something else. What changes in windows that start later
    stands in `eras`.
    """

    base_window_ms: int
    answers: str
    eras: tuple[Era, ...]
    positive_class: str | None = None
    scored_from_ms: int = 0

    @classmethod
    def of(cls, model: MonitoredModel) -> Agreement:
        """What the configuration says."""
        return cls(
            base_window_ms=model.base_window_ms,
            answers=CLASSES if model.task.counts_classes else str(model.task),
            eras=(Era.of(model),),
            positive_class=model.positive_class,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Agreements:
    """Those of all models, as one edition of the charter has them; `models` None: nothing was agreed on."""

    edition: int = 0
    models: Mapping[str, Agreement] | None = None

    def eras(self, model: MonitoredModel) -> tuple[Era, ...]:
        """How a model is and was counted, whatever this worker's configuration says."""
        if self.models is None:
            return (Era.of(model),)
        agreement = self.models.get(model.name)
        return (Era(),) if agreement is None else agreement.eras

    def longest_horizon_ms(self, *, watermark_ms: int = 0) -> int:
        """The longest label horizon of the predictions of any model that are not settled at a watermark or come later;
        0 where nothing was agreed on."""
        agreed = (self.models or {}).values()
        return max((longest_horizon_ms(each.eras, watermark_ms=watermark_ms) for each in agreed), default=0)


@dataclasses.dataclass(frozen=True, slots=True)
class Breach:
    """A setting of a counted model that is not what its windows were counted by; `setting` is a field's name."""

    model: str
    setting: str
    stored: object
    wanted: object


_FIXED = ("base_window_ms", "answers")


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
    """What the ledger is to remember from now on, where nothing is breached. Eras stay as they are agreed.

    Args:
        later_ms: an event time that nobody has read yet.
    """
    agreed = {}
    for name in sorted({*(stored or {}), *wanted}):
        now = _wanted(wanted, name)
        if stored is not None:
            before = _stored(stored, name)
            now = dataclasses.replace(now, eras=before.eras)
            if name in counted:
                is_kept = before.positive_class == now.positive_class
                now = dataclasses.replace(now, scored_from_ms=before.scored_from_ms if is_kept else later_ms)
        agreed[name] = now
    return agreed


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A new era of a model, from a moment at which windows of this length begin, as those of all sizes do."""

    segments: tuple[str, ...]
    cross: tuple[tuple[str, ...], ...]
    label_horizon_ms: int
    step_ms: int

    @classmethod
    def to(cls, era: Era, *, step_ms: int) -> Change:
        """Have models counted so."""
        return cls(segments=era.segments, cross=era.cross, label_horizon_ms=era.label_horizon_ms, step_ms=step_ms)

    def era(self, from_ms: int) -> Era:
        """What holds from that event time on."""
        return Era(self.segments, self.cross, self.label_horizon_ms, from_ms)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Changes by model that are not concluded yet; `edition` is the one that holds predictions back meanwhile."""

    edition: int
    changes: Mapping[str, Change]


def changes_wanted(
    stored: Mapping[str, Agreement] | None, wanted: Mapping[str, MonitoredModel]
) -> Mapping[str, Change]:
    """The models that are to be counted in another way than the newest that was agreed on."""
    changes = {}
    for name in sorted({*stored, *wanted}) if stored is not None else ():
        model = wanted.get(name) or MonitoredModel(name=name)
        now = Era.of(model)
        if not now.is_like(_stored(stored or {}, name).eras[-1]):
            changes[name] = Change.to(now, step_ms=math.lcm(model.base_window_ms, *model.report_windows_ms))
    return changes


def concluded(
    stored: Mapping[str, Agreement], changes: Mapping[str, Change], *, counted: Collection[str], high_ms: int
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
        agreed[name] = dataclasses.replace(before, eras=followed_by(before.eras, change.era(from_ms)))
    return agreed


def joined(
    stored: Mapping[str, Agreement], known: Mapping[str, Agreement]
) -> tuple[Mapping[str, Agreement], Mapping[str, Change]]:
    """What to make of a charter that has lost its tail, by a worker that still knows what stood there.

    Predictions may have been counted by either since. Returns: agreements that claim only what both have, and the
    changes that lead to the known eras again.
    """
    agreed, changes = dict(stored), {}
    for name, lost in known.items():
        before = _stored(stored, name)
        if before.eras != lost.eras:
            agreed[name] = dataclasses.replace(before, eras=agreed_by_both(before.eras, lost.eras))
            changes[name] = Change.to(lost.eras[-1], step_ms=lost.base_window_ms)
    return agreed, changes


def _stored(stored: Mapping[str, Agreement], name: str) -> Agreement:
    return stored.get(name) or Agreement.of(MonitoredModel(name=name))


def _wanted(wanted: Mapping[str, MonitoredModel], name: str) -> Agreement:
    return Agreement.of(wanted.get(name) or MonitoredModel(name=name))
