"""Rows of predictions: what many have in common is worked out once for each kind in a batch.

records ──> kinds (model version, class, segment values, status) ──> one table row each
    └────────────── which kind each is ──────────────────────────────────┴──> columns
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from agents.good_records import GoodRecords, PackingSettings, column, numbered
from agents.name_registry import MODEL_VERSIONS, NameRegistry, segment_values_group
from schemas.prediction import SentPrediction
from streams.identity import (
    HASH_BYTES,
    KEY_BYTES,
    class_hash,
    items_hash,
    model_version_hash,
    model_version_name,
    segment_hash,
    segment_name,
)
from streams.ledger.agreements import Agreements
from streams.ledger.eras import Eras, in_force
from streams.ledger.item_lists import set_of
from streams.ledger.parts import (
    HAS_ITEMS,
    HAS_VALUE,
    IS_FAILED,
    TIME_BYTES,
    WORD_BYTES,
    Definitions,
    NameList,
    pack_items,
)
from streams.ledger.terms import Terms
from streams.monitored_model import MonitoredModel, Task

__all__ = ["PredictionRows"]

MISSING = "__missing__"
OTHER_NAME = "__other__"
PROBABILITY_SLACK = 0.02
"""By which the probabilities of all classes may miss 1: of many classes in single precision, or rounded for the wire to
as little as two decimals. What is no distribution at all misses it by more."""

_Place = tuple[str, str, int]
"""A model version, and into which of the eras in force the event time falls: the first, unless they change within the
batch."""
_Kind = tuple[str, str, int, str | None, tuple[str | None, ...], str | None]
"""What rows of one kind share: their place, class as it was sent (lists are apart), values of the declared segments,
status."""
_SUCCEEDED = (None, "ok")


def _prediction_row(words: int) -> np.dtype[np.void]:
    fields: list[Any] = [("key", f"V{KEY_BYTES}"), ("arrival", ">u8"), ("flags", "u1"), ("terms", "V8")]
    fields += [("time", "u1", TIME_BYTES), ("predicted", "V8"), ("count", "u1")]
    return np.dtype([*fields, ("tail", f"V{words * WORD_BYTES}")] if words else fields)


@dataclasses.dataclass(frozen=True, slots=True)
class _Subject:
    """One place of a batch: the model's settings, terms, and declared segments, single and crossed."""

    model: MonitoredModel
    terms: Terms
    crosses: tuple[tuple[str, ...], ...]


