"""Which column or constant gives each field of a record.

A field takes the column of its own name, unless a mapping or a constant says otherwise; `segment.country` is a field
too. A column of JSON or Parquet may be dotted as well, into the objects of a row.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from agents.file_replay.fields import FIELDS, REQUIRED, convert, kind_of
from agents.file_replay.tables import Row
from schemas.errors import shown
from streams.ledger.parts import Role

__all__ = ["Mapped", "Mapper", "Misused"]


COLUMNS_TOLD = 30
COLUMNS_CACHED = 4_096
"""More than files have, and a bound for those whose keys are never the same."""


class Misused(Exception):
    """What was asked for cannot be meant; the message says what can."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What was asked for of one file: columns and constants by field. An empty column leaves the field out."""

    role: Role
    columns: Mapping[str, str]
    constants: Mapping[str, str]


class Mapper:
    """Makes the fields of a record from a row.

    Args:
        columns: those of the file; None if every row has its own.
        is_text: the file knows no types.

    Raises: Misused for fields and columns that there are not, and for required fields that nothing gives.
    """

    def __init__(self, mapped: Mapped, columns: Sequence[str] | None, *, is_text: bool) -> None:
        self._role = mapped.role
        self._is_text = is_text
        self._given = {*mapped.columns, *mapped.constants}
        for field in sorted(self._given):
            _check_field(mapped.role, field)
        both = sorted(mapped.columns.keys() & mapped.constants)
        if both:
            raise Misused(f"{both[0]} has a column and a constant; leave --map or --set out")
        self._columns = {field: column for field, column in mapped.columns.items() if column}
        self._constants = [(field, _constant(mapped.role, field, text)) for field, text in mapped.constants.items()]
        self._unseen = set(self._columns.values())
        self._own_field = functools.lru_cache(COLUMNS_CACHED)(self._field_of_column)
        if columns is not None:
            self._check_columns(columns)

    @property
    def unseen(self) -> Sequence[str]:
        """Mapped columns that no row has had so far."""
        return sorted(self._unseen)

    def takes(self, column: str) -> bool:
        """Whether a column gives something: itself, or what a dotted mapping finds in it."""
        is_mapped = any(column in (name, name.partition(".")[0]) for name in self._columns.values())
        return is_mapped or self._own_field(column) is not None

    def fields(self, row: Row) -> dict[str, Any]:
        """The fields of one row; those without a value are left out.

        Raises: ValueError if a value cannot be the field's.
        """
        fields: dict[str, Any] = {}
        for column, value in row.items():
            if value is not None:
                field = self._own_field(column)
                if field is not None:
                    self._put(fields, field, value)
        for field, column in self._columns.items():
            value = _find(row, column)
            if value is not _ABSENT:
                self._unseen.discard(column)
                if value is not None:
                    self._put(fields, field, value)
        for field, value in self._constants:
            _place(fields, field, value)
        return fields

    def _put(self, fields: dict[str, Any], field: str, value: Any) -> None:
        kind = kind_of(self._role, field)
        assert kind is not None
        try:
            _place(fields, field, convert(kind, value, is_text=self._is_text))
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from None

    def _field_of_column(self, column: str) -> str | None:
        """The field that a column gives by its own name."""
        is_taken = column in self._given or column.partition(".")[0] in self._given
        return None if is_taken or kind_of(self._role, column) is None else column

    def _check_columns(self, columns: Sequence[str]) -> None:
        more = f" and {len(columns) - COLUMNS_TOLD} more" if len(columns) > COLUMNS_TOLD else ""
        there_are = f"the columns are {', '.join(map(shown, columns[:COLUMNS_TOLD]))}{more}"
        for column in self._columns.values():
            if column not in columns and (self._is_text or column.partition(".")[0] not in columns):
                raise Misused(f"there is no column {column!r}{_suggestion(column, columns)}; {there_are}")
        given = {*self._columns, *(field for field, _ in self._constants)}
        given.update(column for column in columns if self._field_of_column(column) is not None)
        for field in REQUIRED[self._role]:
            if field not in given and not (field == "prediction" and "status" in given):
                raise Misused(f"nothing gives {field}; add --map {field}=COLUMN or --set {field}=VALUE ({there_are})")


def _check_field(role: Role, field: str) -> None:
    if kind_of(role, field) is None:
        fields = FIELDS[role]
        name = field.partition(".")[0]
        if name in fields:
            raise Misused(f"{name} has no entries, so there is no field {field}")
        known = ", ".join(fields)
        raise Misused(f"{role} have no field {field!r}{_suggestion(name, list(fields))}; the fields are {known}")


def _constant(role: Role, field: str, text: str) -> Any:
    kind = kind_of(role, field)
    assert kind is not None
    try:
        return convert(kind, text, is_text=True)
    except ValueError as error:
        raise Misused(f"--set {field}: {error}") from None


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


_ABSENT = object()


def _find(row: Row, column: str) -> Any:
    """A value by its column, dotted ones in the objects of the row."""
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _place(fields: dict[str, Any], field: str, value: Any) -> None:
    name, dot, entry = field.partition(".")
    if dot:
        fields.setdefault(name, {})[entry] = value
    elif isinstance(value, dict):
        fields.setdefault(name, {}).update(value)
    else:
        fields[name] = value
