"""`latelabel replay`: files of predictions and labels into Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import functools
import itertools
import signal
import sys
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import click

from agents.clock import SystemClock
from agents.commands.command_line import FAILED, INTERRUPTED, Invocation
from agents.file_replay.instants import Instants, read_zone
from agents.file_replay.mapping import Mapped, Mapper, Misused
from agents.file_replay.records import MISTAKES_TOLD, Checked, Record, RecordFile, merged
from agents.file_replay.sender import Sender
from agents.file_replay.tables import open_table
from agents.kafka_connection import connection_options
from agents.kafka_topics import KafkaTopics
from agents.publisher import KafkaPublisher
from agents.settings import Settings
from schemas.times import format_time
from streams.errors import LatelabelError, PermanentFailure
from streams.ledger.parts import Role

__all__ = ["replay"]

LINE_SECONDS = 10.0
"""Between lines of progress, where there is no terminal to write over."""
REDRAW_SECONDS = 0.2
OVERWRITE = "\r\x1b[K"
STOP_SECONDS = 5.0
"""For the last portion to be acknowledged, after which what was interrupted ends anyway."""

_OF_A_FILE = ("--topic", "--map", "--set")


class _PerFile(click.Command):
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


class _OfFile(click.ParamType):
    """A value with the number of its file."""

    name = "of_file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, str]:
        """The index of the file and the value."""
        number, _, given = value.partition(":")
        if number == "0":
            self.fail(f"{given!r} stands before every FILE; it applies to the FILE before it.", param, ctx)
        return int(number) - 1, given


class _FieldOfFile(_OfFile):
    """FIELD=VALUE with the number of its file."""

    name = "field_of_file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The index of the file, the field and the value."""
        index, given = super().convert(value, param, ctx)
        field, equals, what = given.partition("=")
        if not field or not equals:
            self.fail(f"{given!r} is not of the form FIELD=…", param, ctx)
        return index, field, what