class PredictionRows:
    """Packs predictions; asks the registry about names that it has not seen."""

    def __init__(self, registry: NameRegistry, settings: PackingSettings) -> None:
        self._registry = registry
        self._settings = settings

    async def pack(self, found: GoodRecords, agreed: Agreements) -> tuple[npt.NDArray[np.void], int, Definitions]:
        names: dict[bytes, str] = {}
        models = map(self._settings.model, {record.model for record in found.records})
        eras = {model.name: _in_force_here(agreed.eras(model), found.times_ms) for model in models}
        kinds, kind_of = _kinds(found, eras)
        by_place = await self._subjects(dict.fromkeys(kind[:3] for kind in kinds), eras, names)
        subjects = [by_place[kind[:3]] for kind in kinds]
        lists_of = _lists(found, kind_of, subjects, names) if found.has_lists else {}
        lists = {MODEL_VERSIONS: self._registry.list_of(MODEL_VERSIONS)}
        slices = await self._slices(kinds, subjects, names, lists)
        predicted = []
        for subject, (*_, text, _, _) in zip(subjects, kinds, strict=True):
            name = "" if text is None else subject.model.class_aliases.get(text, text)
            predicted.append(hashed := class_hash(name))
            if subject.terms.counts_classes:
                names[hashed] = name
        values, has_value = _values(found, kind_of, subjects)
        of_kinds = np.array([len(each) // WORD_BYTES for each in slices], dtype=np.uint8)
        counts = of_kinds[kind_of]
        words = int((counts + has_value).max(initial=0))
        for at, each in lists_of.items():
            words = max(words, int(counts[at]) + len(each.packed) // WORD_BYTES)
        table = np.zeros(len(kinds), dtype=_prediction_row(words))
        table["terms"] = column([subject.terms.hash for subject in subjects], HASH_BYTES)
        table["predicted"] = column(predicted, HASH_BYTES)
        table["count"] = of_kinds
        table["flags"] = [0 if status in _SUCCEEDED else IS_FAILED for *_, status in kinds]
        if words:
            table["tail"] = column([each.ljust(words * WORD_BYTES, b"\0") for each in slices], words * WORD_BYTES)
        # Whole rows are taken faster as opaque bytes than field by field.
        rows = table.view(f"V{table.dtype.itemsize}").take(kind_of).view(table.dtype)
        rows["flags"] |= has_value * np.uint8(HAS_VALUE)
        for at, each in lists_of.items():
            rows["predicted"][at] = np.frombuffer(each.hash, dtype="V8")[0]
            rows["flags"][at] |= HAS_ITEMS if each.packed else 0
        if words:
            tail = rows.view(np.uint8).reshape(len(rows), -1)[:, -words * WORD_BYTES :].view("V8")
            tail[np.flatnonzero(has_value), counts[has_value]] = values[has_value].astype(">f8").view("V8")
            for at, each in lists_of.items():
                tail[at, counts[at] : counts[at] + len(each.packed) // WORD_BYTES] = np.frombuffer(each.packed, "V8")
        terms = {subject.terms.hash: subject.terms.pack() for subject in by_place.values()}
        return rows, words, Definitions(names, terms, lists)

    async def _subjects(
        self,
        places: Collection[_Place],
        eras: Mapping[str, Eras],
        names: dict[bytes, str],
    ) -> Mapping[_Place, _Subject]:
        hashes = {place: model_version_hash(*place[:2]) for place in places}
        limits = self._registry.limits
        await self._registry.decide(MODEL_VERSIONS, hashes.values(), limit=limits.models)
        subjects = {}
        for (name, version, at), hashed in hashes.items():
            era = eras[name][at]
            model = era.counted(self._settings.model(name))
            is_beyond = not self._registry.has_cells(MODEL_VERSIONS, hashed)
            terms = Terms.of(model, version, beyond_limit=is_beyond)
            counted = (OTHER_NAME, OTHER_NAME) if is_beyond else (name, version)
            names[terms.counted_as] = model_version_name(*counted)
            names.update((class_hash(text), text) for text in model.class_aliases.values())
            if not is_beyond:
                self._registry.declare_classes(terms.class_group, model)
            subjects[name, version, at] = _Subject(model, terms, era.crosses)
        return subjects

    async def _slices(
        self,
        kinds: Collection[_Kind],
        subjects: Sequence[_Subject],
        names: dict[bytes, str],
        lists: dict[bytes, NameList],
    ) -> Sequence[bytes]:
        """The packed slices of every kind."""
        keys = [(kind[:3], kind[4]) for kind in kinds]
        sent = dict(zip(keys, subjects, strict=True))
        found = [
            (subject, dict(zip(_segment_names(subject.crosses), values, strict=True)))
            for (_, values), subject in sent.items()
        ]
        lists |= await self._decide_segment_values(found)
        packed = {}
        for each, (subject, segment) in zip(sent, found, strict=True):
            slices = [
                {name: self._counted_value(subject.model.name, name, segment[name]) for name in cross}
                for cross in subject.crosses
            ]
            names.update((segment_hash(piece), segment_name(piece)) for piece in slices)
            packed[each] = b"".join(map(segment_hash, slices))
        return [packed[key] for key in keys]

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


def _segment_names(crosses: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for cross in crosses for name in cross))


def _in_force_here(eras: Eras, times_ms: npt.NDArray[np.int64]) -> Eras:
    """Those that hold at some of the times."""
    if len(eras) == 1:
        return eras
    first, last = in_force(eras, int(times_ms.min())), in_force(eras, int(times_ms.max()))
    return eras[first : last + 1]


def _kinds(found: GoodRecords, eras: Mapping[str, Eras]) -> tuple[Collection[_Kind], npt.NDArray[np.intp]]:
    """All kinds of rows in a batch, and which of them each record is."""
    models = [record.model for record in found.records]
    versions = [record.model_version or "" for record in found.records]
    statuses = [record.status for record in found.records]
    at: Sequence[int] = [0] * len(models)
    if any(len(each) > 1 for each in eras.values()):
        at = [in_force(eras[name], time_ms) for name, time_ms in zip(models, found.times_ms.tolist(), strict=True)]
    values = _segment_values(found, zip(models, at, strict=True), eras)
    return numbered(zip(models, versions, at, found.texts, values, statuses, strict=True))


def _segment_values(
    found: GoodRecords, places: Iterable[tuple[str, int]], eras: Mapping[str, Eras]
) -> Iterable[tuple[str | None, ...]]:
    """Those of the declared segments, of each record, by its model and which of the eras in force."""
    names_of = {(model, at): _segment_names(era.crosses) for model, each in eras.items() for at, era in enumerate(each)}
    segments = [record.segment or {} for record in found.records]
    names, *others = {*names_of.values()} or {()}
    if others:
        pairs = zip(segments, map(names_of.__getitem__, places), strict=True)
        return [tuple([segment.get(name) for name in names]) for segment, names in pairs]
    if not names:
        return itertools.repeat((), len(segments))
    return zip(*([segment.get(name) for segment in segments] for name in names), strict=True)


@dataclasses.dataclass(frozen=True, slots=True)
class _List:
    """A list that was predicted, by its names' hashes; `packed` is empty where the request failed."""

    hash: bytes
    packed: bytes


def _lists(
    found: GoodRecords,
    kind_of: npt.NDArray[np.intp],
    subjects: Sequence[_Subject],
    names: dict[bytes, str],
) -> Mapping[int, _List]:
    """The lists among the records, by index. Classes are named; items of a ranking are not, they may be millions."""
    lists = {}
    for at, named in enumerate(found.classes):
        if isinstance(named, tuple):
            model = subjects[kind_of[at]].model
            texts = [model.class_aliases.get(text, text) for text in named]
            items = tuple(map(class_hash, texts))
            if model.task is Task.MULTILABEL:
                names.update(zip(items, texts, strict=True))
                items = set_of(items)
            has_answer = found.records[at].status in _SUCCEEDED
            lists[at] = _List(items_hash(items), pack_items(items) if has_answer else b"")
    return lists


def _values(
    found: GoodRecords, kind_of: npt.NDArray[np.intp], subjects: Sequence[_Subject]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The number of each row, and whether it has one."""
    records = found.records
    scores = [record.score for record in records]
    others: Sequence[int] = range(len(records))
    if all(_takes_score(subject.model) for subject in subjects):
        others = [at for at in others if records[at].probabilities or records[at].status not in _SUCCEEDED]
    for at in others:
        named = found.classes[at]
        text = None if isinstance(named, tuple) else named
        scores[at] = _value(records[at], text, subjects[kind_of[at]].model)
    values = np.fromiter(scores, np.float64, len(scores))
    has_value = ~np.isnan(values)
    # Here NaN is a number: probabilities that do not add up.
    has_value[list(others)] = [scores[at] is not None for at in others]
    return values, has_value


def _takes_score(model: MonitoredModel) -> bool:
    return model.task.counts_classes and (model.task is not Task.BINARY or model.positive_class is not None)


def _value(prediction: SentPrediction, text: str | None, model: MonitoredModel) -> float | None:
    """The number of a regression, or the score, or the probability of the positive class or else of the predicted one,
    where probabilities are all there is; NaN for those that do not add up."""
    if prediction.status not in _SUCCEEDED:
        return None
    if model.task is Task.REGRESSION:
        return float(cast("float", prediction.prediction))
    if not _takes_score(model):
        return None
    if prediction.score is not None:
        return prediction.score
    probabilities = {name: share for name, share in (prediction.probabilities or {}).items() if share is not None}
    if not probabilities:
        return None
    if abs(sum(probabilities.values()) - 1.0) > PROBABILITY_SLACK:
        return math.nan
    named = {model.class_aliases.get(name, name): share for name, share in probabilities.items()}
    predicted = model.class_aliases.get(text or "", text or "")
    return float(named.get(model.positive_class or predicted, 0.0))
