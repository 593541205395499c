"""From a fetched batch to packed rows: decode, decide names, columns, arrivals, shards.

    RecordBatch ── schemas.codec ──> records and rejections ── registry ──> names with cells of their own
                                                                  │
    PackedRun  <── numpy columns, one row per good record <───────┘

Rows are those of `streams.ledger.parts`, written column by column: nothing is awaited per record, and no
object outlives the batch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.name_registry import MODEL_VERSIONS, NameRegistry, segment_values_group
from agents.record_batch import RecordBatch, UnreadableBatch
from schemas.codec import class_name, read_labels, read_predictions, regression_value
from schemas.dead_letter import dead_letter
from schemas.errors import Reason, Rejected
from schemas.label import Label
from schemas.prediction import Prediction
from streams.identity import (
    ABSENT,
    KEY_BYTES,
    class_hash,
    model_hash,
    model_version_hash,
    model_version_name,
    request_key,
    segment_hash,
    segment_name,
    shards_of,
)
from streams.ledger.parts import (
    HAS_VALUE,
    IS_FAILED,
    WORD_BYTES,
    Definitions,
    NameList,
    Part,
    Role,
    Source,
    pack_value,
)
from streams.ledger.slicing import Run, arrivals_of, running_highs, watermark_of
from streams.ledger.terms import Terms
from streams.monitored_model import MonitoredModel, Task
from streams.ports import OutgoingMessage

__all__ = ["PackedRun", "Packer", "PackingSettings"]

MISSING = "__missing__"
OTHER_NAME = "__other__"
PROBABILITY_SLACK = 1e-6
"""By which the probabilities of all classes may miss 1: sums of rounded decimals."""

_TIME_BYTES = 6
_LABEL_FIELDS: list[Any] = [("key", f"V{KEY_BYTES}"), ("arrival", ">u8"), ("model", "V8")]
_LABEL_FIELDS += [("time", "u1", _TIME_BYTES), ("label", "V8")]
_LABEL_ROWS = (np.dtype(_LABEL_FIELDS), np.dtype([*_LABEL_FIELDS, ("value", ">f8")]))
"""Without and with a word for the value."""

_class_hash = functools.lru_cache(maxsize=65_536)(class_hash)
_model_hash = functools.lru_cache(maxsize=4_096)(model_hash)

_Record = Prediction | Label


def _prediction_row(words: int) -> np.dtype[np.void]:
    fields: list[Any] = [("key", f"V{KEY_BYTES}"), ("arrival", ">u8"), ("flags", "u1"), ("terms", "V8")]
    fields += [("time", "u1", _TIME_BYTES), ("predicted", "V8"), ("count", "u1")]
    return np.dtype([*fields, ("tail", f"V{words * WORD_BYTES}")] if words else fields)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackingSettings:
    """What packing needs to know of the configuration.

    `model` returns the settings of any model by name, all defaults for one that is not listed.
    `dead_letters` is the name of that topic on the wire. `predicts_numbers` says whether some model is a regression:
    labels that are numbers then travel as such too.
    """

    shards: int
    lateness_ms: int
    max_future_skew_ms: int
    dead_letters: str
    predicts_numbers: bool
    model: Callable[[str], MonitoredModel]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackedRun:
    """A run of one partition, ready to be cut into parts. Dead letters stand with their offsets.

    `next_ms` is the event time of its first good record; the reader's clock if it has none.
    """

    source: Source
    run: Run
    rows: npt.NDArray[np.void]
    words: int
    definitions: Definitions
    dead_letters: Sequence[tuple[int, OutgoingMessage]]
    shards: int
    lateness_ms: int
    next_ms: int

    def until(self, offset: int) -> PackedRun:
        """The run's beginning, up to an offset in it."""
        run = self.run.until(offset)
        letters = [letter for letter in self.dead_letters if letter[0] < offset]
        return dataclasses.replace(self, run=run, rows=self.rows[: len(run.offsets)], dead_letters=letters)

    def parts(self, shard: int, *, start: int, max_rows: int, register: bool = False) -> Iterator[Part]:
        """What the shard has not applied yet, given the offset it wants next, which lies in the run."""
        for each in self.run.slices(shard, shards=self.shards, start=start, max_rows=max_rows):
            yield Part(
                source=self.source,
                expected=each.expected,
                next=each.next,
                high_ms=each.high_ms,
                watermark_ms=watermark_of(each.high_ms, lateness_ms=self.lateness_ms),
                rejected=each.rejected,
                words=self.words,
                rows=self.rows[each.rows].tobytes(),
                register=register,
            )


