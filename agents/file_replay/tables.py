"""CSV, JSON Lines and Parquet as rows, with the place of each for whoever has to correct it.

Read piece by piece, never as a whole. CSV is RFC 4180 in UTF-8 with one line of column names; an empty cell is an
absent value. In Parquet an absent value is null or NaN, and a map is an object.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import orjson

from schemas.errors import shown
from streams.errors import PermanentFailure

__all__ = ["ROWS_AT_ONCE", "Row", "Table", "UnreadableFile", "open_table"]

Row: TypeAlias = Mapping[str, Any]
Takes: TypeAlias = Callable[[str], bool]
"""Whether a column is wanted. Where columns have types, one that is not is never converted."""

FORMATS = ".csv, .jsonl, .ndjson and .parquet"
ROWS_AT_ONCE = 1_000
CELL_CHARACTERS = 1 << 20
"""The largest record that is taken at all has as many bytes."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UnreadableFile(PermanentFailure):
    """A file, or a place in one, that is not what its name says."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A file that was opened once to learn its columns; `rows` opens it anew.

    `columns` is None where every row has its own. `unit` is what rows are numbered by.
    """

    path: Path
    columns: Sequence[str] | None
    is_text: bool
    unit: str
    read: Callable[[Path, Takes], Iterator[tuple[int, Row]]]

    def rows(self, takes: Takes) -> Iterator[tuple[int, Row]]:
        """Number and values of every row; of columns that are not wanted there may be none.

        Raises: UnreadableFile that names the place.
        """
        try:
            yield from self.read(self.path, takes)
        except OSError as error:
            raise UnreadableFile(f"{self.path}: {error.strerror or error}") from error

    def place(self, number: int) -> str:
        """How a message names a row."""
        return f"{self.path}:{number}" if self.unit == "line" else f"{self.path}, {self.unit} {number}"


def open_table(path: Path) -> Table:
    """Look at a file.

    Raises: UnreadableFile if it cannot be read, or nothing tells how.
    """
    suffix = path.suffix.lower()
    try:
        if not path.is_file():
            raise UnreadableFile(f"{path}: not a file; it is read twice, so that nothing is sent if it has mistakes")
        if suffix == ".csv":
            return Table(path=path, columns=_csv_columns(path), is_text=True, unit="line", read=_csv_rows)
        if suffix in (".jsonl", ".ndjson"):
            return Table(path=path, columns=None, is_text=False, unit="line", read=_json_rows)
        if suffix == ".parquet":
            columns = _parquet_file(path).schema_arrow.names
            _refuse_repeated(str(path), columns)
            return Table(path=path, columns=columns, is_text=False, unit="row", read=_parquet_rows)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from error
    raise UnreadableFile(f"{path}: the name does not tell the format; {FORMATS} are read, unpacked")


def _text_lines(path: Path, file: BinaryIO) -> Iterator[str]:
    # Decoded line by line, so that a message can name the line.
    for number, line in enumerate(file, start=1):
        content = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        try:
            yield content.decode()
        except UnicodeDecodeError as error:
            bad = content[error.start]
            raise UnreadableFile(f"{path}:{number}: the byte 0x{bad:02x} is not UTF-8; convert the file") from None


def _cells(path: Path, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file that are not empty, numbered by where they begin."""
    csv.field_size_limit(CELL_CHARACTERS)
    reader = csv.reader(_text_lines(path, file), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UnreadableFile(f"{path}:{number}: not CSV: {error}") from None
        if cells:
            yield number, cells


def _csv_columns(path: Path) -> list[str]:
    with path.open("rb") as file:
        _, columns = next(_cells(path, file), (0, []))
    if not columns:
        raise UnreadableFile(f"{path}: empty; the first line has to name the columns")
    if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
        raise UnreadableFile(f"{path}:1: the only column is {shown(columns[0])}; cells have to be separated by commas")
    _refuse_repeated(f"{path}:1", columns)
    return columns


def _refuse_repeated(place: str, columns: Sequence[str]) -> None:
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise UnreadableFile(f"{place}: several columns are called {', '.join(map(repr, repeated))}; rename them")


def _csv_rows(path: Path, _takes: Takes) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        rows = _cells(path, file)
        _, columns = next(rows)
        for number, cells in rows:
            if len(cells) != len(columns):
                raise UnreadableFile(
                    f"{path}:{number}: {len(cells)} cells, but {len(columns)} columns in the first line"
                )
            yield number, {column: cell or None for column, cell in zip(columns, cells, strict=True)}


def _json_rows(path: Path, _takes: Takes) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
            if not content.strip():
                continue
            try:
                row = orjson.loads(content)
            except orjson.JSONDecodeError as error:
                raise UnreadableFile(f"{path}:{number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise UnreadableFile(f"{path}:{number}: not a JSON object; each line has to be one")
            yield number, row


def _parquet_rows(path: Path, takes: Takes) -> Iterator[tuple[int, Row]]:
    arrow: Any = importlib.import_module("pyarrow")
    number = 0
    try:
        for batch in _parquet_file(path).iter_batches(batch_size=ROWS_AT_ONCE):
            columns: dict[str, list[Any]] = {}
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if takes(name):
                    try:
                        columns[name] = _values(arrow, column)
                    except (ValueError, OverflowError) as error:
                        rows = f"rows {number + 1} to {number + batch.num_rows}"
                        raise UnreadableFile(f"{path}, {rows}: a value of {name!r} cannot be read: {error}") from None
            for at in range(batch.num_rows):
                number += 1
                yield number, {name: values[at] for name, values in columns.items()}
    except arrow.ArrowException as error:
        raise UnreadableFile(f"{path}: not Parquet after row {number}: {error}") from error


def _values(arrow: Any, column: Any) -> list[Any]:
    """A column as Python has it, whose own times have no nanoseconds; we cut at milliseconds."""
    if arrow.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(arrow.timestamp("us", column.type.tz), safe=False)
    values = column.to_pylist()
    if arrow.types.is_map(column.type):
        return [None if value is None else dict(value) for value in values]
    return [None if _is_nan(value) else value for value in values]


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _parquet_file(path: Path) -> Any:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UnreadableFile(
            f"{path}: reading Parquet needs pyarrow, the extra latelabel[parquet]: `pip install pyarrow`"
        ) from None
    try:
        return parquet.ParquetFile(path)
    except arrow.ArrowException as error:
        raise UnreadableFile(f"{path}: not Parquet: {error}") from error
