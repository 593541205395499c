"""From values to what was sent, as msgspec structs: at once where a batch is plain and usual, else one by one.

Nothing but `Rejected` comes of a bad value, whatever its bytes: a slow and exact diagnosis says why.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

import msgspec

from schemas.diagnosis import (
    bad_field,
    diagnose,
    missing_field,
    nests_too_deep,
    tombstone,
    too_deep,
    too_large,
)
from schemas.errors import Reason, Rejected
from schemas.label import SentLabel
from schemas.limits import MAX_NESTING, NAME_BYTES, RECORD_BYTES, REQUEST_ID_BYTES
from schemas.prediction import Answer, SentPrediction
from schemas.resource_sample import SentResourceSample
from schemas.times import parse_time_ms

__all__ = ["LABELS", "PREDICTIONS", "RESOURCE_SAMPLES", "Reading", "Sent", "read_all"]

_BACKSLASH, _BRACE, _BRACKET = b"\\{["
_USUAL_ANSWERS = {str, bool, float}
"""Which nothing is left to be asked about, once they are decoded."""
_LARGEST_FLOAT = int(1.7976931348623157e308)

Sent = TypeVar("Sent", SentPrediction, SentLabel, SentResourceSample)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[Sent]):
    """How records of one type are read.

    `check` refuses what the decoder lets through, `check_texts` texts with too many bytes. Of `are_usual` records none
    needs `check`.
    """

    sent_type: type[Sent]
    decode: Callable[[bytes], Sent]
    check: Callable[[Sent], None]
    check_texts: Callable[[Sent], None]
    are_usual: Callable[[Sequence[Sent]], bool]


def read_all(reading: Reading[Sent], values: Sequence[bytes | None]) -> Sequence[Sent | Rejected]:
    """What each value is, or why it is none."""
    are_plain = _are_plain(values)
    if are_plain:
        # If this fails one of them is bad; which it is and why is found one by one.
        with contextlib.suppress(Exception):
            records = list(map(reading.decode, cast("Sequence[bytes]", values)))
            return records if reading.are_usual(records) else [_checked(reading, record) for record in records]
    outcomes: list[Sent | Rejected] = []
    for value in values:
        try:
            outcomes.append(_read(reading, value, is_plain=are_plain))
        except Rejected as rejected:
            # Its traceback holds this frame, and this frame the whole batch.
            outcomes.append(rejected.with_traceback(None))
        except Exception:  # noqa: BLE001
            # Bad UTF-8 and deep nesting raise Python's own errors, and what raised something nobody
            # thought of must not be read again for ever either.
            outcomes.append(diagnose(value, reading.sent_type))
    return outcomes


def _checked(reading: Reading[Sent], sent: Sent) -> Sent | Rejected:
    try:
        reading.check(sent)
    except Rejected as rejected:
        return rejected.with_traceback(None)
    return sent


def _read(reading: Reading[Sent], value: bytes | None, *, is_plain: bool) -> Sent:
    if value is None:
        raise tombstone()
    if not is_plain and len(value) > RECORD_BYTES:
        raise too_large(value)
    sent = reading.decode(value)
    if not is_plain and not _is_plain(value):
        value.decode()  # the decoder does not look into fields that it skips
        reading.check_texts(sent)
    reading.check(sent)
    return sent


def _are_usual_predictions(records: Sequence[SentPrediction]) -> bool:
    """Whether no answer is missing, an integer or a list, and all features are objects."""
    if not {record.prediction.__class__ for record in records} <= _USUAL_ANSWERS:
        return False
    features = [features for record in records if (features := record.features)]
    # Behind a zero each, which may stand in nothing that is usual.
    joined = b"\0".join([b"", *cast("list[bytes]", features)])
    return joined.count(b"\0") == joined.count(b"\0{") == len(features)


def _are_usual_labels(records: Sequence[SentLabel]) -> bool:
    """Whether none is an integer or a list."""
    return {record.label.__class__ for record in records} <= _USUAL_ANSWERS


def _check_prediction(sent: SentPrediction) -> None:
    answer = sent.prediction
    if answer is None:
        if sent.status is None or sent.status == "ok":
            raise missing_field("prediction")
    elif answer.__class__ is int or answer.__class__ is list:
        _check_magnitude("prediction", answer)
    if sent.features and bytes(sent.features)[0] != _BRACE and bytes(sent.features) != b"null":
        raise bad_field("features", bytes(sent.features), Reason.WRONG_TYPE)


def _check_label(sent: SentLabel) -> None:
    if sent.label.__class__ is int or sent.label.__class__ is list:
        _check_magnitude("label", sent.label)


def _check_resource_sample(sent: SentResourceSample) -> None:
    if sent.process_start_time is not None:
        parse_time_ms(sent.process_start_time)


def _check_prediction_texts(sent: SentPrediction) -> None:
    _check_bytes("request_id", sent.request_id, REQUEST_ID_BYTES)
    _check_bytes("model", sent.model, NAME_BYTES)
    _check_bytes("model_version", sent.model_version, NAME_BYTES)
    _check_answer_bytes("prediction", sent.prediction)
    for text in (sent.segment or {}).values():
        _check_bytes("segment", text, NAME_BYTES)


def _check_label_texts(sent: SentLabel) -> None:
    _check_bytes("request_id", sent.request_id, REQUEST_ID_BYTES)
    _check_bytes("model", sent.model, NAME_BYTES)
    _check_answer_bytes("label", sent.label)


def _check_resource_sample_texts(sent: SentResourceSample) -> None:
    for field, text in (("target", sent.target), ("model", sent.model), ("model_version", sent.model_version)):
        _check_bytes(field, text, NAME_BYTES)


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


PREDICTIONS = Reading(
    sent_type=SentPrediction,
    decode=msgspec.json.Decoder(SentPrediction).decode,
    check=_check_prediction,
    check_texts=_check_prediction_texts,
    are_usual=_are_usual_predictions,
)
LABELS = Reading(
    sent_type=SentLabel,
    decode=msgspec.json.Decoder(SentLabel).decode,
    check=_check_label,
    check_texts=_check_label_texts,
    are_usual=_are_usual_labels,
)
RESOURCE_SAMPLES = Reading(
    sent_type=SentResourceSample,
    decode=msgspec.json.Decoder(SentResourceSample).decode,
    check=_check_resource_sample,
    check_texts=_check_resource_sample_texts,
    are_usual=lambda _: False,
)