@dataclasses.dataclass(frozen=True, slots=True)
class _Subject:
    """One model version of a batch: its settings, terms, and declared segments, single and crossed."""

    model: MonitoredModel
    terms: Terms
    crosses: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(slots=True)
class _Found:
    """What decoding found in a batch from an offset on."""

    offsets: list[int] = dataclasses.field(default_factory=list)
    records: list[Any] = dataclasses.field(default_factory=list)
    classes: list[str] = dataclasses.field(default_factory=list)
    rejected: list[tuple[int, Rejected]] = dataclasses.field(default_factory=list)


class Packer:
    """Packs batches of both input topics."""

    def __init__(self, registry: NameRegistry, settings: PackingSettings) -> None:
        self._registry = registry
        self._settings = settings

    async def pack(self, batch: RecordBatch, source: Source, *, start: int, high_ms: int, now_ms: int) -> PackedRun:
        """Pack what a batch holds from offset `start` on, at which the partition's high mark is `high_ms`."""
        found = self._decode(batch, source.role, start=start, now_ms=now_ms)
        if source.role is Role.LABELS:
            words, columns, definitions = int(self._settings.predicts_numbers), *self._label_columns(found)
            dtype = _LABEL_ROWS[words]
        else:
            words, columns, definitions = await self._prediction_columns(found)
            dtype = _prediction_row(words)
        times_ms = np.array([record.event_time_ms for record in found.records], dtype=np.int64)
        highs_ms = running_highs(times_ms, start_ms=high_ms)
        keys = b"".join([request_key(record.request_id, record.instance) for record in found.records])
        rows = np.empty(len(times_ms), dtype=dtype)
        rows["key"] = np.frombuffer(keys, dtype=f"V{KEY_BYTES}")
        rows["time"] = times_ms.astype(">u8").view("u1").reshape(-1, 8)[:, -_TIME_BYTES:]
        rows["arrival"] = arrivals_of(times_ms, highs_ms, lateness_ms=self._settings.lateness_ms)
        for name, content in columns.items():
            rows[name] = np.frombuffer(content, dtype=dtype[name])
        run = Run(
            base=start,
            next=batch.next,
            offsets=np.array(found.offsets, dtype=np.int64),
            shards=shards_of(keys, shards=self._settings.shards),
            highs_ms=highs_ms,
            rejected=np.array([batch.offset_of(index) for index, _ in found.rejected], dtype=np.int64),
        )
        return PackedRun(
            source=source,
            run=run,
            # Whole rows move faster as opaque bytes than field by field.
            rows=rows.view(f"V{dtype.itemsize}"),
            words=words,
            definitions=definitions,
            dead_letters=[self._dead_letter(batch, *rejection, now_ms=now_ms) for rejection in found.rejected],
            shards=self._settings.shards,
            lateness_ms=self._settings.lateness_ms,
            next_ms=int(times_ms[0]) if len(times_ms) else now_ms,
        )

    def _decode(self, batch: RecordBatch, role: Role, *, start: int, now_ms: int) -> _Found:
        first = batch.index_from(start)
        read: Callable[..., Sequence[_Record | Rejected]]
        read = read_predictions if role is Role.PREDICTIONS else read_labels
        class_of = self._predicted_class if role is Role.PREDICTIONS else self._labelled_class
        outcomes = read(
            batch.values[first:],
            batch.timestamps_ms[first:],
            now_ms=now_ms,
            max_future_skew_ms=self._settings.max_future_skew_ms,
        )
        found = _Found()
        for index, outcome in enumerate(outcomes, start=first):
            if isinstance(outcome, Rejected):
                found.rejected.append((index, _refusal(batch.values[index], outcome)))
                continue
            try:
                found.classes.append(class_of(outcome))
            except Rejected as rejected:
                found.rejected.append((index, rejected.with_traceback(None)))
                continue
            found.offsets.append(batch.offset_of(index))
            found.records.append(outcome)
        return found

    def _predicted_class(self, prediction: Any) -> str:
        if prediction.prediction is None:
            return ""  # the answer of a request that failed
        model = self._settings.model(prediction.model)
        if model.task is Task.REGRESSION:
            regression_value(prediction.prediction)
        return class_name(prediction.prediction, model.class_aliases)

    def _labelled_class(self, label: Any) -> str:
        if label.model is None:
            return class_name(label.label)
        model = self._settings.model(label.model)
        if model.task is Task.REGRESSION:
            regression_value(label.label)
        return class_name(label.label, model.class_aliases)

    def _label_columns(self, found: _Found) -> tuple[dict[str, bytes], Definitions]:
        hashes = [_class_hash(text) for text in found.classes]
        models = [ABSENT if label.model is None else _model_hash(label.model) for label in found.records]
        names = dict(zip(hashes, found.classes, strict=True))
        columns = {"label": b"".join(hashes), "model": b"".join(models)}
        if self._settings.predicts_numbers:
            columns["value"] = b"".join([pack_value(_number(label.label)) for label in found.records])
        return columns, Definitions(names)

    async def _prediction_columns(self, found: _Found) -> tuple[int, dict[str, bytes], Definitions]:
        names: dict[bytes, str] = {}
        subjects = await self._subjects(found.records, names)
        lists = {MODEL_VERSIONS: self._registry.list_of(MODEL_VERSIONS)}
        segments = await self._segments(found.records, subjects, names, lists)
        terms, predicted, flags, counts, tails = [], [], bytearray(), bytearray(), []
        for prediction, text in zip(found.records, found.classes, strict=True):
            subject = subjects[prediction.model, prediction.model_version]
            hashed = _class_hash(text)
            terms.append(subject.terms.hash)
            predicted.append(hashed)
            value = _value(prediction, text, subject.model)
            flags.append((prediction.status != "ok") * IS_FAILED | (value is not None) * HAS_VALUE)
            counts.append(len(subject.crosses))
            tails.append(segments[_segment_key(prediction, subject)] + pack_value(value))
            if subject.terms.counts_classes:
                names[hashed] = text
        columns = {"terms": b"".join(terms), "predicted": b"".join(predicted)}
        columns |= {"flags": bytes(flags), "count": bytes(counts)}
        words = max(map(len, tails), default=0) // WORD_BYTES
        if words:
            columns["tail"] = b"".join([tail.ljust(words * WORD_BYTES, b"\0") for tail in tails])
        packed = {subject.terms.hash: subject.terms.pack() for subject in subjects.values()}
        return words, columns, Definitions(names, packed, lists)

    async def _subjects(
        self, predictions: Sequence[Any], names: dict[bytes, str]
    ) -> Mapping[tuple[str, str], _Subject]:
        versions = {(prediction.model, prediction.model_version): None for prediction in predictions}
        hashes = {version: model_version_hash(*version) for version in versions}
        limits = self._registry.limits
        await self._registry.decide(MODEL_VERSIONS, hashes.values(), limit=limits.models)
        subjects = {}
        for (name, version), hashed in hashes.items():
            model = self._settings.model(name)
            is_beyond = not self._registry.has_cells(MODEL_VERSIONS, hashed)
            terms = Terms.of(model, version, beyond_limit=is_beyond)
            counted = (OTHER_NAME, OTHER_NAME) if is_beyond else (name, version)
            names[terms.counted_as] = model_version_name(*counted)
            names.update((class_hash(text), text) for text in model.class_aliases.values())
            if not is_beyond:
                self._registry.declare_classes(terms.class_group, model)
            crosses = (*((segment,) for segment in model.segments), *model.cross)
            subjects[name, version] = _Subject(model, terms, crosses)
        return subjects

    async def _segments(
        self,
        predictions: Sequence[Any],
        subjects: Mapping[tuple[str, str], _Subject],
        names: dict[bytes, str],
        lists: dict[bytes, NameList],
    ) -> Mapping[Any, bytes]:
        """The packed slices of every combination of segment values in the batch."""
        found = {}
        for prediction in predictions:
            subject = subjects[prediction.model, prediction.model_version]
            key = _segment_key(prediction, subject)
            if key not in found:
                found[key] = (subject, dict(prediction.segment))
        lists |= await self._decide_segment_values(found.values())
        packed = {}
        for key, (subject, segment) in found.items():
            slices = [
                {name: self._counted_value(subject.model.name, name, segment.get(name)) for name in cross}
                for cross in subject.crosses
            ]
            names.update((segment_hash(each), segment_name(each)) for each in slices)
            packed[key] = b"".join(map(segment_hash, slices))
        return packed

    async def _decide_segment_values(self, found: Any) -> dict[bytes, NameList]:
        values: dict[tuple[str, str], dict[bytes, None]] = {}
        for subject, segment in found:
            for cross in subject.crosses:
                for name in cross:
                    if name in segment:
                        hashed = segment_hash({name: segment[name]})
                        values.setdefault((subject.model.name, name), {})[hashed] = None
        limit = self._registry.limits.segment_values
        groups = {segment_values_group(*place): hashes for place, hashes in values.items()}
        return {group: await self._registry.decide(group, hashes, limit=limit) for group, hashes in groups.items()}

    def _counted_value(self, model: str, name: str, value: str | None) -> str:
        if value is None:
            return MISSING
        group = segment_values_group(model, name)
        return value if self._registry.has_cells(group, segment_hash({name: value})) else OTHER_NAME

    def _dead_letter(
        self, batch: RecordBatch, index: int, rejected: Rejected, *, now_ms: int
    ) -> tuple[int, OutgoingMessage]:
        envelope, offset = batch.envelope(index), batch.offset_of(index)
        value = batch.values[index]
        letter = dead_letter(
            key=envelope.key,
            value=None if isinstance(value, UnreadableBatch) else value,
            headers=envelope.headers,
            reason=rejected.reason,
            message=rejected.message,
            topic=batch.topic,
            partition=batch.partition,
            offset=offset,
            timestamp_ms=batch.timestamps_ms[index],
            now_ms=now_ms,
        )
        message = OutgoingMessage(
            topic=self._settings.dead_letters,
            key=letter.key,
            value=letter.value,
            headers=letter.headers,  # type: ignore[arg-type]  # Kafka knows headers without a value
            timestamp_ms=letter.timestamp_ms,
        )
        return offset, message


