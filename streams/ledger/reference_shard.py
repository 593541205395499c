"""One shard of the ledger in memory.

`ReferenceShard.commit` and the commit script take the same steps in the same order, so that they can be
read side by side:

    store definitions -> check offsets -> load terms -> join rows -> hold back or write -> forget
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from streams.identity import ABSENT, ANY_LABEL, EVERYTHING, FAILED, OTHER, OTHER_WRONG, SUM
from streams.ledger.fates import LabelFate, PredictionFate
from streams.ledger.item_lists import compared_sets, ranks_of
from streams.ledger.join import MAX_LABELS, Entry, HeldPrediction, forget_overdue, join_label, join_prediction
from streams.ledger.parts import (
    NEVER_MS,
    CommitReply,
    Definitions,
    Gap,
    NameList,
    Outcome,
    Part,
    PartReply,
    PredictionRow,
    Role,
    Source,
    SourceState,
)
from streams.ledger.terms import Terms
from streams.pair_sums.contribution import regression_contribution, score_contribution
from streams.pair_sums.delay import delay_name
from streams.pair_sums.lists import multilabel_contribution, ranking_contribution
from streams.ports import Cell
from streams.signals.buckets import kept_values
from streams.signals.sums import SignalTotals
from streams.signals.words import signals_of
from streams.stability.latency_sums import sums_of_words
from streams.stability.latency_words import NOTHING

__all__ = ["FORGET_BUCKET_MS", "ReferenceShard", "Window"]

FORGET_BUCKET_MS = 60_000
"""Ids are remembered for forgetting by the minute in which they become overdue."""

WINDOWS_DROPPED_AT_ONCE = 10

Window = tuple[bytes, int]
"""Model version and start of a base window."""
_Tallied = tuple[Terms, int, bytes, tuple[bytes, ...], bytes]
"""Terms, window start, prediction, slices and label."""


def _window_counts() -> dict[Window, collections.Counter[Cell]]:
    return collections.defaultdict(collections.Counter)


@dataclasses.dataclass(slots=True)
class ReferenceShard:
    """One shard. A deep copy of it is a backup, and putting the copy back is what a rollback does."""

    label_hold_ms: int
    keep_windows_ms: int
    max_labels: int = MAX_LABELS
    ledger_id: str | None = None
    edition: int = 0
    sources: dict[Source, SourceState] = dataclasses.field(default_factory=dict)
    entries: dict[bytes, Entry] = dataclasses.field(default_factory=dict)
    overdue: dict[int, list[bytes]] = dataclasses.field(default_factory=dict)
    cells: dict[Window, collections.Counter[Cell]] = dataclasses.field(default_factory=_window_counts)
    window_finality_ms: dict[Window, int] = dataclasses.field(default_factory=dict)
    changes: dict[Window, int] = dataclasses.field(default_factory=dict)
    mark: int = 0
    reported_ms: dict[bytes, int] = dataclasses.field(default_factory=dict)
    fates: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    names: dict[bytes, str] = dataclasses.field(default_factory=dict)
    terms: dict[bytes, Terms] = dataclasses.field(default_factory=dict)
    name_lists: dict[bytes, NameList] = dataclasses.field(default_factory=dict)
    gaps: list[Gap] = dataclasses.field(default_factory=list)

    @property
    def watermark_ms(self) -> int:
        """The smallest watermark over all sources."""
        return min((state.watermark_ms for state in self.sources.values()), default=NEVER_MS)

    def commit(self, parts: Sequence[Part], definitions: Definitions, *, forget_limit: int) -> CommitReply:
        """Apply the parts whose expected offset is the stored one; see `streams.ports.Ledger.commit`."""
        self._store_definitions(definitions)
        draft = _Draft(self)
        outcomes = [draft.apply(part) for part in parts]
        draft.fold()
        if draft.unknown_terms or draft.undecided:
            held = tuple(PartReply(Outcome.HELD_BACK, self._stored(part)) for part in parts)
            undecided, unknown = tuple(sorted(draft.undecided)), tuple(sorted(draft.unknown_terms))
            return CommitReply(held, self.watermark_ms, undecided, unknown)
        draft.write()
        self.forget(limit=forget_limit)
        replies = (PartReply(outcome, self._stored(part)) for outcome, part in zip(outcomes, parts, strict=True))
        return CommitReply(tuple(replies), self.watermark_ms)

    def forget(self, *, limit: int, in_part: bool = False) -> int:
        """Visit up to `limit` ids that are overdue, and drop windows that are no longer kept.

        Whole minutes only; `in_part` also visits the minute in which the watermark stands.
        """
        watermark_ms = self.watermark_ms
        draft, visited = _Draft(self), 0
        while visited < limit:
            bucket_ms = min(self.overdue, default=None)
            if bucket_ms is None or bucket_ms - in_part * FORGET_BUCKET_MS > watermark_ms:
                break
            keys = self.overdue.pop(bucket_ms)
            if keys[limit - visited :]:
                self.overdue[bucket_ms] = keys[limit - visited :]
            for key in keys[: limit - visited]:
                visited += 1
                if draft.entry(key, watermark_ms) and bucket_ms > watermark_ms:
                    draft.remember(key, bucket_ms)  # not overdue yet: look again a minute later
        draft.write()
        self._drop_windows(watermark_ms)
        return visited

    def _drop_windows(self, watermark_ms: int) -> None:
        """A few at a time, so that no commit takes long, and none before its last report: a watermark may leap."""
        by_finality = sorted((finality_ms, window) for window, finality_ms in self.window_finality_ms.items())
        for finality_ms, window in by_finality[:WINDOWS_DROPPED_AT_ONCE]:
            reported_ms = self.reported_ms.get(window[0], NEVER_MS)
            if min(watermark_ms, reported_ms) > finality_ms + self.keep_windows_ms:
                del self.window_finality_ms[window], self.cells[window]
                self.changes.pop(window, None)

    def _stored(self, part: Part) -> int | None:
        state = self.sources.get(part.source)
        return state.next if state else None

    def _store_definitions(self, definitions: Definitions) -> None:
        self.names.update(definitions.names)
        self.terms.update({name: Terms.unpack(packed) for name, packed in definitions.terms.items()})
        for group, names in definitions.name_lists.items():
            stored = self.name_lists.get(group, NameList())
            # What is counted under `__other__` would be looked for under its own name: full lists stay as they are.
            if not stored.full:
                self.name_lists[group] = stored.merged(names)


class _Draft:
    """Everything that a commit would change, kept apart until nothing can hold it back."""

    def __init__(self, shard: ReferenceShard) -> None:
        self._shard = shard
        self._watermark_ms = shard.watermark_ms
        self._entries: dict[bytes, Entry] = {}
        self._sources: dict[Source, SourceState] = {}
        self._cells: dict[Window, collections.Counter[Cell]] = _window_counts()
        self._tally: collections.Counter[_Tallied] = collections.Counter()
        self._finality_ms: dict[Window, int] = {}
        self._fates: collections.Counter[str] = collections.Counter()
        self._overdue: dict[int, list[bytes]] = collections.defaultdict(list)
        self._gaps: list[Gap] = []
        self.unknown_terms: dict[bytes, None] = {}
        self.undecided: dict[tuple[bytes, bytes], None] = {}

    def apply(self, part: Part) -> Outcome:
        """Join one part's rows if its expected offset is the stored one, and its edition the shard's."""
        if part.source.role is Role.PREDICTIONS and part.rows and part.edition != self._shard.edition:
            return Outcome.OUTDATED
        state = self._sources.get(part.source) or self._shard.sources.get(part.source)
        if state is None:
            if not part.register:
                return Outcome.UNKNOWN_SOURCE
            state = SourceState(part.expected, NEVER_MS, self._watermark_ms)
        if state.next != part.expected:
            return Outcome.REFUSED
        if part.gap_to_ms:
            lost = max(part.next - part.expected, 0)
            self._fates[f"{part.source.role}:lost"] += lost
            self._gaps.append(Gap(source=part.source, lost=lost, from_ms=state.watermark_ms, to_ms=part.gap_to_ms))
        if part.source.role is Role.PREDICTIONS:
            rows = self._join_predictions(part, state.watermark_ms)
        else:
            rows = self._join_labels(part, state.watermark_ms)
        self._fates[f"{part.source.role}:read"] += rows + part.rejected
        self._fates[f"{part.source.role}:rejected"] += part.rejected
        self._sources[part.source] = SourceState(
            part.next,
            max(state.high_ms, part.high_ms),
            max(state.watermark_ms, part.watermark_ms, part.raise_to_ms),
        )
        return Outcome.APPLIED

    def _join_predictions(self, part: Part, watermark_ms: int) -> int:
        count = 0
        for at, row in enumerate(part.unpack_predictions()):
            count += 1
            terms = self._shard.terms.get(row.terms)
            if terms is None:
                self.unknown_terms[row.terms] = None
                continue
            # A partition that was raised while idle is trusted no further back than its raised watermark.
            row = dataclasses.replace(row, arrival_ms=max(row.arrival_ms, watermark_ms))
            entry = self.entry(row.key, self._watermark_ms)
            if join_prediction(entry, row, terms, self):
                self.remember(row.key, row.time_ms + terms.horizon_ms)
                # What was admitted is never taken back, and its repeats are not admitted.
                word = part.latency_word(at)
                if word != NOTHING:
                    self._add_sums(row, terms, sums_of_words(word))
                for signal, value in signals_of(part.signals, at).items():
                    self._add_sums(row, terms, SignalTotals.of_values(kept_values(np.array([value]))).sums(signal))
        return count

    def _add_sums(self, row: PredictionRow, terms: Terms, increments: Mapping[str, int]) -> None:
        start_ms = row.time_ms // terms.base_window_ms * terms.base_window_ms
        sums = self._cells[terms.counted_as, start_ms]
        for name, increment in increments.items():
            for piece in (EVERYTHING, *row.slices):
                sums[piece, SUM, name.encode()] += increment

    def _join_labels(self, part: Part, watermark_ms: int) -> int:
        count = 0
        for row in part.unpack_labels():
            count += 1
            row = dataclasses.replace(row, arrival_ms=max(row.arrival_ms, watermark_ms))
            entry = self.entry(row.key, self._watermark_ms)
            if join_label(entry, row, self, max_labels=self._shard.max_labels):
                deadline_ms = row.time_ms + self._shard.label_hold_ms
                if self._watermark_ms > deadline_ms:
                    forget_overdue(entry, self._watermark_ms, self._shard.label_hold_ms, self)
                elif not _leaves_with_a_prediction(entry, deadline_ms):
                    self.remember(row.key, deadline_ms)
        return count

    def entry(self, key: bytes, watermark_ms: int) -> Entry:
        """The entry of an id, to be changed freely, with what is overdue already forgotten."""
        if key not in self._entries:
            entry = self._shard.entries.get(key, Entry()).copy()
            forget_overdue(entry, watermark_ms, self._shard.label_hold_ms, self)
            self._entries[key] = entry
        return self._entries[key]

    def remember(self, key: bytes, deadline_ms: int) -> None:
        """Note that the id has something to forget once the watermark is past `deadline_ms`."""
        self._overdue[(deadline_ms // FORGET_BUCKET_MS + 1) * FORGET_BUCKET_MS].append(key)

    def count(self, prediction: HeldPrediction, delta: int) -> None:
        terms = prediction.terms
        start_ms = prediction.time_ms // terms.base_window_ms * terms.base_window_ms
        seen = FAILED if prediction.failed else prediction.winner
        self._tally[terms, start_ms, prediction.predicted, prediction.slices, seen] += delta
        if prediction.matched:
            sums = self._cells[terms.counted_as, start_ms]
            for name, increment in self._contribution(prediction).items():
                for piece in (EVERYTHING, *prediction.slices):
                    sums[piece, SUM, name.encode()] += delta * increment

    def _contribution(self, prediction: HeldPrediction) -> Mapping[str, int]:
        """What a labelled prediction adds to the sums of its window."""
        delay = {delay_name(prediction.winner_ms - prediction.time_ms): 1}
        terms, items, relevant = prediction.terms, prediction.items or (), prediction.winner_items or ()
        if terms.is_ranking:
            return delay | ranking_contribution(ranks_of(items, relevant), relevant=len(relevant))
        if terms.is_multilabel:
            found, invented, missed = (
                [item if self._has_cells(terms.class_group, item) else OTHER for item in some]
                for some in compared_sets(items, relevant)
            )
            return delay | multilabel_contribution(found=found, invented=invented, missed=missed)
        return delay | _value_contribution(prediction)

    def fold(self) -> None:
        """Turn what was tallied into cells; what cancels out asks for no names."""
        for (terms, start_ms, predicted, slices, label), delta in self._tally.items():
            window = (terms.counted_as, start_ms)
            finality_ms = start_ms + terms.base_window_ms + terms.horizon_ms
            self._finality_ms[window] = max(finality_ms, self._finality_ms.get(window, NEVER_MS))
            if delta:
                pair = (FAILED, ABSENT) if label == FAILED else self._cell(terms, label, predicted)
                for piece in (EVERYTHING, *slices):
                    self._cells[window][(piece, *pair)] += delta
        self._tally.clear()

    def _cell(self, terms: Terms, label: bytes, predicted: bytes) -> tuple[bytes, bytes]:
        if not terms.counts_classes:
            return (ABSENT if label == ABSENT else ANY_LABEL, ABSENT)
        predicted_counts = self._has_cells(terms.class_group, predicted)
        if label == ABSENT:
            return (ABSENT, predicted if predicted_counts else OTHER)
        if self._has_cells(terms.class_group, label) and predicted_counts:
            return (label, predicted)
        return (OTHER, OTHER if label == predicted else OTHER_WRONG)

    def _has_cells(self, group: bytes, name: bytes) -> bool:
        names = self._shard.name_lists.get(group, NameList())
        if name in names.admitted:
            return True
        if not names.full:
            self.undecided[group, name] = None
        return False

    def prediction(self, fate: PredictionFate, delta: int = 1) -> None:
        self._fates[f"predictions:{fate}"] += delta

    def label(self, fate: LabelFate, delta: int = 1) -> None:
        self._fates[f"labels:{fate}"] += delta

    def class_text(self, label: bytes) -> bytes:
        return self._shard.names.get(label, "").encode()

    def write(self) -> None:
        """Make it so."""
        self.fold()
        shard = self._shard
        shard.sources.update(self._sources)
        for key, entry in self._entries.items():
            if entry:
                shard.entries[key] = entry
            else:
                shard.entries.pop(key, None)
        for bucket_ms, keys in self._overdue.items():
            shard.overdue.setdefault(bucket_ms, []).extend(keys)
        for window, cells in self._cells.items():
            self._write_window(window, cells)
        shard.fates.update(self._fates)
        shard.gaps.extend(self._gaps)

    def _write_window(self, window: Window, cells: collections.Counter[Cell]) -> None:
        shard = self._shard
        if not any(cells.values()):
            return
        counts = shard.cells[window]
        for cell, delta in cells.items():
            counts[cell] += delta
            if not counts[cell]:
                del counts[cell]
        shard.mark += 1
        shard.changes[window] = shard.mark
        known_ms = shard.window_finality_ms.get(window, NEVER_MS)
        shard.window_finality_ms[window] = max(known_ms, self._finality_ms[window])


def _value_contribution(prediction: HeldPrediction) -> dict[str, int]:
    terms, value = prediction.terms, prediction.value
    if value is None:
        return {}
    if not terms.counts_classes:
        label = prediction.winner_value
        return {} if label is None else regression_contribution(predicted=value, label=label)
    event = terms.positive_class if terms.positive_class != ABSENT else prediction.predicted
    return score_contribution(value, happened=prediction.winner == event)


def _leaves_with_a_prediction(entry: Entry, deadline_ms: int) -> bool:
    """Whether the newest label's fate is settled and a prediction of the entry is remembered for longer anyway."""
    is_settled = entry.labels[-1].fate is not LabelFate.HELD
    return is_settled and any(held.time_ms + held.terms.horizon_ms >= deadline_ms for held in entry.predictions)
