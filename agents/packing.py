"""From a fetched batch to packed rows.

    RecordBatch ── good_records ──> records and rejections ── registry ──> names with cells of their own
                                                                  │
    PackedRun  <── numpy columns, one row per good record <───────┘

Rows are those of `streams.ledger.parts`, written column by column: nothing is awaited per record, and no
object outlives the batch.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.explain_sampler import ExplainSampler
from agents.good_records import GoodRecords, PackingSettings, column, numbered, read_records
from agents.name_registry import NameRegistry
from agents.packed_run import PackedRun
from agents.prediction_rows import PredictionRows
from agents.record_batch import RecordBatch
from agents.refused_record import letter_message
from agents.signal_rows import SignalRows
from schemas.codec import regression_value
from schemas.errors import Rejected
from schemas.prediction import SentPrediction
from streams.identity import ABSENT, HASH_BYTES, KEY_BYTES, class_hash, items_hash, model_hash, request_keys, shards_of
from streams.ledger.item_lists import set_of
from streams.ledger.parts import NO_ITEMS, TIME_BYTES, WORD_BYTES, Definitions, Role, Source, pack_items
from streams.ledger.slicing import Run, arrivals_of, running_highs
from streams.monitored_model import Task
from streams.ports import OutgoingMessage
from streams.stability.latency_words import latency_words

__all__ = ["PackedRun", "Packer", "PackingSettings", "Stretch"]

_LABEL_FIELDS: list[Any] = [("key", f"V{KEY_BYTES}"), ("arrival", ">u8"), ("model", "V8")]
_LABEL_FIELDS += [("time", "u1", TIME_BYTES), ("label", "V8")]
_SUCCEEDED = {None, "ok"}
_NO_ITEMS = np.array(NO_ITEMS, dtype=">u8").tobytes()


def _label_row(words: int) -> np.dtype[np.void]:
    """With a word for the value, and with more for lists."""
    value = [("value", ">f8")] if words else []
    return np.dtype([*_LABEL_FIELDS, *value, *([("items", f"V{(words - 1) * WORD_BYTES}")] if words > 1 else [])])


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """What a batch holds from offset `start` on, at which the partition's high mark is `high_ms`."""

    batch: RecordBatch
    source: Source
    start: int
    high_ms: int

    @property
    def first(self) -> int:
        """The index of its first record in the batch."""
        return self.batch.index_from(self.start)

    def __len__(self) -> int:
        return len(self.batch.values) - self.first

    def offsets_of(self, indexes: Sequence[int], *, begin: int) -> npt.NDArray[np.int64]:
        """The offsets of records, by their places among those of several stretches, of which this one's begin there."""
        moved = self.first - begin
        return self.batch.offsets_of([index + moved for index in indexes] if moved else indexes)


@dataclasses.dataclass(frozen=True, slots=True)
class _Labelled:
    """What a label names: its hash, its items if it is a list of more or less than one, and the names behind them."""

    hash: bytes
    packed: bytes
    names: Mapping[bytes, str]


