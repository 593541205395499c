"""The right answer, worked out from the topics alone.

Imports nothing of what it judges: JSON, times, classes, matching and windows are done here once more, in the
plainest way, with everything in memory and nothing streamed. The rules, one function each:

    arrival      the later of a record's own time and its partition's watermark just before it
    predictions  the first of an identity, model and version counts; late, repeated and differing ones do not
    labels       the last (or first) by time, then by class, of those that are in range and arrived in time
    cells        by the prediction's time, once for everything and once for each declared segment
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tests.support.chaos.models import Monitored, monitored_as
from tests.support.chaos.topic_log import Entry

__all__ = ["Cell", "Expected", "Slice", "recount"]

MISSING = "__missing__"

Identity = tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Slice:
    """What is counted together in one base window. `segment` is JSON, `{}` for everything."""

    model: str
    version: str
    segment: str
    window_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """A slice, what became true (None: not known in time) and what the model said."""

    slice: Slice
    label: str | None
    predicted: str


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """What must have been counted.

    `failed` counts failed predictions by slice. `fates` are those of predictions, every one; `read` is by
    topic; `rejected` are the places (partition, offset) of the records that must lie among the dead letters;
    `highest_ms` is the largest event time of all.
    """

    cells: Mapping[Cell, int]
    failed: Mapping[Slice, int]
    fates: Mapping[str, int]
    read: Mapping[str, int]
    rejected: Mapping[str, Collection[tuple[int, int]]]
    highest_ms: int


@dataclasses.dataclass(slots=True)
class _Read:
    """A good record, when it happened, when it arrived, and what it says in the spelling it came in."""

    fields: Mapping[str, Any]
    time_ms: int
    arrival_ms: int
    spelling: str

    @property
    def identity(self) -> Identity:
        return self.fields["request_id"], self.fields.get("instance") or 0


def recount(
    predictions: Sequence[Entry], labels: Sequence[Entry], *, poison: Collection[bytes | None], lateness_ms: int
) -> Expected:
    """Count what the topics hold.

    Args:
        predictions: the whole topic, each partition in order; so `labels`.
        poison: values that are no records; every other one is.
        lateness_ms: how far a partition's watermark stays behind its largest event time.
    """
    good_predictions, bad_predictions = _read(predictions, "prediction", poison, lateness_ms)
    good_labels, bad_labels = _read(labels, "label", poison, lateness_ms)
    fates = Counter({"rejected": len(bad_predictions)})
    kept = _kept_predictions(good_predictions, fates)
    labels_of = _labels_by_identity(good_labels)
    cells, failed = Counter[Cell](), Counter[Slice]()
    for prediction in kept:
        model = monitored_as(prediction.fields["model"])
        if _has_failed(prediction):
            fates["failed"] += 1
            failed.update(_slices(prediction, model))
            continue
        label = _winner(prediction, labels_of[prediction.identity], model)
        fates["never_labelled" if label is None else "matched"] += 1
        predicted = _class(prediction.spelling, model)
        cells.update(Cell(slice_, label, predicted) for slice_ in _slices(prediction, model))
    return Expected(
        cells=cells,
        failed=failed,
        fates=fates,
        read={"predictions": len(predictions), "labels": len(labels)},
        rejected={"predictions": bad_predictions, "labels": bad_labels},
        highest_ms=max((record.time_ms for record in good_predictions + good_labels), default=0),
    )


def _read(
    entries: Sequence[Entry], answer: str, poison: Collection[bytes | None], lateness_ms: int
) -> tuple[list[_Read], set[tuple[int, int]]]:
    good: list[_Read] = []
    bad: set[tuple[int, int]] = set()
    highest_ms: dict[int, int] = defaultdict(int)
    for entry in entries:
        if entry.value is None or entry.value in poison:
            bad.add((entry.partition, entry.offset))
            continue
        fields = json.loads(entry.value)
        time_ms = _milliseconds(fields["event_time"])
        watermark_ms = highest_ms[entry.partition] - lateness_ms
        highest_ms[entry.partition] = max(highest_ms[entry.partition], time_ms)
        good.append(_Read(fields, time_ms, max(time_ms, watermark_ms), _spelling(fields.get(answer))))
    return good, bad


def _milliseconds(text: str) -> int:
    # `timestamp` is a float, which cannot hold every millisecond's exact microseconds; whole seconds it can.
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


def _spelling(answer: object) -> str:
    if answer is None:
        return ""
    if isinstance(answer, bool):
        return "true" if answer else "false"
    if isinstance(answer, float) and answer.is_integer():
        return str(int(answer))
    return str(answer)


def _class(spelling: str, model: Monitored) -> str:
    return model.aliases.get(spelling, spelling)


def _has_failed(prediction: _Read) -> bool:
    return bool(prediction.fields.get("status", "ok") != "ok")


def _kept_predictions(predictions: Sequence[_Read], fates: Counter[str]) -> list[_Read]:
    kept: dict[tuple[Any, ...], _Read] = {}
    for prediction in predictions:
        model = monitored_as(prediction.fields["model"])
        if prediction.arrival_ms > prediction.time_ms + model.horizon_ms:
            fates["late_prediction"] += 1
            continue
        key = (prediction.identity, model.name, prediction.fields.get("model_version", ""), _has_failed(prediction))
        first = kept.setdefault(key, prediction)
        if first is prediction:
            continue
        says_the_same = _class(first.spelling, model) == _class(prediction.spelling, model)
        if first.time_ms == prediction.time_ms and says_the_same:
            fates["duplicate_prediction"] += 1
            first.arrival_ms = min(first.arrival_ms, prediction.arrival_ms)
        else:
            fates["conflicting_prediction"] += 1
    return list(kept.values())


def _labels_by_identity(labels: Sequence[_Read]) -> Mapping[Identity, list[_Read]]:
    found: dict[Identity, list[_Read]] = defaultdict(list)
    for label in labels:
        found[label.identity].append(label)
    return found


def _winner(prediction: _Read, labels: Sequence[_Read], model: Monitored) -> str | None:
    candidates = [
        (label.time_ms, _class(label.spelling, model))
        for label in labels
        if label.fields.get("model", model.name) == model.name
        and -model.skew_ms <= label.time_ms - prediction.time_ms <= model.horizon_ms
        and label.arrival_ms <= prediction.time_ms + model.horizon_ms
        and prediction.arrival_ms <= label.time_ms + model.skew_ms
    ]
    if not candidates:
        return None
    # Texts compare by their UTF-8 bytes, which is the order of code points, as Python's is.
    return (min(candidates) if model.first_label_wins else max(candidates))[1]


def _slices(prediction: _Read, model: Monitored) -> Iterator[Slice]:
    version = prediction.fields.get("model_version", "")
    window_ms = prediction.time_ms - prediction.time_ms % model.base_ms
    yield Slice(model.name, version, "{}", window_ms)
    for name in model.segments:
        value = (prediction.fields.get("segment") or {}).get(name, MISSING)
        yield Slice(model.name, version, json.dumps({name: value}), window_ms)
