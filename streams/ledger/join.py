"""The join rules for one request id.

An entry holds the predictions of one id by (model version, failed or not) and its labels by (time, class,
model addressed). What an entry becomes depends on its records and on each one's *arrival*, the later of
its event time and its partition's watermark just before it; never on when or how often it was read.

    prediction time t                                 t + horizon
    ---- skew ---|------------------------------------------|---->  event time
         a label with its time in here, that arrives by t + horizon,
         matches a prediction that arrives by the label's time + skew

Times are whole milliseconds; both ends are included.

Of a multilabel prediction the winner is a list. Of a ranking one every label that matches counts: what wins is the
set of their items, with the time of the earliest. Lists are offered to predictions that are lists alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from schemas.limits import LIST_ENTRIES
from streams.identity import ABSENT, ANY_LABEL
from streams.ledger.fates import LABEL_RANK, LabelFate, PredictionFate
from streams.ledger.item_lists import Items, set_of, united
from streams.ledger.parts import LabelRow, PredictionRow
from streams.ledger.terms import Terms

__all__ = [
    "MAX_LABELS",
    "MAX_LABELS_OF_RANKINGS",
    "Entry",
    "HeldLabel",
    "HeldPrediction",
    "Tally",
    "forget_overdue",
    "join_label",
    "join_prediction",
]

MAX_LABELS = 8
"""Labels kept per id, where no model ranks items. The earliest leaves; more than a handful means that the id is not an
id."""


MAX_LABELS_OF_RANKINGS = LIST_ENTRIES
"""Labels kept per id, where some model ranks items: they come one by one."""


@dataclasses.dataclass(slots=True)
class HeldPrediction:
    """A prediction that is remembered, with the label that counts for it so far."""

    terms: Terms
    time_ms: int
    arrival_ms: int
    predicted: bytes
    failed: bool
    slices: tuple[bytes, ...]
    value: float | None = None
    items: Items | None = None
    winner_ms: int = 0
    winner: bytes = ABSENT
    winner_value: float | None = None
    winner_items: Items | None = None

    @property
    def matched(self) -> bool:
        """Whether some label counts for it."""
        return self.winner != ABSENT


@dataclasses.dataclass(slots=True)
class HeldLabel:
    """A label that is remembered, with its fate so far."""

    time_ms: int
    arrival_ms: int
    label: bytes
    model: bytes
    value: float | None = None
    items: Items | None = None
    fate: LabelFate = LabelFate.HELD


@dataclasses.dataclass(slots=True)
class Entry:
    """All that is remembered of one request id, in the order of reading."""

    predictions: list[HeldPrediction] = dataclasses.field(default_factory=list)
    labels: list[HeldLabel] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.predictions or self.labels)

    def copy(self) -> Entry:
        """An independent entry."""
        return Entry(
            [dataclasses.replace(prediction) for prediction in self.predictions],
            [dataclasses.replace(label) for label in self.labels],
        )


_Held = TypeVar("_Held", HeldPrediction, HeldLabel)


class Tally(Protocol):
    """Where the join puts what it decides, and where it looks up a class name."""

    def count(self, prediction: HeldPrediction, delta: int) -> None:
        """Add `delta` to the cell of the prediction and its winner, in each of its slices, and `delta` times what the
        two contribute to the sums of its window."""

    def prediction(self, fate: PredictionFate, delta: int = 1) -> None:
        """Add `delta` to a fate of the predictions."""

    def label(self, fate: LabelFate, delta: int = 1) -> None:
        """Add `delta` to a fate of the labels."""

    def class_text(self, label: bytes) -> bytes:
        """The class name behind a hash, in UTF-8; needed only between labels of one time."""


def forget_overdue(entry: Entry, watermark_ms: int, label_hold_ms: int, tally: Tally) -> None:
    """Drop what no later record can change: predictions past their horizon, labels past the largest skew."""
    for prediction in _drop(entry.predictions, lambda p: watermark_ms > p.time_ms + p.terms.horizon_ms):
        if not prediction.failed and not prediction.matched:
            tally.prediction(PredictionFate.WAITING, -1)
            tally.prediction(PredictionFate.NEVER_LABELLED)
    for label in _drop(entry.labels, lambda held: watermark_ms > held.time_ms + label_hold_ms):
        if label.fate is LabelFate.HELD:
            tally.label(LabelFate.HELD, -1)
            tally.label(LabelFate.UNMATCHED)


def _drop(items: list[_Held], is_overdue: Callable[[_Held], bool]) -> Iterator[_Held]:
    dropped = [item for item in items if is_overdue(item)]
    if dropped:
        items[:] = [item for item in items if not is_overdue(item)]
    return iter(dropped)


def join_prediction(entry: Entry, row: PredictionRow, terms: Terms, tally: Tally) -> bool:
    """Apply one prediction; returns whether the entry now holds one more.

    The caller has forgotten what is overdue in the entry.
    """
    if row.arrival_ms > row.time_ms + terms.horizon_ms:
        tally.prediction(PredictionFate.LATE)
        return False
    for held in entry.predictions:
        if held.terms.model_version == terms.model_version and held.failed == row.failed:
            _repeat_prediction(entry, held, row, tally)
            return False
    prediction = HeldPrediction(
        terms, row.time_ms, row.arrival_ms, row.predicted, row.failed, row.slices, row.value, row.items
    )
    entry.predictions.append(prediction)
    tally.count(prediction, 1)
    if row.failed:
        tally.prediction(PredictionFate.FAILED)
        return True
    tally.prediction(PredictionFate.WAITING)
    _offer_held_labels(entry, prediction, tally)
    return True


def _repeat_prediction(entry: Entry, held: HeldPrediction, row: PredictionRow, tally: Tally) -> None:
    if (held.time_ms, held.predicted) != (row.time_ms, row.predicted):
        tally.prediction(PredictionFate.CONFLICTING)
        return
    tally.prediction(PredictionFate.DUPLICATE)
    # The earliest arrival counts, whichever copy was read first.
    if row.arrival_ms < held.arrival_ms:
        held.arrival_ms = row.arrival_ms
        if not held.failed:
            _offer_held_labels(entry, held, tally)


def _offer_held_labels(entry: Entry, prediction: HeldPrediction, tally: Tally) -> None:
    for label in entry.labels:
        if label.model in (ABSENT, prediction.terms.model):
            fate = _offer(prediction, label, tally)
            if LABEL_RANK[fate] > LABEL_RANK[label.fate]:
                tally.label(label.fate, -1)
                tally.label(fate)
                label.fate = fate


def join_label(entry: Entry, row: LabelRow, tally: Tally, *, max_labels: int = MAX_LABELS) -> bool:
    """Apply one label; returns whether the entry now holds one more.

    The caller has forgotten what is overdue in the entry, and does so again afterwards: a label that
    comes after its time in memory serves the predictions that wait for it and is not kept.
    """
    identity = (row.time_ms, row.label, row.model)
    known = next((held for held in entry.labels if (held.time_ms, held.label, held.model) == identity), None)
    fate = LabelFate.HELD
    if known is not None:
        fate = LabelFate.DUPLICATE
        known.arrival_ms = min(known.arrival_ms, row.arrival_ms)
    for prediction in entry.predictions:
        if not prediction.failed and row.model in (ABSENT, prediction.terms.model):
            offered = _offer(prediction, row, tally)
            fate = max(fate, offered, key=LABEL_RANK.__getitem__)
    tally.label(fate)
    if known is not None:
        return False
    entry.labels.append(HeldLabel(row.time_ms, row.arrival_ms, row.label, row.model, row.value, row.items, fate))
    if len(entry.labels) > max_labels:
        earliest = min(entry.labels, key=lambda held: held.time_ms)
        entry.labels.remove(earliest)
        if earliest.fate is LabelFate.HELD:
            tally.label(LabelFate.HELD, -1)
            tally.label(LabelFate.UNMATCHED)
    return True


def _offer(prediction: HeldPrediction, offered: HeldLabel | LabelRow, tally: Tally) -> LabelFate:
    """Offer a label to a prediction that it is addressed to; the better of two labels counts."""
    if not _matches(prediction, offered.time_ms, offered.arrival_ms):
        return LabelFate.OUT_OF_RANGE
    if prediction.terms.is_ranking:
        return _add_relevant(prediction, offered, tally)
    if prediction.terms.is_multilabel:
        return _offer_set(prediction, offered, tally)
    if offered.items is not None:
        return LabelFate.OUT_OF_RANGE
    label = dict(prediction.terms.class_aliases).get(offered.label, offered.label)
    before = prediction.winner
    if before == ABSENT:
        tally.prediction(PredictionFate.WAITING, -1)
        tally.prediction(PredictionFate.MATCHED)
    elif not _is_better(prediction, offered.time_ms, label, tally):
        return LabelFate.DUPLICATE if before == label else LabelFate.CORRECTED
    tally.count(prediction, -1)
    prediction.winner_ms, prediction.winner, prediction.winner_value = offered.time_ms, label, offered.value
    tally.count(prediction, 1)
    if before == ABSENT:
        return LabelFate.MATCHED
    return LabelFate.DUPLICATE if before == label else LabelFate.CORRECTED


def _add_relevant(prediction: HeldPrediction, offered: HeldLabel | LabelRow, tally: Tally) -> LabelFate:
    """Add the items of a label to those that a ranking is judged by."""
    known, is_first = prediction.winner_items or (), prediction.winner == ABSENT
    items = united(known, _items_of(prediction.terms, offered))
    time_ms = offered.time_ms if is_first else min(offered.time_ms, prediction.winner_ms)
    if not is_first and (items, time_ms) == (known, prediction.winner_ms):
        return LabelFate.DUPLICATE
    _replace_set(prediction, time_ms, items, tally)
    return LabelFate.MATCHED if is_first or items != known else LabelFate.DUPLICATE


def _offer_set(prediction: HeldPrediction, offered: HeldLabel | LabelRow, tally: Tally) -> LabelFate:
    """Offer a set of classes; the better of two sets counts."""
    items, before = _items_of(prediction.terms, offered), prediction.winner_items
    if prediction.winner == ABSENT or _is_better_set(prediction, offered.time_ms, items, tally):
        _replace_set(prediction, offered.time_ms, items, tally)
    if before is None:
        return LabelFate.MATCHED
    return LabelFate.DUPLICATE if before == items else LabelFate.CORRECTED


def _replace_set(prediction: HeldPrediction, time_ms: int, items: Items, tally: Tally) -> None:
    if prediction.winner == ABSENT:
        tally.prediction(PredictionFate.WAITING, -1)
        tally.prediction(PredictionFate.MATCHED)
    tally.count(prediction, -1)
    prediction.winner_ms, prediction.winner, prediction.winner_items = time_ms, ANY_LABEL, items
    tally.count(prediction, 1)


def _items_of(terms: Terms, offered: HeldLabel | LabelRow) -> Items:
    """What a label names, as a set; a single name is a list of one."""
    aliases = dict(terms.class_aliases)
    return set_of(
        aliases.get(item, item) for item in (offered.items if offered.items is not None else (offered.label,))
    )


def _is_better_set(prediction: HeldPrediction, time_ms: int, items: Items, tally: Tally) -> bool:
    """Whether (time, class texts in order) beats the winner; see `_is_better`."""
    if time_ms != prediction.winner_ms:
        return (time_ms > prediction.winner_ms) != prediction.terms.first_label_wins
    if items == prediction.winner_items:
        return False
    texts, before = (sorted(map(tally.class_text, some)) for some in (items, prediction.winner_items or ()))
    return (texts > before) != prediction.terms.first_label_wins


def _matches(prediction: HeldPrediction, time_ms: int, arrival_ms: int) -> bool:
    terms = prediction.terms
    return (
        -terms.skew_ms <= time_ms - prediction.time_ms <= terms.horizon_ms
        and arrival_ms <= prediction.time_ms + terms.horizon_ms
        and prediction.arrival_ms <= time_ms + terms.skew_ms
    )


def _is_better(prediction: HeldPrediction, time_ms: int, label: bytes, tally: Tally) -> bool:
    """Whether (time, class text) beats the winner: the greatest does, or the smallest where the first label wins."""
    if time_ms != prediction.winner_ms:
        return (time_ms > prediction.winner_ms) != prediction.terms.first_label_wins
    if label == prediction.winner:
        return False
    is_greater = tally.class_text(label) > tally.class_text(prediction.winner)
    return is_greater != prediction.terms.first_label_wins
