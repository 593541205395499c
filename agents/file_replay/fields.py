"""The fields of predictions and labels, and how a column's value becomes one.

Files know fewer types than the wire, or other ones: in CSV and in constants everything is text, and ids are often
integers. What can be meant only one way is converted, everything else refused.
"""

from __future__ import annotations

import decimal
import enum
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from schemas.errors import shown
from streams.ledger.parts import Role

__all__ = ["FIELDS", "REQUIRED", "Kind", "convert", "kind_of"]


class Kind(enum.Enum):
    """What a field holds; the objects hold entries of one kind."""

    TEXT = "text"
    INTEGER = "an integer"
    NUMBER = "a number"
    ANSWER = "a class, a number or a list"
    TIME = "a time"
    TEXTS = "an object of texts"
    NUMBERS = "an object of numbers"
    ANYTHING = "an object"
    FEATURE = "a feature"


FIELDS: Mapping[Role, Mapping[str, Kind]] = MappingProxyType(
    {
        Role.PREDICTIONS: {
            "request_id": Kind.TEXT,
            "instance": Kind.INTEGER,
            "model": Kind.TEXT,
            "model_version": Kind.TEXT,
            "event_time": Kind.TIME,
            "prediction": Kind.ANSWER,
            "score": Kind.NUMBER,
            "probabilities": Kind.NUMBERS,
            "features": Kind.ANYTHING,
            "segment": Kind.TEXTS,
            "signals": Kind.NUMBERS,
            "latency_ms": Kind.NUMBER,
            "status": Kind.TEXT,
            "error": Kind.TEXT,
        },
        Role.LABELS: {
            "request_id": Kind.TEXT,
            "instance": Kind.INTEGER,
            "label": Kind.ANSWER,
            "event_time": Kind.TIME,
            "model": Kind.TEXT,
            "source": Kind.TEXT,
        },
    }
)
"""By topic, in the order of the contract."""

REQUIRED: Mapping[Role, tuple[str, ...]] = MappingProxyType(
    {
        Role.PREDICTIONS: ("request_id", "model", "event_time", "prediction"),
        Role.LABELS: ("request_id", "label", "event_time"),
    }
)
"""What something has to give. On the wire `event_time` has a default; here it is what orders the records."""

_ENTRIES = {Kind.TEXTS: Kind.TEXT, Kind.NUMBERS: Kind.NUMBER, Kind.ANYTHING: Kind.FEATURE}
_BOOLS = {"true": True, "false": False}
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_EXACT = 2**53


def kind_of(role: Role, field: str) -> Kind | None:
    """What a field holds, `segment.country` included; None if there is no such field.

    >>> kind_of(Role.PREDICTIONS, "segment.country"), kind_of(Role.LABELS, "segment.country")
    (<Kind.TEXT: 'text'>, None)
    """
    name, dot, entry = field.partition(".")
    kind = FIELDS[role].get(name)
    if not dot:
        return kind
    return _ENTRIES.get(kind) if kind is not None and entry else None


def convert(kind: Kind, value: Any, *, is_text: bool) -> Any:
    """A column's value as the field's; times stay as they are.

    Args:
        value: not None.
        is_text: the value is text for want of types, so that an answer `1.0` or `True` is a number or a bool, and
            `["a", "b"]` a list.

    Raises: ValueError if it cannot be meant.

    >>> convert(Kind.ANSWER, "True", is_text=True), convert(Kind.ANSWER, "007", is_text=True)
    (True, '007')
    >>> convert(Kind.ANSWER, '["shoes", 17]', is_text=True), convert(Kind.ANSWER, "[shoes", is_text=True)
    (['shoes', 17], '[shoes')
    >>> convert(Kind.TEXT, 4711, is_text=False), convert(Kind.INTEGER, "3.0", is_text=True)
    ('4711', 3)
    >>> convert(Kind.TEXT, decimal.Decimal("4711"), is_text=False), convert(Kind.TEXT, b"r1", is_text=False)
    ('4711', 'r1')
    """
    if isinstance(value, decimal.Decimal):
        is_integer = kind in (Kind.TEXT, Kind.INTEGER) and value == value.to_integral_value()
        value = int(value) if is_integer else float(value)
    if isinstance(value, bytes):
        # Text of programs that do not tell it from bytes; what is no UTF-8 raises a ValueError.
        value = value.decode()
    if kind in _ENTRIES:
        if not isinstance(value, dict):
            raise ValueError(f"{shown(value)} is no object; give its entries one by one, as --map FIELD.NAME=COLUMN")
        entries = value.items()
        return {name: convert(_ENTRIES[kind], entry, is_text=is_text) for name, entry in entries if entry is not None}
    if kind is Kind.ANSWER and is_text and value.startswith("["):
        return _list(value)
    if kind in (Kind.ANSWER, Kind.FEATURE):
        return _typed(value) if is_text else value
    if kind is Kind.TIME:
        return value
    return _CONVERTED[kind](value)


def _list(text: str) -> Any:
    """A list in JSON; any other text is a class."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _typed(text: str) -> str | bool | int | float:
    number = _JSON_NUMBER.fullmatch(text)
    if number is None:
        return _BOOLS.get(text.lower(), text)
    if number[1] or number[2]:
        return float(text)
    # A longer one is an id: as a number it would lose its last digits.
    return int(text) if len(text) <= len(str(_EXACT)) and abs(int(text)) < _EXACT else text


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise ValueError(f"{shown(value)} is no text, nor an integer")


def _integer(value: object) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value.partition(".")[0])
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        return int(value)
    raise ValueError(f"{shown(value)} is no integer")


def _number(value: object) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ValueError(f"{shown(value)} is no number")


_CONVERTED = {Kind.TEXT: _text, Kind.INTEGER: _integer, Kind.NUMBER: _number}
