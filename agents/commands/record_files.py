"""Files of predictions and labels on the command line: which FILE is what, and whether it can be read.

`--topic`, `--map` and `--set` belong to the FILE before them.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from agents.clock import SystemClock
from agents.file_replay.instants import Instants, read_zone
from agents.file_replay.mapping import Mapped, Mapper, Misused
from agents.file_replay.records import MISTAKES_TOLD, Checked, RecordFile
from agents.file_replay.tables import open_table
from agents.settings import Settings
from schemas.times import format_time
from streams.errors import PermanentFailure
from streams.ledger.parts import Role

__all__ = ["Line", "OfFile", "PerFile", "check_files", "mapped_files", "mapping_options", "record_files_of"]

Function = TypeVar("Function", bound=Callable[..., Any])

LINE_SECONDS = 10.0
"""Between lines of progress, where there is no terminal to write over."""
REDRAW_SECONDS = 0.2
OVERWRITE = "\r\x1b[K"

_OF_A_FILE = ("--topic", "--map", "--set")


class PerFile(click.Command):
    """A command whose `--topic`, `--map` and `--set` belong to the FILE before them.

    Click forgets the order of files and options, so their values are given the number of the file: 1 is the first.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Number the values."""
        takes_value = {
            name
            for option in self.get_params(ctx)
            if isinstance(option, click.Option) and not option.is_flag
            for name in option.opts
        }
        numbered: list[str] = []
        files = 0
        arguments = iter(args)
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if argument == "--":
                numbered += [argument, *arguments]
            elif name not in takes_value:
                files += not argument.startswith("-")
                numbered.append(argument)
            else:
                values = [value] if equals else list(itertools.islice(arguments, 1))
                numbered += [name, *(f"{files}:{each}" if name in _OF_A_FILE else each for each in values)]
        return super().parse_args(ctx, numbered)


class OfFile(click.ParamType):
    """A value with the number of its file."""

    name = "of_file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, str]:
        """The index of the file and the value."""
        number, _, given = value.partition(":")
        if number == "0":
            self.fail(f"{given!r} stands before every FILE; it applies to the FILE before it.", param, ctx)
        return int(number) - 1, given


class FieldOfFile(OfFile):
    """FIELD=VALUE with the number of its file."""

    name = "field_of_file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The index of the file, the field and the value."""
        index, given = super().convert(value, param, ctx)
        field, equals, what = given.partition("=")
        if not field or not equals:
            self.fail(f"{given!r} is not of the form FIELD=…", param, ctx)
        return index, field, what


class Zone(click.ParamType):
    """A time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime.tzinfo:
        """The zone of a name or of a distance from UTC."""
        try:
            return read_zone(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def mapping_options(function: Function) -> Function:
    """Give a command `--map`, `--set` and `--timezone`; it gets them as `columns`, `constants` and `zone`."""
    options = (
        click.option(
            "--map",
            "columns",
            multiple=True,
            type=FieldOfFile(),
            metavar="FIELD=COLUMN",
            help="Take a field of the FILE before from this column; FIELD= leaves it out.",
        ),
        click.option(
            "--set",
            "constants",
            multiple=True,
            type=FieldOfFile(),
            metavar="FIELD=VALUE",
            help="Give a field of the FILE before a constant.",
        ),
        click.option(
            "--timezone", "zone", type=Zone(), metavar="ZONE", help="Of times that name none: Europe/Berlin, +05:30."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def mapped_files(
    files: Sequence[Path],
    topics: Sequence[tuple[int, str]],
    columns: Sequence[tuple[int, str, str]],
    constants: Sequence[tuple[int, str, str]],
) -> list[Mapped]:
    """What was asked for of each file.

    Raises: click.UsageError for what cannot be meant.
    """
    for option, given in (("--map", columns), ("--set", constants)):
        places = [(index, field) for index, field, _ in given]
        for index, field in places:
            if places.count((index, field)) > 1:
                raise click.UsageError(f"{files[index]}: {option} {field} is given twice")
    mapped = []
    for index, file in enumerate(files):
        roles = [topic for at, topic in topics if at == index]
        if len(roles) != 1 or roles[0] not in tuple(Role):
            raise click.UsageError(f"{file}: add --topic predictions or --topic labels after it, once")
        mapped.append(
            Mapped(
                role=Role(roles[0]),
                columns={field: column for at, field, column in columns if at == index},
                constants={field: value for at, field, value in constants if at == index},
            )
        )
    return mapped


def record_files_of(
    files: Sequence[Path], mapped: Sequence[Mapped], zone: datetime.tzinfo | None, settings: Settings
) -> list[RecordFile]:
    """The files, opened.

    Raises: click.UsageError for what cannot be meant.
    """
    now_ms = SystemClock().now_ms()
    record_files = []
    for file, wanted in zip(files, mapped, strict=True):
        table = open_table(file)
        try:
            mapper = Mapper(wanted, table.columns, is_text=table.is_text)
        except Misused as error:
            raise click.UsageError(f"{file}: {error}") from error
        record_files.append(
            RecordFile(
                table,
                wanted.role,
                mapper,
                Instants(zone),
                now_ms=now_ms,
                max_future_skew_ms=settings.max_future_skew_ms,
            )
        )
    return record_files


def check_files(files: Sequence[RecordFile], line: Line, *, consequence: str) -> list[Checked]:
    """Read all files once, and say what is in them.

    Raises: PermanentFailure with the consequence of mistakes, after they have been told.
    """
    all_checked = []
    for file in files:
        checked = file.check(functools.partial(_tell_checked, line, file))
        all_checked.append(checked)
        for text in checked.mistakes or [_summary(file, checked)]:
            line.say(text)
    mistakes = sum(len(checked.mistakes) for checked in all_checked)
    if mistakes:
        most = any(len(checked.mistakes) >= MISTAKES_TOLD for checked in all_checked)
        number = f"{'at least ' if most else ''}{mistakes} mistake{'s' if mistakes > 1 else ''}"
        raise PermanentFailure(f"{number}; {consequence}")
    return all_checked


def _tell_checked(line: Line, file: RecordFile, so_far: Checked) -> None:
    line.tell(f"{file.table.path}: {so_far.records:,} {file.role} checked")


def _summary(file: RecordFile, checked: Checked) -> str:
    notes = [f"{checked.records:,} {file.role}"]
    if checked.first_ms is not None and checked.last_ms is not None:
        notes.append(f"{format_time(checked.first_ms)} to {format_time(checked.last_ms)}")
    if checked.without_label:
        notes.append(f"{checked.without_label:,} without a label left out")
    if checked.ambiguous_times:
        notes.append(f"{checked.ambiguous_times:,} times are of an hour that came twice; the first is taken")
    if not checked.is_in_order:
        notes.append("not in order of time, will be sorted")
    return f"{file.table.path}: {', '.join(notes)}"


class Line:
    """A line on stderr that says how far it is: written over on a terminal, else a new one every ten seconds."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._is_terminal = sys.stderr.isatty()
        self._told_seconds = self._clock.monotonic_seconds()

    def tell(self, text: str) -> None:
        """Write it if it is time to."""
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds - self._told_seconds >= (REDRAW_SECONDS if self._is_terminal else LINE_SECONDS):
            self._told_seconds = now_seconds
            self._write(text, is_last=not self._is_terminal)

    def say(self, text: str) -> None:
        """Write what is to stay."""
        self._write(text, is_last=True)

    def _write(self, text: str, *, is_last: bool) -> None:
        click.echo(f"{OVERWRITE if self._is_terminal else ''}{text}", nl=is_last, err=True)
