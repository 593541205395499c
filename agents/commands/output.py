"""How read commands print: a table for people, or JSON Lines for programs."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
import orjson
from rich.console import Console
from rich.text import Text

from agents.durations import DURATION_EXAMPLES, duration_ms
from agents.terminal_text import cell_len, fit, printable

__all__ = ["Duration", "OutputFormat", "format_option", "print_lines", "print_records"]

Function = TypeVar("Function", bound=Callable[..., Any])


class OutputFormat(enum.StrEnum):
    """What `--format` chooses."""

    TABLE = "table"
    JSONL = "jsonl"


class Duration(click.ParamType):
    """Milliseconds, given as Prometheus writes durations; a bare number counts seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text of an option."""
        if isinstance(value, int):
            return value
        try:
            return int(float(value) * 1000) if value.replace(".", "", 1).isdecimal() else duration_ms(value)
        except ValueError:
            self.fail(f"{value!r} is no duration such as {DURATION_EXAMPLES}.", param, ctx)


def format_option(function: Function) -> Function:
    """Give a command `--format` and `--json`; it gets an `OutputFormat` as `output`."""
    as_json = click.option("--json", "output", flag_value=OutputFormat.JSONL.value, help="The same as --format jsonl.")
    chosen = click.option(
        "--format",
        "output",
        type=click.Choice([each.value for each in OutputFormat]),
        default=OutputFormat.TABLE.value,
        show_default=True,
        help="A table for people, or one JSON object per line.",
    )
    return chosen(as_json(function))


def print_records(records: Iterable[Mapping[str, Any]], output: str, *, columns: Sequence[str]) -> None:
    """Print records on standard output.

    Args:
        output: one of `OutputFormat`.
        columns: their keys, the table's header; JSON Lines need none and are printed as they come.
    """
    if output == OutputFormat.JSONL:
        for record in records:
            sys.stdout.buffer.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        return
    rows = [columns, *([_cell(record[column]) for column in columns] for record in records)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    is_number = [all(row[index].lstrip("-").isdecimal() for row in rows[1:]) for index in range(len(columns))]
    for row in rows:
        cells = (fit(text, width, right=right) for text, width, right in zip(row, widths, is_number, strict=True))
        print("  ".join(cells).rstrip())


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print lines that are drawn to fit; what the terminal's character set lacks is written as an escape."""
    for line in lines:
        line.plain = line.plain.encode(console.encoding, "backslashreplace").decode(console.encoding)
        console.print(line)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return printable(", ".join(f"{name}={text}" for name, text in value.items())) or "everything"
    return printable(str(value))
