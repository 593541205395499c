"""Finds out why a record that the decoder refused is bad.

The decoder is fast because it stops at the first thing it does not like, and says so in words meant
for programmers. Here the same bytes are looked at again, slowly, from the outside in: bytes, JSON,
object, field. Each field is tried with the very type that the decoder used, so that the two cannot
come to hold different opinions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from schemas.errors import Reason, Rejected, shown
from schemas.limits import LIST_ENTRIES, MAX_INSTANCE, MAX_NESTING, NAME_BYTES, RECORD_BYTES, REQUEST_ID_BYTES

__all__ = [
    "FIELD_RULES",
    "bad_field",
    "diagnose",
    "missing_field",
    "nests_too_deep",
    "tombstone",
    "too_deep",
    "too_large",
]

_ANSWER_RULE = (
    f"a string of at most {NAME_BYTES} bytes, true, false, a finite number, or a list of up to {LIST_ENTRIES} of these"
)
_COUNT_RULE = "an integer from 0 to 2^63 - 1"
FIELD_RULES: Mapping[str, str] = MappingProxyType(
    {
        "request_id": f"a string of 1 to {REQUEST_ID_BYTES} bytes",
        "instance": f"an integer from 0 to {MAX_INSTANCE}",
        "model": f"a string of 1 to {NAME_BYTES} bytes",
        "model_version": f"a string of at most {NAME_BYTES} bytes",
        "event_time": "an RFC 3339 time with a zone, as a string",
        "prediction": _ANSWER_RULE,
        "label": _ANSWER_RULE,
        "score": "a number from 0 to 1",
        "probabilities": "an object of numbers from 0 to 1",
        "features": "an object",
        "segment": f"an object of strings of at most {NAME_BYTES} bytes",
        "signals": "an object of finite numbers",
        "latency_ms": "a finite number, not below 0",
        "status": "ok, error or timeout",
        "error": "a string",
        "source": "a string",
        "target": f"a string of 1 to {NAME_BYTES} bytes",
        "cpu_cores": "a finite number of cores, not below 0",
        "cpu_limit_cores": "a finite number of cores above 0; leave it out where there is no limit",
        "cpu_throttled_ratio": "a number from 0 to 1",
        "rss_bytes": _COUNT_RULE,
        "working_set_bytes": _COUNT_RULE,
        "memory_limit_bytes": "an integer from 1 to 2^63 - 1; leave it out where there is no limit",
        "open_fds": _COUNT_RULE,
        "threads": _COUNT_RULE,
        "gpu": "an object of bytes as integers, ratios from 0 to 1 and a temperature",
        "process_start_time": "an RFC 3339 time with a zone, as a string",
        "oom_kills": _COUNT_RULE,
        "pressure": "an object of ratios from 0 to 1",
        "queue_length": "a finite number, not below 0",
    }
)
"""What a field must be, in the words of a message."""

_JSON_SPACE = b" \t\r\n"
_ANY_JSON = msgspec.json.Decoder(msgspec.Raw)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NOT_A_BRACKET = bytes(byte for byte in range(256) if byte not in b"[]{}")
_SQUARE = bytes.maketrans(b"{}", b"[]")

# How msgspec words a wrong type; whatever else it has against a value is about its size.
_OTHER_TYPE_EXPECTED = re.compile(r"Expected .*, got `")


def diagnose(value: bytes | None, sent_type: type[msgspec.Struct]) -> Rejected:
    """Say why `value` cannot be decoded as `sent_type`; the first reason from the outside in.

    Only for values that could not be decoded; it never raises.
    """
    if value is None:
        return tombstone()
    return _whole_value_trouble(value) or _field_trouble(value, sent_type)


def nests_too_deep(value: bytes) -> bool:
    """Whether valid JSON holds objects and lists more than 64 deep; a bracket inside a string is none.

    Each round takes away the innermost level of every branch, so the cost is bounded by the limit
    and not by the depth, and nothing here is recursive.
    """
    brackets = _STRING.sub(b"", value).translate(_SQUARE, _NOT_A_BRACKET)
    for _ in range(MAX_NESTING):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def tombstone() -> Rejected:
    """The refusal of a record without a value."""
    return Rejected(Reason.TOMBSTONE, "the value is null; a record has to carry a JSON object")


def too_deep() -> Rejected:
    """The refusal of a value that `nests_too_deep`."""
    return Rejected(Reason.TOO_DEEP, f"objects and lists nest deeper than {MAX_NESTING} levels; flatten the record")


def too_large(value: bytes) -> Rejected:
    """The refusal of a value over the limit for a record."""
    return Rejected(
        Reason.TOO_LARGE,
        f"the record has {len(value)} bytes, at most {RECORD_BYTES} are read; leave out what is not needed",
    )


def _whole_value_trouble(value: bytes) -> Rejected | None:
    if len(value) > RECORD_BYTES:
        return too_large(value)
    if not value.strip(_JSON_SPACE):
        return Rejected(Reason.EMPTY, "the value is empty; a record has to carry a JSON object")
    try:
        value.decode()
    except UnicodeDecodeError as error:
        at, around = error.start, value[error.start : error.start + 16]
        return Rejected(
            Reason.BAD_UTF8,
            f"byte {at} ({shown(around)}) is not UTF-8{_framing_hint(value)}; send JSON in UTF-8",
        )
    try:
        _ANY_JSON.decode(value)
    except RecursionError:
        return too_deep()
    except msgspec.DecodeError as error:
        return Rejected(
            Reason.MALFORMED_JSON,
            f"{shown(value)} is not JSON ({error}){_framing_hint(value)}; send one JSON object",
        )
    if nests_too_deep(value):
        return too_deep()
    if not value.lstrip(_JSON_SPACE).startswith(b"{"):
        return Rejected(Reason.WRONG_SHAPE, f"{shown(value)} is not a JSON object; send one object per record")
    return None


def _framing_hint(value: bytes) -> str:
    """Name the usual culprits: serialisers that put something before the JSON."""
    if value.startswith(b"\x00"):
        return ", it looks framed for a schema registry"
    if value.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return ", it starts with a byte order mark"
    return ""


def _field_trouble(value: bytes, sent_type: type[msgspec.Struct]) -> Rejected:
    try:
        fields = _FIELDS.decode(value)
    except msgspec.DecodeError as error:
        return Rejected(Reason.MALFORMED_JSON, f"{shown(value)} is not JSON ({error}); send one JSON object")
    declared = msgspec.structs.fields(sent_type)
    for field in declared:
        if field.required and bytes(fields.get(field.encode_name, b"null")) == b"null":
            return missing_field(field.encode_name)
    for field in declared:
        sent = fields.get(field.encode_name)
        if sent is None:
            continue
        try:
            msgspec.json.decode(sent, type=field.type)
        except msgspec.DecodeError as error:
            wrong_type = _OTHER_TYPE_EXPECTED.match(str(error)) is not None
            return bad_field(field.encode_name, bytes(sent), Reason.WRONG_TYPE if wrong_type else Reason.OUT_OF_BOUNDS)
    # Unreachable as long as a struct asks nothing of its fields together.
    return Rejected(Reason.WRONG_TYPE, f"{shown(value)} cannot be read as {sent_type.__name__}")


def missing_field(name: str) -> Rejected:
    """The refusal of a record without a field that it needs."""
    return Rejected(Reason.MISSING_FIELD, f"{name} is missing or null; send {FIELD_RULES[name]}")


def bad_field(name: str, sent: object, reason: Reason) -> Rejected:
    """The refusal of a field that breaks its rule."""
    return Rejected(reason, f"{name} is {shown(sent)}; it must be {FIELD_RULES[name]}")
