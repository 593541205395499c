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
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from agents.name_registry import MODEL_VERSIONS, NameRegistry, segment_values_group
from agents.record_batch import RecordBatch, UnreadableBatch
from schemas.codec import Decoded, class_name, decode_labels, decode_predictions, regression_value
from schemas.dead_letter import dead_letter
from schemas.errors import Reason, Rejected
from schemas.prediction import SentPrediction
from streams.identity import (
    ABSENT,
    KEY_BYTES,
    class_hash,
    model_hash,
    model_version_hash,
    model_version_name,
    request_keys,
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

_Kind = tuple[tuple[str, str], str | None, tuple[str | None, ...], str | None]
"""What rows of one kind share: model version, class as it was sent, values of the declared segments, status."""
_KINDS = np.dtype([("terms", "V8"), ("predicted", "V8"), ("count", "u1"), ("flags", "u1")])
_SUCCEEDED = (None, "ok")


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


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """The good records of a batch from an offset on, with their indexes, classes (None: no answer) and times."""

    records: Sequence[Any]
    indexes: Sequence[int]
    classes: Sequence[str | None]
    times_ms: npt.NDArray[np.int64]
    rejected: Sequence[tuple[int, Rejected]]


class Packer:
    """Packs batches of both input topics."""

    def __init__(self, registry: NameRegistry, settings: PackingSettings) -> None:
        self._registry = registry
        self._settings = settings

    async def pack(self, batch: RecordBatch, source: Source, *, start: int, high_ms: int, now_ms: int) -> PackedRun:
        """Pack what a batch holds from offset `start` on, at which the partition's high mark is `high_ms`."""
        found = self._decode(batch, source.role, start=start, now_ms=now_ms)
        if source.role is Role.LABELS:
            rows, words, definitions = self._label_rows(found)
        else:
            rows, words, definitions = await self._prediction_rows(found)
        times_ms = found.times_ms
        highs_ms = running_highs(times_ms, start_ms=high_ms)
        keys = request_keys(
            [record.request_id for record in found.records], [record.instance for record in found.records]
        )
        rows["key"] = np.frombuffer(keys, dtype=f"V{KEY_BYTES}")
        rows["time"] = times_ms.astype(">u8").view("u1").reshape(-1, 8)[:, -_TIME_BYTES:]
        rows["arrival"] = arrivals_of(times_ms, highs_ms, lateness_ms=self._settings.lateness_ms)
        run = Run(
            base=start,
            next=batch.next,
            offsets=batch.offsets_of(found.indexes),
            shards=shards_of(keys, shards=self._settings.shards),
            highs_ms=highs_ms,
            rejected=batch.offsets_of([index for index, _ in found.rejected]),
        )
        return PackedRun(
            source=source,
            run=run,
            # Whole rows move faster as opaque bytes than field by field.
            rows=rows.view(f"V{rows.dtype.itemsize}"),
            words=words,
            definitions=definitions,
            dead_letters=[self._dead_letter(batch, *rejection, now_ms=now_ms) for rejection in found.rejected],
            shards=self._settings.shards,
            lateness_ms=self._settings.lateness_ms,
            next_ms=int(times_ms[0]) if len(times_ms) else now_ms,
        )

    def _decode(self, batch: RecordBatch, role: Role, *, start: int, now_ms: int) -> _Found:
        first = batch.index_from(start)
        decode: Callable[..., Decoded[Any]] = decode_predictions if role is Role.PREDICTIONS else decode_labels
        decoded = decode(
            batch.values[first:],
            batch.timestamps_ms[first:],
            now_ms=now_ms,
            max_future_skew_ms=self._settings.max_future_skew_ms,
        )
        classes, refused = self._classes(decoded.records, role)
        records, indexes, times_ms = decoded.records, decoded.indexes, decoded.times_ms
        if refused:
            good = [at for at in range(len(records)) if at not in refused]
            classes, records = [classes[at] for at in good], [records[at] for at in good]
            times_ms = times_ms[good]
        rejected = [*decoded.rejected, *((indexes[at], rejected) for at, rejected in refused.items())]
        if refused:
            indexes = [indexes[at] for at in good]
        return _Found(
            records=records,
            indexes=[first + index for index in indexes] if first else indexes,
            classes=classes,
            times_ms=times_ms,
            rejected=sorted(
                ((first + at, _refusal(batch.values[first + at], why)) for at, why in rejected),
                key=operator.itemgetter(0),
            ),
        )

    def _classes(self, records: Sequence[Any], role: Role) -> tuple[Sequence[str | None], Mapping[int, Rejected]]:
        """What each record names, aliases not applied, and by index why some name no class."""
        is_prediction = role is Role.PREDICTIONS
        answers = [record.prediction for record in records] if is_prediction else [record.label for record in records]
        numeric = {
            name
            for name in {record.model for record in records}
            if name is not None and self._settings.model(name).task is Task.REGRESSION
        }
        refused: dict[int, Rejected] = {}
        # A text is its own name; what is left is rare, or a model of numbers.
        for at in [
            at
            for at, (answer, record) in enumerate(zip(answers, records, strict=True))
            if answer.__class__ is not str or record.model in numeric
        ]:
            if is_prediction and answers[at] is None:
                continue  # the answer of a request that failed
            try:
                if records[at].model in numeric:
                    regression_value(answers[at])
                answers[at] = class_name(answers[at])
            except Rejected as rejected:
                refused[at] = rejected.with_traceback(None)
        return answers, refused

    def _label_rows(self, found: _Found) -> tuple[npt.NDArray[np.void], int, Definitions]:
        words = int(self._settings.predicts_numbers)
        rows = np.empty(len(found.records), dtype=_LABEL_ROWS[words])
        models = [record.model for record in found.records]
        hashes = {key: _class_hash(self._labelled_class(*key)) for key in {*zip(models, found.classes, strict=True)}}
        addressed = {model: ABSENT if model is None else _model_hash(model) for model in {*models}}
        labels = b"".join([hashes[key] for key in zip(models, found.classes, strict=True)])
        rows["label"] = np.frombuffer(labels, dtype="V8")
        rows["model"] = np.frombuffer(b"".join([addressed[model] for model in models]), dtype="V8")
        if words:
            rows["value"] = [_number(record.label) for record in found.records]
        return rows, words, Definitions({hashed: self._labelled_class(*key) for key, hashed in hashes.items()})

    def _labelled_class(self, model: str | None, text: Any) -> str:
        return str(text) if model is None else self._settings.model(model).class_aliases.get(text, text)

    async def _prediction_rows(self, found: _Found) -> tuple[npt.NDArray[np.void], int, Definitions]:
        names: dict[bytes, str] = {}
        versions = [(record.model, record.model_version or "") for record in found.records]
        subjects = await self._subjects(set(versions), names)
        kinds, kind_of = _kinds(found, versions, subjects)
        lists = {MODEL_VERSIONS: self._registry.list_of(MODEL_VERSIONS)}
        slices = await self._slices(kinds, subjects, names, lists)
        table = np.zeros(len(kinds), dtype=_KINDS)
        for row, (version, text, _, status) in zip(table, kinds, strict=True):
            subject = subjects[version]
            name = "" if text is None else subject.model.class_aliases.get(text, text)
            hashed = _class_hash(name)
            if subject.terms.counts_classes:
                names[hashed] = name
            row["terms"], row["predicted"] = subject.terms.hash, hashed
            row["count"] = len(subject.crosses)
            row["flags"] = 0 if status in _SUCCEEDED else IS_FAILED
        values, has_value = _values(found, versions, subjects)
        counts = table["count"][kind_of]
        words = int((counts + has_value).max(initial=0))
        rows = np.empty(len(found.records), dtype=_prediction_row(words))
        for name in ("terms", "predicted", "count", "flags"):
            rows[name] = table[name][kind_of]
        rows["flags"] |= has_value * np.uint8(HAS_VALUE)
        if words:
            most = max(map(len, slices)) // WORD_BYTES
            packed = np.frombuffer(b"".join([each.ljust(most * WORD_BYTES, b"\0") for each in slices]), dtype="V8")
            tail = np.zeros((len(rows), words), dtype="V8")
            tail[:, :most] = packed.reshape(len(kinds), most)[kind_of]
            tail[np.flatnonzero(has_value), counts[has_value]] = values[has_value].astype(">f8").view("V8")
            rows["tail"] = tail.view(f"V{words * WORD_BYTES}")[:, 0]
        terms = {subject.terms.hash: subject.terms.pack() for subject in subjects.values()}
        return rows, words, Definitions(names, terms, lists)

    async def _subjects(
        self, versions: Collection[tuple[str, str]], names: dict[bytes, str]
    ) -> Mapping[tuple[str, str], _Subject]:
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

    async def _slices(
        self,
        kinds: Collection[_Kind],
        subjects: Mapping[tuple[str, str], _Subject],
        names: dict[bytes, str],
        lists: dict[bytes, NameList],
    ) -> Sequence[bytes]:
        """The packed slices of every kind."""
        places = dict.fromkeys((version, values) for version, _, values, _ in kinds)
        found = [
            (subjects[version], dict(zip(_segment_names(subjects[version]), values, strict=True)))
            for version, values in places
        ]
        lists |= await self._decide_segment_values(found)
        packed = {}
        for place, (subject, segment) in zip(places, found, strict=True):
            slices = [
                {name: self._counted_value(subject.model.name, name, segment[name]) for name in cross}
                for cross in subject.crosses
            ]
            names.update((segment_hash(each), segment_name(each)) for each in slices)
            packed[place] = b"".join(map(segment_hash, slices))
        return [packed[version, values] for version, _, values, _ in kinds]

    async def _decide_segment_values(
        self, found: Iterable[tuple[_Subject, Mapping[str, str | None]]]
    ) -> dict[bytes, NameList]:
        values: dict[tuple[str, str], dict[bytes, None]] = {}
        for subject, segment in found:
            for name, value in segment.items():
                if value is not None:
                    values.setdefault((subject.model.name, name), {})[segment_hash({name: value})] = None
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


def _segment_names(subject: _Subject) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for cross in subject.crosses for name in cross))


