"""How the windows of each model are counted, as the ledger remembers it, and which changes it cannot bear.

Counts know nothing of the settings that made them. Were a window counted in part under one base window, horizon or list
of segments and in part under another, its reports would be wrong; so a model that has been counted keeps them. Scores
are about the positive class of their time: after a change, figures of scores begin anew with windows that start later.

    stored   what the ledger was counted by        (None: nothing is known, this is the first start that asks)
    wanted   what the configuration says now
    counted  names of the models that have counts: all others may change as they like
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from streams.monitored_model import MonitoredModel

__all__ = ["Agreement", "Breach", "agree", "breaches"]

CLASSES = "classes"
"""What binary and multiclass models answer: the same counts, read in two ways."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How one model's windows are counted.

    `answers` says which kind of counts there are. Sums of scores are about `positive_class` in windows that start at
    `scored_from_ms` or later; those of earlier ones mean something else.
    """

    base_window_ms: int
    label_horizon_ms: int
    segments: tuple[str, ...]
    cross: tuple[tuple[str, ...], ...]
    answers: str
    positive_class: str | None = None
    scored_from_ms: int = 0

    @classmethod
    def of(cls, model: MonitoredModel) -> Agreement:
        """What the configuration says."""
        return cls(
            base_window_ms=model.base_window_ms,
            label_horizon_ms=model.label_horizon_ms,
            segments=tuple(sorted(model.segments)),
            cross=tuple(sorted(tuple(sorted(names)) for names in model.cross)),
            answers=CLASSES if model.task.counts_classes else str(model.task),
            positive_class=model.positive_class,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Breach:
    """A setting of a counted model that is not what its windows were counted by; `setting` is a field's name."""

    model: str
    setting: str
    stored: object
    wanted: object


_FIXED = ("base_window_ms", "label_horizon_ms", "segments", "cross", "answers")


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
    """What the ledger is to remember from now on, where nothing is breached.

    Args:
        later_ms: an event time that nobody has read yet.
    """
    agreed = {}
    for name in sorted({*(stored or {}), *wanted}):
        now = _wanted(wanted, name)
        if stored is not None and name in counted:
            before = _stored(stored, name)
            is_kept = before.positive_class == now.positive_class
            now = dataclasses.replace(now, scored_from_ms=before.scored_from_ms if is_kept else later_ms)
        agreed[name] = now
    return agreed


def _stored(stored: Mapping[str, Agreement], name: str) -> Agreement:
    return stored.get(name) or Agreement.of(MonitoredModel(name=name))


def _wanted(wanted: Mapping[str, MonitoredModel], name: str) -> Agreement:
    return Agreement.of(wanted.get(name) or MonitoredModel(name=name))