def _refusal(value: bytes | None, rejected: Rejected) -> Rejected:
    """Why a value is refused: as the decoder says, unless it stands for a whole batch."""
    if isinstance(value, UnreadableBatch):
        return Rejected(Reason.UNREADABLE_BATCH, value.decode("utf-8", "replace"))
    return rejected


def _value(prediction: Any, predicted: str, model: MonitoredModel) -> float | None:
    """The number of a regression, or the probability of the positive class or else of the predicted one; NaN for
    probabilities that do not add up."""
    if prediction.status != "ok":
        return None
    if model.task is Task.REGRESSION:
        return float(prediction.prediction)
    if model.task is Task.BINARY and model.positive_class is None:
        return None
    if prediction.score is not None:
        return float(prediction.score)
    if not prediction.probabilities:
        return None
    if abs(sum(prediction.probabilities.values()) - 1.0) > PROBABILITY_SLACK:
        return math.nan
    named = {model.class_aliases.get(name, name): share for name, share in prediction.probabilities.items()}
    return float(named.get(model.positive_class or predicted, 0.0))


def _number(label: Any) -> float:
    """A label as a number; NaN if it is none that a regression could be about."""
    try:
        return regression_value(label)
    except Rejected:
        return math.nan


def _segment_key(prediction: Any, subject: _Subject) -> tuple[str, str, tuple[str | None, ...]]:
    segment = prediction.segment
    return (
        prediction.model,
        prediction.model_version,
        tuple(segment.get(name) for cross in subject.crosses for name in cross),
    )