def _kinds(
    found: _Found, versions: Sequence[tuple[str, str]], subjects: Mapping[tuple[str, str], _Subject]
) -> tuple[Collection[_Kind], npt.NDArray[np.int64]]:
    """All kinds of rows in a batch, and which of them each record is."""
    names_of = {version: _segment_names(subject) for version, subject in subjects.items()}
    kinds: dict[_Kind, int] = {}
    kind_of = []
    for record, version, text in zip(found.records, versions, found.classes, strict=True):
        names, segment = names_of[version], record.segment
        if not names:
            values: tuple[str | None, ...] = ()
        elif segment is None:
            values = (None,) * len(names)
        elif len(names) == 1:
            values = (segment.get(names[0]),)
        else:
            values = tuple([segment.get(name) for name in names])
        kind_of.append(kinds.setdefault((version, text, values, record.status), len(kinds)))
    return kinds, np.array(kind_of, dtype=np.int64)


def _values(
    found: _Found, versions: Sequence[tuple[str, str]], subjects: Mapping[tuple[str, str], _Subject]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The number of each row, and whether it has one."""
    takes_score = {version: _takes_score(subject.model) for version, subject in subjects.items()}
    scores = [
        record.score if takes_score[version] and record.status in _SUCCEEDED else None
        for record, version in zip(found.records, versions, strict=True)
    ]
    for at in [
        at
        for at, record in enumerate(found.records)
        if (record.probabilities or not takes_score[versions[at]]) and scores[at] is None
    ]:
        scores[at] = _value(found.records[at], found.classes[at], subjects[versions[at]].model)
    has_value = np.array([score is not None for score in scores], dtype=np.bool_)
    return np.array([0.0 if score is None else score for score in scores], dtype=np.float64), has_value


def _takes_score(model: MonitoredModel) -> bool:
    return model.task is not Task.REGRESSION and (model.task is not Task.BINARY or model.positive_class is not None)


def _value(prediction: SentPrediction, text: str | None, model: MonitoredModel) -> float | None:
    """The number of a regression, or the probability of the positive class or else of the predicted one, where
    probabilities are all there is; NaN for those that do not add up."""
    if prediction.status not in _SUCCEEDED:
        return None
    if model.task is Task.REGRESSION:
        return float(cast("float", prediction.prediction))
    if not _takes_score(model):
        return None
    probabilities = {name: share for name, share in (prediction.probabilities or {}).items() if share is not None}
    if not probabilities:
        return None
    if abs(sum(probabilities.values()) - 1.0) > PROBABILITY_SLACK:
        return math.nan
    named = {model.class_aliases.get(name, name): share for name, share in probabilities.items()}
    predicted = model.class_aliases.get(text or "", text or "")
    return float(named.get(model.positive_class or predicted, 0.0))


def _number(label: Any) -> float:
    """A label as a number; NaN if it is none that a regression could be about."""
    try:
        return regression_value(label)
    except Rejected:
        return math.nan
