"""Bytes to predictions, labels and resource samples and back; the only reader of what strangers send.

    values ── size ── msgspec, typed ── depth, bytes of text, times ──> what was sent, in columns of a batch
                         │ anything wrong                                └──> Prediction or Label, one by one
                         └── diagnosis, slow and exact ──> Rejected(reason, message)

Invariants: nothing but `Rejected` ever comes out of bad input, whatever the bytes; every text that
comes out can be written as UTF-8; of a key that stands twice in an object the last counts.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from schemas.classes import class_name, class_names, regression_value
from schemas.diagnosis import bad_field
from schemas.errors import Reason, Rejected
from schemas.event_times import event_times_ms
from schemas.label import Label, SentLabel
from schemas.prediction import Prediction, SentPrediction
from schemas.reading import LABELS, PREDICTIONS, RESOURCE_SAMPLES, Sent, read_all
from schemas.resource_sample import SentResourceSample
from schemas.times import event_time_ms, format_time

__all__ = [
    "Decoded",
    "class_name",
    "class_names",
    "cloud_event_headers",
    "decode_features",
    "decode_labels",
    "decode_predictions",
    "decode_resource_samples",
    "encode",
    "event_time_ms",
    "format_time",
    "read_features",
    "read_label",
    "read_prediction",
    "regression_value",
]

_Entry = TypeVar("_Entry")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decoded(Generic[Sent]):
    """A batch, read.

    `records` are the good ones as they were sent, `indexes` their places in the batch, `times_ms` their event
    times. `rejected` are the others with their places.
    """

    records: Sequence[Sent]
    indexes: Sequence[int]
    times_ms: npt.NDArray[np.int64]
    rejected: Sequence[tuple[int, Rejected]]

    def without(self, refused: Mapping[int, Rejected]) -> Decoded[Sent]:
        """The same batch with some more rejected, named by their places among the good ones."""
        if not refused:
            return self
        good = [at for at in range(len(self.records)) if at not in refused]
        rejected = [*self.rejected, *((self.indexes[at], why) for at, why in refused.items())]
        return Decoded(
            records=[self.records[at] for at in good],
            indexes=[self.indexes[at] for at in good],
            times_ms=self.times_ms[good],
            rejected=sorted(rejected, key=operator.itemgetter(0)),
        )


def decode_predictions(
    values: Sequence[bytes | None], timestamps_ms: Sequence[int], *, now_ms: int, max_future_skew_ms: int
) -> Decoded[SentPrediction]:
    """Read a batch of predictions; a bad one does not disturb its neighbours.

    Args:
        values: record values as Kafka has them, None for a tombstone.
        timestamps_ms: the Kafka timestamp of each, milliseconds since 1970; the default event time.
        now_ms: the reader's clock.
        max_future_skew_ms: how far an event time may be ahead of either clock.
    """
    outcomes = read_all(PREDICTIONS, values)
    return _timed(outcomes, timestamps_ms, now_ms, max_future_skew_ms)


def decode_labels(
    values: Sequence[bytes | None], timestamps_ms: Sequence[int], *, now_ms: int, max_future_skew_ms: int
) -> Decoded[SentLabel]:
    """Read a batch of labels; arguments and result as in `decode_predictions`."""
    outcomes = read_all(LABELS, values)
    return _timed(outcomes, timestamps_ms, now_ms, max_future_skew_ms)


def decode_resource_samples(
    values: Sequence[bytes | None], timestamps_ms: Sequence[int], *, now_ms: int, max_future_skew_ms: int
) -> Decoded[SentResourceSample]:
    """Read a batch of resource samples; arguments and result as in `decode_predictions`."""
    outcomes = read_all(RESOURCE_SAMPLES, values)
    return _timed(outcomes, timestamps_ms, now_ms, max_future_skew_ms)


def read_prediction(value: bytes | None, *, timestamp_ms: int, now_ms: int, max_future_skew_ms: int) -> Prediction:
    """Read one prediction.

    Raises: Rejected; the record is for the dead letters, trying again cannot help.
    """
    decoded = decode_predictions([value], [timestamp_ms], now_ms=now_ms, max_future_skew_ms=max_future_skew_ms)
    sent, time_ms = _one(decoded)
    return Prediction(
        sent.request_id,
        sent.model,
        time_ms,
        sent.instance or 0,
        sent.model_version or "",
        sent.prediction,
        sent.score,
        None if sent.probabilities is None else _without_nulls(sent.probabilities),
        sent.features if bytes(sent.features)[:1] == b"{" else None,
        _without_nulls(sent.segment) if sent.segment else {},
        _without_nulls(sent.signals) if sent.signals else {},
        sent.latency_ms,
        sent.status or "ok",
        sent.error,
    )


def read_label(value: bytes | None, *, timestamp_ms: int, now_ms: int, max_future_skew_ms: int) -> Label:
    """Read one label.

    Raises: Rejected; the record is for the dead letters, trying again cannot help.
    """
    sent, time_ms = _one(decode_labels([value], [timestamp_ms], now_ms=now_ms, max_future_skew_ms=max_future_skew_ms))
    return Label(sent.request_id, sent.label, time_ms, sent.instance or 0, sent.model, sent.source)


def read_features(prediction: Prediction) -> dict[str, Any]:
    """The features of a prediction, empty if it came without.

    Raises: as `decode_features`.
    """
    return {} if prediction.features is None else decode_features(prediction.features)


def decode_features(features: msgspec.Raw) -> dict[str, Any]:
    """What stands in an object of features; whole numbers beyond 64 bits become floats, since few can write them.

    Raises: Rejected with `out_of_bounds` if a number in them is too large to be read.
    """
    try:
        return cast("dict[str, Any]", orjson.loads(bytes(features)))
    except orjson.JSONDecodeError:
        raise bad_field("features", bytes(features), Reason.OUT_OF_BOUNDS) from None


def encode(value: Any) -> bytes:
    """Write a value of plain types or msgspec structs as JSON; NaN and infinities become null."""
    return orjson.dumps(value, default=msgspec.to_builtins)


def cloud_event_headers(kind: str, *, event_id: str, source: str, time_ms: int) -> list[tuple[str, bytes]]:
    """The headers of a record that we publish: CloudEvents 1.0 in binary mode.

    Args:
        kind: prediction, label, report, alert, explain_request, explanation or resource_sample.
        event_id: equal for equal content, so that receivers can drop repeats.
        source: a URI reference that names the sender, such as `/latelabel/worker-1`.
        time_ms: when the event happened.

    Source: CloudEvents 1.0, Kafka protocol binding.
    """
    return [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", f"io.latelabel.{kind}.v1".encode()),
        ("ce_time", format_time(time_ms).encode()),
    ]


def _one(decoded: Decoded[Sent]) -> tuple[Sent, int]:
    if decoded.rejected:
        raise decoded.rejected[0][1]
    return decoded.records[0], int(decoded.times_ms[0])


def _timed(
    outcomes: Sequence[Sent | Rejected], timestamps_ms: Sequence[int], now_ms: int, max_future_skew_ms: int
) -> Decoded[Sent]:
    """Add the event times, and refuse records whose time is none or cannot be true."""
    rejected: list[tuple[int, Rejected]] = []
    if Rejected in {*map(type, outcomes)}:
        rejected = [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, Rejected)]
    records: Sequence[Any] = outcomes
    indexes: Sequence[int] = range(len(outcomes))
    if rejected:
        refused = {index for index, _ in rejected}
        indexes = [index for index in indexes if index not in refused]
        records = [outcomes[index] for index in indexes]
        timestamps_ms = [timestamps_ms[index] for index in indexes]
    times_ms, bad = event_times_ms(
        [sent.event_time for sent in records], timestamps_ms, now_ms=now_ms, max_future_skew_ms=max_future_skew_ms
    )
    return Decoded(records=records, indexes=indexes, times_ms=times_ms, rejected=rejected).without(bad)


def _without_nulls(by_name: dict[str, _Entry | None]) -> dict[str, _Entry]:
    if None in by_name.values():
        return {name: entry for name, entry in by_name.items() if entry is not None}
    return cast("dict[str, _Entry]", by_name)
