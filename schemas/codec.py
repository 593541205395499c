"""Bytes to predictions and labels and back; the only reader of what strangers send.

    value ── size ── msgspec, typed ── depth, bytes of text, time ──> Prediction or Label
                         │ anything wrong
                         └── diagnosis, slow and exact ──> Rejected(reason, message)

Invariants: nothing but `Rejected` ever comes out of bad input, whatever the bytes; every text that
comes out can be written as UTF-8; of a key that stands twice in an object the last counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import msgspec
import orjson

from schemas.classes import class_name, regression_value
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
from schemas.times import EARLIEST_MS, event_time_ms, format_time, parse_time_ms

__all__ = [
    "class_name",
    "cloud_event_headers",
    "encode",
    "event_time_ms",
    "format_time",
    "read_features",
    "read_label",
    "read_labels",
    "read_prediction",
    "read_predictions",
    "regression_value",
]

_decode_prediction = msgspec.json.Decoder(SentPrediction).decode
_decode_label = msgspec.json.Decoder(SentLabel).decode
_decode_features = msgspec.json.Decoder(dict[str, Any]).decode

_BACKSLASH, _BRACE, _BRACKET = b"\\{["
_LARGEST_FLOAT = int(1.7976931348623157e308)

_Record = TypeVar("_Record", Prediction, Label)
_Entry = TypeVar("_Entry")


def read_predictions(
    values: Sequence[bytes | None], timestamps_ms: Sequence[int], *, now_ms: int, max_future_skew_ms: int
) -> list[Prediction | Rejected]:
    """Read a batch of predictions; a bad one does not disturb its neighbours.

    Args:
        values: record values as Kafka has them, None for a tombstone.
        timestamps_ms: the Kafka timestamp of each, milliseconds since 1970; the default event time.
        now_ms: the reader's clock.
        max_future_skew_ms: how far an event time may be ahead of either clock.

    Returns: for each value, in order, the prediction or why it is refused.
    """
    return _read_all(_prediction, SentPrediction, values, timestamps_ms, now_ms, max_future_skew_ms)


def read_labels(
    values: Sequence[bytes | None], timestamps_ms: Sequence[int], *, now_ms: int, max_future_skew_ms: int
) -> list[Label | Rejected]:
    """Read a batch of labels; arguments and result as in `read_predictions`."""
    return _read_all(_label, SentLabel, values, timestamps_ms, now_ms, max_future_skew_ms)


def read_prediction(value: bytes | None, *, timestamp_ms: int, now_ms: int, max_future_skew_ms: int) -> Prediction:
    """Read one prediction.

    Raises: Rejected; the record is for the dead letters, trying again cannot help.
    """
    return _one(read_predictions([value], [timestamp_ms], now_ms=now_ms, max_future_skew_ms=max_future_skew_ms))


def read_label(value: bytes | None, *, timestamp_ms: int, now_ms: int, max_future_skew_ms: int) -> Label:
    """Read one label.

    Raises: Rejected; the record is for the dead letters, trying again cannot help.
    """
    return _one(read_labels([value], [timestamp_ms], now_ms=now_ms, max_future_skew_ms=max_future_skew_ms))


def read_features(prediction: Prediction) -> dict[str, Any]:
    """The features of a prediction, empty if it came without.

    Raises: Rejected with `out_of_bounds` if a number in them is too large to be read.
    """
    if prediction.features is None:
        return {}
    try:
        return _decode_features(prediction.features)
    except msgspec.DecodeError:
        raise bad_field("features", bytes(prediction.features), Reason.OUT_OF_BOUNDS) from None


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


def _read_all(
    read: Callable[[bytes | None, int, int], _Record],
    sent_type: type[msgspec.Struct],
    values: Sequence[bytes | None],
    timestamps_ms: Sequence[int],
    now_ms: int,
    max_future_skew_ms: int,
) -> list[_Record | Rejected]:
    outcomes: list[_Record | Rejected] = []
    for value, timestamp_ms in zip(values, timestamps_ms, strict=True):
        latest_ms = (timestamp_ms if timestamp_ms < now_ms else now_ms) + max_future_skew_ms
        try:
            outcomes.append(read(value, timestamp_ms, latest_ms))
        except Rejected as rejected:
            # Its traceback holds this frame, and this frame the whole batch.
            outcomes.append(rejected.with_traceback(None))
        except Exception:  # noqa: BLE001
            # Bad UTF-8 and deep nesting raise Python's own errors, and what raised something nobody
            # thought of must not be read again for ever either.
            outcomes.append(diagnose(value, sent_type))
    return outcomes


def _one(outcomes: list[_Record | Rejected]) -> _Record:
    outcome = outcomes[0]
    if isinstance(outcome, Rejected):
        raise outcome
    return outcome


def _prediction(value: bytes | None, timestamp_ms: int, latest_ms: int) -> Prediction:
    if value is None:
        raise tombstone()
    if len(value) > RECORD_BYTES:
        raise too_large(value)
    sent = _decode_prediction(value)
    if not _is_plain(value):
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
    return Prediction(
        sent.request_id,
        sent.model,
        _event_time_ms(sent.event_time, timestamp_ms, latest_ms),
        sent.instance or 0,
        sent.model_version or "",
        answer,
        sent.score,
        None if sent.probabilities is None else _without_nulls(sent.probabilities),
        _object(sent.features) if sent.features else None,
        _without_nulls(sent.segment) if sent.segment else {},
        _without_nulls(sent.signals) if sent.signals else {},
        sent.latency_ms,
        sent.status or "ok",
        sent.error,
    )


def _label(value: bytes | None, timestamp_ms: int, latest_ms: int) -> Label:
    if value is None:
        raise tombstone()
    if len(value) > RECORD_BYTES:
        raise too_large(value)
    sent = _decode_label(value)
    if not _is_plain(value):
        _check_texts(value, request_id=sent.request_id, model=sent.model)
        _check_answer_bytes("label", sent.label)
    answer = sent.label
    if answer.__class__ is int or answer.__class__ is list:
        _check_magnitude("label", answer)
    return Label(
        sent.request_id,
        answer,
        _event_time_ms(sent.event_time, timestamp_ms, latest_ms),
        sent.instance or 0,
        sent.model,
        sent.source,
    )


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


def _event_time_ms(text: str | None, timestamp_ms: int, latest_ms: int) -> int:
    time_ms = timestamp_ms if text is None else parse_time_ms(text)
    if EARLIEST_MS <= time_ms <= latest_ms:
        return time_ms
    named = f"the record's timestamp {timestamp_ms} ms" if text is None else f"event_time {shown(text)}"
    if time_ms < EARLIEST_MS:
        raise Rejected(Reason.IMPLAUSIBLE_TIME, f"{named} is before the year 2000; check the sender's clock and unit")
    raise Rejected(
        Reason.IMPLAUSIBLE_TIME,
        f"{named} is {time_ms - latest_ms} ms beyond max_future_skew; correct the sender's clock or zone",
    )


def _object(features: msgspec.Raw) -> msgspec.Raw | None:
    text = bytes(features)
    if text.startswith(b"{"):
        return features
    if text == b"null":
        return None
    raise bad_field("features", text, Reason.WRONG_TYPE)


def _without_nulls(by_name: dict[str, _Entry | None]) -> dict[str, _Entry]:
    if None in by_name.values():
        return {name: entry for name, entry in by_name.items() if entry is not None}
    return cast("dict[str, _Entry]", by_name)
