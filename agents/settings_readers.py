"""How single values of the configuration are read: each reader says what it expects when it finds something else."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from agents.durations import DURATION_EXAMPLES, DURATION_PATTERN, duration_ms, duration_text
from agents.settings_fields import Reader, reads
from agents.settings_file import Found, Unreadable, did_you_mean
from schemas.errors import Rejected
from schemas.times import format_time, parse_time_ms

__all__ = [
    "choice",
    "duration",
    "each",
    "file_name",
    "flag",
    "mapping_of",
    "moment",
    "number",
    "optional",
    "text",
    "whole_number",
]

ANYTHING = r"(?s:.+)"
LONGEST_MS = 100 * 365 * 86_400_000


def text(expected: str, *, pattern: str = ANYTHING, longest_bytes: int = 1000) -> Reader:
    """Text that the whole `pattern` matches, of at most `longest_bytes` in UTF-8. `\\w` is ASCII, as Kafka has it."""
    compiled = re.compile(pattern, re.ASCII)
    matched = {} if pattern == ANYTHING else {"pattern": f"^(?:{pattern})$"}

    @reads({"type": "string", "minLength": 1, "maxLength": longest_bytes, **matched})
    def read(found: Found) -> str:
        value = found.text
        if value is None and found.shown[:1].isalnum() and not found.is_mapping:
            found.fail(f"{expected}; put it in quotes")
        if value is None or not compiled.fullmatch(value) or len(value.encode()) > longest_bytes:
            found.fail(expected)
        return value

    return read


@reads({"type": "string", "format": "date-time"})
def moment(found: Found) -> str:
    """A time, in UTC."""
    try:
        return format_time(parse_time_ms(found.text or ""))
    except Rejected:
        found.fail("a time with a zone such as 2026-11-23T12:00:00Z")


def whole_number(least: int, most: int) -> Reader:
    """An int within both bounds."""

    @reads({"type": "integer", "minimum": least, "maximum": most})
    def read(found: Found) -> int:
        value = _scalar(found)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            found.fail(f"a whole number from {least} to {most}")
        return value

    return read


def number(least: float, most: float) -> Reader:
    """A float within both bounds."""

    @reads({"type": "number", "minimum": least, "maximum": most})
    def read(found: Found) -> float:
        value = _scalar(found)
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            found.fail(f"a number from {least:g} to {most:g}")
        return float(value)

    return read


def duration(least_ms: int = 0, most_ms: int = LONGEST_MS, *, step_ms: int = 1) -> Reader:
    """Milliseconds within both bounds, a multiple of `step_ms`."""
    texts = {"type": "string", "pattern": f"^(?:{DURATION_PATTERN})$", "examples": DURATION_EXAMPLES.split(", ")[:1]}

    @reads({"anyOf": [texts, {"const": 0}]})
    def read(found: Found) -> int:
        value = _scalar(found)
        try:
            milliseconds = duration_ms(str(value))
        except ValueError:
            found.fail(f"a duration such as {DURATION_EXAMPLES}")
        if not least_ms <= milliseconds <= most_ms:
            found.fail(f"a duration from {duration_text(least_ms)} to {duration_text(most_ms)}")
        if milliseconds % step_ms:
            found.fail(f"a multiple of {duration_text(step_ms)}")
        return milliseconds

    return read


def choice(*names: str) -> Reader:
    """One of a few words."""

    @reads({"enum": [str(name) for name in names]})
    def read(found: Found) -> str:
        value = found.text
        if value not in names:
            found.fail(f"one of {', '.join(names)}{did_you_mean(str(value), names)}")
        return value

    return read


@reads({"type": "boolean"})
def flag(found: Found) -> bool:
    """True or false."""
    value = _scalar(found)
    if isinstance(value, bool):
        return value
    # The environment knows texts alone.
    if value not in ("true", "false"):
        found.fail("true or false")
    return value == "true"


@reads({"type": "string", "minLength": 1})
def file_name(found: Found) -> Path:
    """A path; relative ones start at the configuration file's folder."""
    value = found.text
    if not value:
        found.fail("the name of a file")
    return found.folder / Path(value).expanduser()


def optional(read: Reader) -> Reader:
    """`null` as None, everything else as `read` reads it."""

    @reads({"anyOf": [read.schema, {"enum": [None, ""]}]})
    def read_or_none(found: Found) -> Any:
        return None if not found.is_mapping and found.shown in ("nothing", "null", "~", '""') else read(found)

    return read_or_none


def each(
    read: Reader,
    expected: str,
    *,
    least: int = 0,
    most: int = 10_000,
    name: str | None = None,
    repeats: bool = False,
) -> Reader:
    """A tuple of what `read` makes of each item.

    Args:
        name: the attribute and key that no two items may have alike; None: no two items may be alike.
        repeats: items may come twice.
    """

    @reads({"type": "array", "items": read.schema, "minItems": least, "maxItems": most, "uniqueItems": True})
    def read_all(found: Found) -> tuple[Any, ...]:
        try:
            items = found.items()
        except Unreadable:
            found.fail(expected)
        if not least <= len(items) <= most:
            found.fail(expected)
        values: list[Any] = []
        seen: set[Hashable] = set()
        failed = False
        for item in items:
            identity: Hashable = None
            try:
                values.append(read(item))
                if not repeats:
                    identity = values[-1] if name is None else getattr(values[-1], name)
            except Unreadable:
                failed = True
                # Another mistake in it must not hide that its name is taken.
                identity = None if name is None else item.text_at(name)
            if identity is not None and identity in seen:
                item.complain(f"{json.dumps(identity) if name else item.shown} a second time", "expected each once")
                failed = True
            seen.add(identity)
        if failed:
            raise Unreadable
        return tuple(values)

    return read_all


def mapping_of(read_key: Reader, read_value: Reader, expected: str) -> Reader:
    """A dict of what the readers make of each key and value."""

    @reads({"type": "object", "additionalProperties": read_value.schema})
    def read_all(found: Found) -> dict[Any, Any]:
        try:
            entries = found.entries()
        except Unreadable:
            found.fail(expected)
        values: dict[Any, Any] = {}
        failed = False
        for key, value in entries.values():
            try:
                values[read_key(key)] = read_value(value)
            except Unreadable:
                failed = True
        if failed:
            raise Unreadable
        return values

    return read_all


def _scalar(found: Found) -> str | int | float | bool | None:
    try:
        return found.scalar
    except Unreadable:
        return None
