"""Why a record is refused: a closed list of reasons, and the one error that decoding raises.

A refusal is permanent. The record goes to the dead letters with its reason and is never tried again.

>>> raise Rejected(Reason.WRONG_SHAPE, "the value is a list, a prediction is an object")
Traceback (most recent call last):
    ...
schemas.errors.Rejected: wrong_shape: the value is a list, a prediction is an object
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from schemas.limits import MAX_NESTING, RECORD_BYTES

__all__ = ["MEANINGS", "Reason", "Rejected", "shown"]

_SHOWN_CHARACTERS = 60


class Reason(enum.StrEnum):
    """Every reason for which a record can become a dead letter; programs may match on the text."""

    TOMBSTONE = "tombstone"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    BAD_UTF8 = "bad_utf8"
    MALFORMED_JSON = "malformed_json"
    WRONG_SHAPE = "wrong_shape"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_BOUNDS = "out_of_bounds"
    BAD_TIME = "bad_time"
    IMPLAUSIBLE_TIME = "implausible_time"
    UNREADABLE_BATCH = "unreadable_batch"


MEANINGS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.TOMBSTONE: "The record has no value.",
        Reason.EMPTY: "The value has no bytes but white space.",
        Reason.TOO_LARGE: f"The value is larger than {RECORD_BYTES:,} bytes.",
        Reason.TOO_DEEP: f"More than {MAX_NESTING} objects and lists inside each other.",
        Reason.BAD_UTF8: "The value is not UTF-8. Inside a field that is ignored it may pass.",
        Reason.MALFORMED_JSON: "The value is not JSON.",
        Reason.WRONG_SHAPE: "It is JSON, but no object.",
        Reason.MISSING_FIELD: "A required field is absent or null.",
        Reason.WRONG_TYPE: "A field has another type than it should.",
        Reason.OUT_OF_BOUNDS: "A field is too long, too large, too small, or none of the words it may be.",
        Reason.BAD_TIME: "`event_time` is not RFC 3339 with a zone.",
        Reason.IMPLAUSIBLE_TIME: "`event_time` is before the year 2000, or too far ahead (`max_future_skew`).",
        Reason.UNREADABLE_BATCH: "A whole batch of records is damaged: one letter for all, without key and value.",
    }
)
"""What each reason says about a record."""


class Rejected(Exception):
    """A record that will never be readable, and why.

    `message` is for people: it names the value (shortened), the limit and the remedy.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def shown(value: object) -> str:
    """A value as it may stand in a message: one short line of printable characters.

    Bytes are read as UTF-8 as far as they are; everything else is shown as Python writes it.

    >>> shown("a" * 100 + "\\n")[-9:]
    'aaaaaa...'
    >>> shown(b'"fr\\x00aud"')
    '"fr\\\\x00aud"'
    """
    if isinstance(value, bytes):
        text = value[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "backslashreplace")
    elif isinstance(value, str):
        text = value[: 2 * _SHOWN_CHARACTERS]
    else:
        text = _written(value)
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: 2 * _SHOWN_CHARACTERS])
    if len(line) > _SHOWN_CHARACTERS:
        return line[: _SHOWN_CHARACTERS - 3] + "..."
    return line


def _written(value: object) -> str:
    try:
        return repr(value)
    except ValueError:
        return "a number of thousands of digits"  # which Python refuses to write in decimal