class _Zone(click.ParamType):
    """A time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime.tzinfo:
        """The zone of a name or of a distance from UTC."""
        try:
            return read_zone(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


@click.command(cls=_PerFile)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE…")
@click.option(
    "--topic", "topics", multiple=True, type=_OfFile(), metavar="predictions|labels", help="What the FILE holds."
)
@click.option(
    "--map",
    "columns",
    multiple=True,
    type=_FieldOfFile(),
    metavar="FIELD=COLUMN",
    help="Take a field from this column; FIELD= leaves it out.",
)
@click.option(
    "--set", "constants", multiple=True, type=_FieldOfFile(), metavar="FIELD=VALUE", help="Give a field a constant."
)
@click.option(
    "--timezone", "zone", type=_Zone(), metavar="ZONE", help="Of times that name none: Europe/Berlin, +05:30."
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    metavar="N",
    help="Event seconds per second; 0 is as fast as Kafka takes them.",
)
@click.option(
    "--skip",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Go on after N records, as an interrupted call says.",
)
@click.option("--dry-run", is_flag=True, help="Only check the files.")
@click.pass_obj
def replay(
    invocation: Invocation,
    files: tuple[Path, ...],
    topics: tuple[tuple[int, str], ...],
    columns: tuple[tuple[int, str, str], ...],
    constants: tuple[tuple[int, str, str], ...],
    zone: datetime.tzinfo | None,
    speed: float,
    skip: int,
    dry_run: bool,
) -> int:
    """Publish predictions and labels from CSV, JSON Lines or Parquet files.

    --topic, --map and --set apply to the FILE before them. A field takes the column of its own name unless one of them
    says otherwise; segment.country and features.age are fields too. Records of all files are sent in the order of
    their event times, which every row must have. A file may be in any order.

    \b
    latelabel replay scored.csv --topic predictions --map event_time=scored_at
        --map segment.country=country --set model=fraud
        outcomes.jsonl --topic labels --map label=is_fraud --timezone Europe/Berlin

    Files are checked whole before anything is sent; rows of labels that have none yet are left out. Records are
    stamped with the time of sending, not with their event time, so that the topic's retention does not delete old
    ones. What is sent twice is counted once.
    """
    settings = invocation.settings()
    invocation.log_by(settings)
    record_files = _record_files(files, _mapped(files, topics, columns, constants), zone, settings)
    line = _Line()
    all_checked = _check(record_files, line)
    if dry_run:
        return 0
    total = sum(checked.records for checked in all_checked)
    with contextlib.ExitStack() as stack:
        in_order = [
            stack.enter_context(file.in_order(checked)) for file, checked in zip(record_files, all_checked, strict=True)
        ]
        records = itertools.islice(merged(in_order), skip, None)
        roles = {file.role for file in record_files}
        progress = _Progress(total=total, skipped=min(skip, total))
        return asyncio.run(_send(settings, records, progress, roles=roles, speed=speed, line=line))


def _mapped(
    files: Sequence[Path],
    topics: Sequence[tuple[int, str]],
    columns: Sequence[tuple[int, str, str]],
    constants: Sequence[tuple[int, str, str]],
) -> list[Mapped]:
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


def _record_files(
    files: Sequence[Path], mapped: Sequence[Mapped], zone: datetime.tzinfo | None, settings: Settings
) -> list[RecordFile]:
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


def _check(files: Sequence[RecordFile], line: _Line) -> list[Checked]:
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
        raise PermanentFailure(f"{number}; nothing was sent")
    return all_checked


def _tell_checked(line: _Line, file: RecordFile, so_far: Checked) -> None:
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


async def _send(
    settings: Settings, records: Iterator[Record], progress: _Progress, *, roles: Set[Role], speed: float, line: _Line
) -> int:
    topics = {role: settings.kafka.topic(role) for role in roles}
    async with KafkaTopics(settings.kafka) as kafka:
        for topic in topics.values():
            await kafka.partitions(topic)
    publisher = KafkaPublisher(connection_options(settings.kafka))
    sender = Sender(
        publisher=publisher,
        clock=SystemClock(),
        topics=topics,
        speed=speed,
        report=lambda: line.tell(progress.text(sender)),
    )
    with _stopped_by_signals() as (stop, codes):
        try:
            await publisher.start()
            await sender.run(records, stop=stop)
        except LatelabelError:
            line.say(progress.text(sender))
            line.say(progress.remedy(sender))
            raise
        except asyncio.CancelledError:
            if not codes:
                raise
        finally:
            await publisher.stop()
    line.say(progress.text(sender))
    if progress.done(sender) < progress.total:
        line.say(progress.remedy(sender))
        return codes[0] if codes else FAILED
    return 0


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[tuple[asyncio.Event, list[int]]]:
    """An event that signals set, and the exit code of the first; who does not stop in time is cancelled."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    stop = asyncio.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        if codes:
            task.cancel()
            return
        codes.append(code)
        stop.set()
        loop.call_later(STOP_SECONDS, task.cancel)

    loop.add_signal_handler(signal.SIGTERM, end, 0)
    loop.add_signal_handler(signal.SIGINT, end, INTERRUPTED)
    yield stop, codes


class _Line:
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


@dataclasses.dataclass(slots=True, kw_only=True)
class _Progress:
    """How far sending is, in words."""

    total: int
    skipped: int
    started_seconds: float = dataclasses.field(default_factory=lambda: SystemClock().monotonic_seconds())

    def done(self, sender: Sender) -> int:
        """How many of all records are in Kafka, those that were skipped included."""
        return self.skipped + sender.sent

    def text(self, sender: Sender) -> str:
        """How much is done, until when, and how fast."""
        done = self.done(sender)
        seconds = SystemClock().monotonic_seconds() - self.started_seconds
        ratio = done / self.total if self.total else 1.0
        reached = "" if sender.reached_ms is None else f", event time {format_time(sender.reached_ms)}"
        return f"{done:,} of {self.total:,} records ({ratio:.1%}){reached}, {sender.sent / max(seconds, 1e-3):,.0f}/s"

    def remedy(self, sender: Sender) -> str:
        """How to go on from here."""
        return (
            f"Stopped after {self.done(sender):,} of {self.total:,} records. To go on, repeat the command with"
            f" --skip {self.done(sender)}; what is sent twice is counted once."
        )
