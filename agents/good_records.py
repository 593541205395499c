"""From a fetched batch to the records in it that are good, and why the others are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.record_batch import RecordBatch
from agents.refused_record import refusal
from schemas.codec import Decoded, class_name, decode_labels, decode_predictions, regression_value
from schemas.errors import Rejected
from streams.ledger.parts import Role
from streams.monitored_model import MonitoredModel, Task

__all__ = ["GoodRecords", "PackingSettings", "read_batch"]


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


@dataclasses.dataclass(frozen=True, slots=True)
class GoodRecords:
    """Those of a batch from an offset on.

    Each with its index in the batch, its class as it was sent (None: no answer) and its event time. `rejected` are
    the others, by index.
    """

    records: Sequence[Any]
    indexes: Sequence[int]
    classes: Sequence[str | None]
    times_ms: npt.NDArray[np.int64]
    rejected: Sequence[tuple[int, Rejected]]


def read_batch(batch: RecordBatch, role: Role, settings: PackingSettings, *, start: int, now_ms: int) -> GoodRecords:
    """Read a batch from an offset on."""
    first = batch.index_from(start)
    decode: Callable[..., Decoded[Any]] = decode_predictions if role is Role.PREDICTIONS else decode_labels
    decoded = decode(
        batch.values[first:],
        batch.timestamps_ms[first:],
        now_ms=now_ms,
        max_future_skew_ms=settings.max_future_skew_ms,
    )
    classes, refused = _classes(decoded.records, role, settings)
    good = decoded.without(refused)
    return GoodRecords(
        records=good.records,
        indexes=[first + index for index in good.indexes] if first else good.indexes,
        classes=[each for at, each in enumerate(classes) if at not in refused] if refused else classes,
        times_ms=good.times_ms,
        rejected=[(first + at, refusal(batch.values[first + at], why)) for at, why in good.rejected],
    )


def _classes(
    records: Sequence[Any], role: Role, settings: PackingSettings
) -> tuple[Sequence[str | None], Mapping[int, Rejected]]:
    """What each record names, aliases not applied, and by index why some name no class."""
    is_prediction = role is Role.PREDICTIONS
    answers = [record.prediction for record in records] if is_prediction else [record.label for record in records]
    numeric = {
        name
        for name in {record.model for record in records}
        if name is not None and settings.model(name).task is Task.REGRESSION
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
