"""Bytes to predictions, labels and resource samples and back; the only reader of what strangers send.

    values ── size ── msgspec, typed ── depth, bytes of text, times ──> what was sent, in columns of a batch
                         │ anything wrong                                └──> Prediction or Label, one by one
                         └── diagnosis, slow and exact ──> Rejected(reason, message)

Invariants: nothing but `Rejected` ever comes out of bad input, whatever the bytes; every text that
comes out can be written as UTF-8; of a key that stands twice in an object the last counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from schemas.classes import class_name, class_names, regression_value
from schemas.diagnosis import (
    bad_field,
    diagnose,
    missing_field,
    nests_too_deep,
    tombstone,
    too_deep,
    too_large,
)
from schemas.errors import Reason, Rejected, shown
from schemas.label import Label, SentLabel
from schemas.limits import MAX_NESTING, NAME_BYTES, RECORD_BYTES, REQUEST_ID_BYTES
from schemas.prediction import Answer, Prediction, SentPrediction
from schemas.resource_sample import SentResourceSample
from schemas.times import EARLIEST_MS, event_time_ms, format_time, parse_time_ms, parse_times_ms

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

_decode_prediction = msgspec.json.Decoder(SentPrediction).decode
_decode_label = msgspec.json.Decoder(SentLabel).decode
_decode_resource_sample = msgspec.json.Decoder(SentResourceSample).decode

MANY = 200
"""Event times, from which on reading them all at once is faster than one by one."""
_BACKSLASH, _BRACE, _BRACKET = b"\\{["
_USUAL_ANSWERS = {str, bool, float}
"""Which nothing is left to be asked about, once they are decoded."""
_LARGEST_FLOAT = int(1.7976931348623157e308)

_Sent = TypeVar("_Sent", SentPrediction, SentLabel, SentResourceSample)
_Entry = TypeVar("_Entry")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decoded(Generic[_Sent]):
    """A batch, read.

    `records` are the good ones as they were sent, `indexes` their places in the batch, `times_ms` their event
    times. `rejected` are the others with their places.
    """

    records: Sequence[_Sent]
    indexes: Sequence[int]
    times_ms: npt.NDArray[np.int64]
    rejected: Sequence[tuple[int, Rejected]]

    def without(self, refused: Mapping[int, Rejected]) -> Decoded[_Sent]:
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
    outcomes = _read_all(_prediction, SentPrediction, values, _usual_predictions)
    return _timed(outcomes, timestamps_ms, now_ms, max_future_skew_ms)


def decode_labels(
    values: Sequence[bytes | None], timestamps_ms: Sequence[int], *, now_ms: int, max_future_skew_ms: int
) -> Decoded[SentLabel]:
    """Read a batch of labels; arguments and result as in `decode_predictions`."""
    outcomes = _read_all(_label, SentLabel, values, _usual_labels)
    return _timed(outcomes, timestamps_ms, now_ms, max_future_skew_ms)


def decode_resource_samples(
    values: Sequence[bytes | None], timestamps_ms: Sequence[int], *, now_ms: int, max_future_skew_ms: int
) -> Decoded[SentResourceSample]:
    """Read a batch of resource samples; arguments and result as in `decode_predictions`."""
    outcomes = _read_all(_resource_sample, SentResourceSample, values)
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


def _one(decoded: Decoded[_Sent]) -> tuple[_Sent, int]:
    if decoded.rejected:
        raise decoded.rejected[0][1]
    return decoded.records[0], int(decoded.times_ms[0])


def _read_all(
    read: Callable[[bytes | None, bool], _Sent],
    sent_type: type[_Sent],
    values: Sequence[bytes | None],
    read_usual: Callable[[Sequence[bytes]], list[_Sent] | None] = lambda _: None,
) -> Sequence[_Sent | Rejected]:
    """Read all values; `read_usual` reads plain ones at once, if nothing in them needs a look at each."""
    are_plain = _are_plain(values)
    if are_plain:
        # One of them is bad; which it is and why is found one by one.
        with contextlib.suppress(Exception):
            records = read_usual(cast("Sequence[bytes]", values))
            if records is not None:
                return records
    outcomes: list[_Sent | Rejected] = []
    for value in values:
        try:
            outcomes.append(read(value, are_plain))
        except Rejected as rejected:
            # Its traceback holds this frame, and this frame the whole batch.
            outcomes.append(rejected.with_traceback(None))
        except Exception:  # noqa: BLE001
            # Bad UTF-8 and deep nesting raise Python's own errors, and what raised something nobody
            # thought of must not be read again for ever either.
            outcomes.append(diagnose(value, sent_type))
    return outcomes


def _usual_predictions(values: Sequence[bytes]) -> list[SentPrediction] | None:
    """All of them, if no answer is missing, an integer or a list, and all features are objects."""
    records = list(map(_decode_prediction, values))
    if not {record.prediction.__class__ for record in records} <= _USUAL_ANSWERS:
        return None
    features = [features for record in records if (features := record.features)]
    # Behind a zero each, which may stand in nothing that is usual.
    joined = b"\0".join([b"", *cast("list[bytes]", features)])
    return records if joined.count(b"\0") == joined.count(b"\0{") == len(features) else None


def _usual_labels(values: Sequence[bytes]) -> list[SentLabel] | None:
    """All of them, if none is an integer or a list."""
    records = list(map(_decode_label, values))
    return records if {record.label.__class__ for record in records} <= _USUAL_ANSWERS else None


def _prediction(value: bytes | None, is_plain: bool) -> SentPrediction:
    if value is None:
        raise tombstone()
    if not is_plain and len(value) > RECORD_BYTES:
        raise too_large(value)
    sent = _decode_prediction(value)
    if not is_plain and not _is_plain(value):
        _check_texts(value, request_id=sent.request_id, model=sent.model, model_version=sent.model_version)
        _check_answer_bytes("prediction", sent.prediction)
        for text in (sent.segment or {}).values():
            _check_bytes("segment", text, NAME_BYTES)
    answer = sent.prediction
    if answer is None:
        if sent.status is None or sent.status == "ok":
            raise missing_field("prediction")
    elif answer.__class__ is int or answer.__class__ is list:
        _check_magnitude("prediction", answer)
    if sent.features and bytes(sent.features)[0] != _BRACE and bytes(sent.features) != b"null":
        raise bad_field("features", bytes(sent.features), Reason.WRONG_TYPE)
    return sent


def _label(value: bytes | None, is_plain: bool) -> SentLabel:
    if value is None:
        raise tombstone()
    if not is_plain and len(value) > RECORD_BYTES:
        raise too_large(value)
    sent = _decode_label(value)
    if not is_plain and not _is_plain(value):
        _check_texts(value, request_id=sent.request_id, model=sent.model)
        _check_answer_bytes("label", sent.label)
    if sent.label.__class__ is int or sent.label.__class__ is list:
        _check_magnitude("label", sent.label)
    return sent


def _resource_sample(value: bytes | None, is_plain: bool) -> SentResourceSample:
    if value is None:
        raise tombstone()
    if not is_plain and len(value) > RECORD_BYTES:
        raise too_large(value)
    sent = _decode_resource_sample(value)
    if not is_plain and not _is_plain(value):
        value.decode()
        for field, text in (("target", sent.target), ("model", sent.model), ("model_version", sent.model_version)):
            _check_bytes(field, text, NAME_BYTES)
    if sent.process_start_time is not None:
        parse_time_ms(sent.process_start_time)
    return sent


def _timed(
    outcomes: Sequence[_Sent | Rejected], timestamps_ms: Sequence[int], now_ms: int, max_future_skew_ms: int
) -> Decoded[_Sent]:
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
    times_ms, bad = _event_times_ms([sent.event_time for sent in records], timestamps_ms, now_ms, max_future_skew_ms)
    return Decoded(records=records, indexes=indexes, times_ms=times_ms, rejected=rejected).without(bad)


def _event_times_ms(
    texts: Sequence[str | None], timestamps_ms: Sequence[int], now_ms: int, max_future_skew_ms: int
) -> tuple[npt.NDArray[np.int64], Mapping[int, Rejected]]:
    """Of all records, and by index why some have none."""
    bad: dict[int, Rejected] = {}
    times_ms = None
    if len(texts) >= MANY and None not in texts:
        times_ms = parse_times_ms(cast("Sequence[str]", texts))
    if times_ms is None:
        times_ms = np.zeros(len(texts), dtype=np.int64)
        for index, (text, timestamp_ms) in enumerate(zip(texts, timestamps_ms, strict=True)):
            try:
                times_ms[index] = timestamp_ms if text is None else parse_time_ms(text)
            except Rejected as rejected:
                bad[index] = rejected.with_traceback(None)
    clocks_ms = np.minimum(np.fromiter(timestamps_ms, np.int64, len(timestamps_ms)), now_ms)
    possible = (times_ms >= EARLIEST_MS) & (times_ms - max_future_skew_ms <= clocks_ms)
    for index in np.flatnonzero(~possible).tolist():
        if index not in bad:
            ahead_ms = int(times_ms[index]) - int(clocks_ms[index]) - max_future_skew_ms
            bad[index] = _implausible(texts[index], timestamps_ms[index], int(times_ms[index]), ahead_ms)
    return times_ms, bad


def _implausible(text: str | None, timestamp_ms: int, time_ms: int, ahead_ms: int) -> Rejected:
    named = f"the record's timestamp {timestamp_ms} ms" if text is None else f"event_time {shown(text)}"
    if time_ms < EARLIEST_MS:
        return Rejected(Reason.IMPLAUSIBLE_TIME, f"{named} is before the year 2000; check the sender's clock and unit")
    return Rejected(
        Reason.IMPLAUSIBLE_TIME,
        f"{named} is {ahead_ms} ms beyond max_future_skew; correct the sender's clock or zone",
    )


def _are_plain(values: Sequence[bytes | None]) -> bool:
    """Whether no value of a batch needs a look at size, nesting or text, as each would by `_is_plain`."""
    if None in values:
        return False
    contents = cast("Sequence[bytes]", values)
    joined = b"".join(contents)
    if not joined.isascii() or _BACKSLASH in joined:
        return False
    if len(joined) > RECORD_BYTES and max(map(len, contents)) > RECORD_BYTES:
        return False
    least_bytes = MAX_NESTING * (len("[]") if _BRACKET in joined else len('{"":}'))
    suspects = [value for value in contents if len(value) > least_bytes]
    return all(value.count(_BRACE) + value.count(_BRACKET) <= MAX_NESTING for value in suspects)


def _is_plain(value: bytes) -> bool:
    """Whether a decoded value needs no further look at nesting and text, which is nearly always so.

    In ASCII without escapes a character is a byte, so that the decoder's limits were exact.
    """
    brackets = value.count(_BRACE)
    if _BRACKET in value:
        brackets += value.count(_BRACKET)
    if brackets > MAX_NESTING and nests_too_deep(value):
        raise too_deep()
    return value.isascii() and _BACKSLASH not in value


def _check_texts(value: bytes, *, request_id: str, model: str | None, model_version: str | None = None) -> None:
    value.decode()  # the decoder does not look into fields that it skips
    _check_bytes("request_id", request_id, REQUEST_ID_BYTES)
    _check_bytes("model", model, NAME_BYTES)
    _check_bytes("model_version", model_version, NAME_BYTES)


def _check_answer_bytes(field: str, answer: Answer | None) -> None:
    for text in answer if isinstance(answer, list) else (answer,):
        if isinstance(text, str):
            _check_bytes(field, text, NAME_BYTES)


def _check_bytes(field: str, text: str | None, limit: int) -> None:
    if text is not None and len(text) > limit // 4 and len(text.encode()) > limit:
        raise bad_field(field, text, Reason.OUT_OF_BOUNDS)


def _check_magnitude(field: str, answer: Answer) -> None:
    """Refuse integers that are no 64-bit float: nobody else who reads the JSON could have meant them."""
    for number in answer if isinstance(answer, list) else (answer,):
        if isinstance(number, int) and not -_LARGEST_FLOAT <= number <= _LARGEST_FLOAT:
            raise bad_field(field, number, Reason.OUT_OF_BOUNDS)


def _without_nulls(by_name: dict[str, _Entry | None]) -> dict[str, _Entry]:
    if None in by_name.values():
        return {name: entry for name, entry in by_name.items() if entry is not None}
    return cast("dict[str, _Entry]", by_name)
