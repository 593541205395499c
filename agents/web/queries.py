"""Parameters of a request, read strictly: what is unknown or malformed is named, never ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from agents.web.problems import BadRequest
from schemas.errors import Rejected
from schemas.times import parse_time_ms

__all__ = ["LONGEST_TEXT", "Query", "time_ms", "whole_number"]

LONGEST_TEXT = 256
"""Twice what a name may have."""
LONGEST_JSON = 4096
"""It may write a character as six, or as twelve."""


class Query:
    """The parameters of one request.

    Args:
        request: whose path and query are read.
        allowed: the names that the query may have, each once.

    Raises: BadRequest for another name, or one that comes twice; so does each method for what it cannot read.
    """

    def __init__(self, request: web.Request, *allowed: str) -> None:
        self._values = request.query
        for name in self._values:
            if name not in allowed:
                there = f"there are {', '.join(allowed)}" if allowed else "there are none"
                raise BadRequest(f"unknown parameter {name[:80]!r}; {there}", field=name[:80])
            if len(self._values.getall(name)) > 1:
                raise BadRequest(f"{name} is given more than once", field=name)

    def text(self, name: str) -> str | None:
        """A text; None if it is not given."""
        return self._given(name)

    def choice(self, name: str, allowed: Sequence[str]) -> str | None:
        """One of a few words."""
        text = self._given(name)
        if text is not None and text not in allowed:
            raise BadRequest(f"{name} is one of {', '.join(allowed)}, not {text[:40]!r}", field=name)
        return text

    def words(self, name: str) -> tuple[str, ...]:
        """Words that commas divide."""
        return tuple(word for word in (self._given(name) or "").split(",") if word)

    def number(self, name: str, *, least: int, most: int) -> int | None:
        """A whole number within both bounds."""
        text = self._given(name)
        return None if text is None else whole_number(name, text, least=least, most=most)

    def time_ms(self, name: str) -> int | None:
        """A moment, milliseconds since the epoch."""
        text = self._given(name)
        return None if text is None else time_ms(name, text)

    def segment(self, name: str) -> Mapping[str, str] | None:
        """A slice as JSON; None for all predictions."""
        text = self._given(name, longest=LONGEST_JSON)
        if text is None:
            return None
        try:
            return msgspec.json.decode(text, type=dict[str, str]) or None
        except msgspec.DecodeError as error:
            raise BadRequest(
                f'{name} is a JSON object of texts such as {{"country": "DE"}}: {error}', field=name
            ) from error

    def _given(self, name: str, *, longest: int = LONGEST_TEXT) -> str | None:
        text = self._values.get(name)
        if text is not None and len(text) > longest:
            raise BadRequest(f"{name} is longer than {longest} characters", field=name)
        return text


def whole_number(name: str, text: str, *, least: int, most: int) -> int:
    """A whole number within both bounds."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and least <= int(text) <= most):
        raise BadRequest(f"{name} is a whole number from {least} to {most}, not {text[:40]!r}", field=name)
    return int(text)


def time_ms(name: str, text: str) -> int:
    """A moment in RFC 3339, milliseconds since the epoch."""
    try:
        return parse_time_ms(text)
    except Rejected as error:
        raise BadRequest(f"{name} is a time such as 2026-11-23T12:00:00Z, not {text[:40]!r}", field=name) from error