class Packer:
    """Packs batches of both input topics; `sampler`, if there is one, sees them too."""

    def __init__(
        self, registry: NameRegistry, settings: PackingSettings, sampler: ExplainSampler | None = None
    ) -> None:
        self._settings = settings
        self._predictions = PredictionRows(registry, settings)
        self._signals = SignalRows(registry, settings)
        self._sampler = sampler

    async def pack(self, stretches: Sequence[Stretch], *, now_ms: int) -> Sequence[PackedRun]:
        """Pack stretches of one topic's partitions; what a batch costs, however small, they cost once.

        Args:
            now_ms: the reader's clock.

        Returns: a run for each.
        """
        role = stretches[0].source.role
        values, timestamps_ms = _joined(stretches)
        found = read_records(values, timestamps_ms, role, self._settings, now_ms=now_ms)
        agreed = self._settings.agreed()
        latencies = signals = None
        if role is Role.LABELS:
            rows, words, definitions = self._label_rows(found)
        else:
            rows, words, definitions = await self._predictions.pack(found, agreed)
            latencies = _latencies(found.records)
            signals, named = await self._signals.pack(found)
            definitions = definitions.joined(named) if signals is not None else definitions
        keys = request_keys(
            [record.request_id for record in found.records], [record.instance for record in found.records]
        )
        rows["key"] = np.frombuffer(keys, dtype=f"V{KEY_BYTES}")
        rows["time"] = found.times_ms.astype(">u8").view("u1").reshape(-1, 8)[:, -TIME_BYTES:]
        runs = self._runs(stretches, found, keys, rows)
        # Whole rows move faster as opaque bytes than field by field.
        opaque = rows.view(f"V{rows.dtype.itemsize}")
        packed, first, end = [], 0, 0
        for stretch, run, rejected in zip(stretches, runs, _rejected(stretches, found), strict=True):
            first, end = end, end + len(run.offsets)
            packed.append(
                PackedRun(
                    source=stretch.source,
                    run=run,
                    rows=opaque[first:end],
                    words=words,
                    latencies=None if latencies is None else latencies[first:end],
                    signals=None if signals is None else signals.between(first, end),
                    definitions=definitions,
                    dead_letters=[self._dead_letter(stretch.batch, *each, now_ms=now_ms) for each in rejected],
                    shards=self._settings.shards,
                    lateness_ms=self._settings.lateness_ms,
                    next_ms=int(found.times_ms[first]) if end > first else now_ms,
                    edition=agreed.edition,
                )
            )
        return packed

    def _runs(
        self, stretches: Sequence[Stretch], found: GoodRecords, keys: bytes, rows: npt.NDArray[np.void]
    ) -> Sequence[Run]:
        """The run of each stretch; arrivals, which follow from it, are put into the rows."""
        shards = shards_of(keys, shards=self._settings.shards)
        runs, begin, first = [], 0, 0
        for stretch, rejected in zip(stretches, _rejected(stretches, found), strict=True):
            begin += len(stretch)
            end = bisect.bisect_left(found.indexes, begin)
            times_ms = found.times_ms[first:end]
            highs_ms = running_highs(times_ms, start_ms=stretch.high_ms)
            offsets = stretch.offsets_of(found.indexes[first:end], begin=begin - len(stretch))
            if self._sampler is not None:
                seen = found if len(stretches) == 1 else found.between(first, end)
                self._sampler.look(stretch.source, seen, offsets, keys[first * KEY_BYTES : end * KEY_BYTES])
            rows["arrival"][first:end] = arrivals_of(times_ms, highs_ms, lateness_ms=self._settings.lateness_ms)
            runs.append(
                Run(
                    base=stretch.start,
                    next=stretch.batch.next,
                    offsets=offsets,
                    shards=shards[first:end],
                    highs_ms=highs_ms,
                    rejected=stretch.batch.offsets_of([index for index, _ in rejected]),
                )
            )
            first = end
        return runs

    def _label_rows(self, found: GoodRecords) -> tuple[npt.NDArray[np.void], int, Definitions]:
        kinds, kind_of = numbered(zip([record.model for record in found.records], found.classes, strict=True))
        names: dict[bytes, str] = {}
        hashes, packed = [], []
        for model, named in kinds:
            label = self._labelled(model, named)
            hashes.append(label.hash)
            packed.append(label.packed or _NO_ITEMS)
            names |= {} if self._is_ranking(model) else label.names
        has_items = any(each != _NO_ITEMS for each in packed)
        width = max(map(len, packed)) if has_items else 0
        words = 1 + width // WORD_BYTES if has_items else int(self._settings.predicts_numbers)
        table = np.empty(len(kinds), dtype=_label_row(words))
        table["label"] = column(hashes, HASH_BYTES)
        table["model"] = column([ABSENT if model is None else model_hash(model) for model, _ in kinds], HASH_BYTES)
        if has_items:
            table["items"] = column([each.ljust(width, b"\0") for each in packed], width)
        # Whole rows are taken faster as opaque bytes than field by field.
        rows = table.view(f"V{table.dtype.itemsize}").take(kind_of).view(table.dtype)
        if words:
            rows["value"] = [_number(record.label) for record in found.records]
        return rows, words, Definitions(names)

    def _labelled(self, model: str | None, named: Any) -> _Labelled:
        """What labels of one model and class, or list of classes, have in common."""
        aliases = {} if model is None else self._settings.model(model).class_aliases
        texts = [aliases.get(text, text) for text in (named if isinstance(named, tuple) else (named,))]
        names = {class_hash(text): text for text in texts}
        items = set_of(names)
        if len(items) == 1:
            return _Labelled(items[0], b"", names)
        return _Labelled(items_hash(items), pack_items(items), names)

    def _is_ranking(self, model: str | None) -> bool:
        """Whether labels are for a ranking alone, whose items are told apart and never shown: there may be millions."""
        return self._settings.takes_lists and model is not None and self._settings.model(model).task is Task.RANKING

    def _dead_letter(
        self, batch: RecordBatch, index: int, rejected: Rejected, *, now_ms: int
    ) -> tuple[int, OutgoingMessage]:
        message = letter_message(batch, index, rejected, topic=self._settings.dead_letters, now_ms=now_ms)
        return batch.offset_of(index), message


def _joined(stretches: Sequence[Stretch]) -> tuple[Sequence[bytes | None], Sequence[int]]:
    """Values and Kafka's timestamps of all records, stretch by stretch."""
    if len(stretches) == 1:
        first, batch = stretches[0].first, stretches[0].batch
        return batch.values[first:], batch.timestamps_ms[first:]
    values: list[bytes | None] = []
    timestamps_ms: list[int] = []
    for stretch in stretches:
        first = stretch.first
        values += stretch.batch.values[first:]
        timestamps_ms += stretch.batch.timestamps_ms[first:]
    return values, timestamps_ms


def _rejected(stretches: Sequence[Stretch], found: GoodRecords) -> Iterator[Sequence[tuple[int, Rejected]]]:
    """Of each stretch those that are not good, by their indexes in its batch."""
    waiting = collections.deque(found.rejected)
    end = 0
    for stretch in stretches:
        moved = stretch.first - end
        end += len(stretch)
        rejected = []
        while waiting and waiting[0][0] < end:
            index, why = waiting.popleft()
            rejected.append((index + moved, why))
        yield rejected


def _latencies(records: Sequence[SentPrediction]) -> npt.NDArray[np.void] | None:
    """What each prediction tells beside its answer; None if that is nothing at all."""
    latencies: list[float | None] = [record.latency_ms for record in records]
    statuses = [record.status for record in records]
    failed = []
    if not {*statuses} <= _SUCCEEDED:
        failed = [at for at, status in enumerate(statuses) if status not in _SUCCEEDED]
    for at in failed:
        latencies[at] = None
    timed_out = np.zeros(len(records), dtype=np.bool_)
    timed_out[[at for at in failed if statuses[at] == "timeout"]] = True
    if latencies.count(None) == len(latencies) and not timed_out.any():
        return None
    return latency_words(np.fromiter(latencies, np.float64, len(latencies)), timed_out)


def _number(label: Any) -> float:
    """A label as a number; NaN if it is none that a regression could be about."""
    try:
        return regression_value(label)
    except Rejected:
        return math.nan
