"""`latelabel dead-letters`: look at bad records, send them again, let them through."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Any

import click

from agents.clock import SystemClock
from agents.commands.command_line import Invocation
from agents.commands.output import OutputFormat, format_option, print_records
from agents.dead_letter_log import DeadLetterLog, Letter
from agents.dead_letter_replay import Replay, Replayed, ReplayPorts, highest_times
from agents.kafka_connection import connection_options
from agents.publisher import KafkaPublisher
from agents.record_text import inline, printable, shown_bytes
from agents.redis_ledger import RedisLedger
from agents.redis_stops import RedisStops
from agents.settings import Settings
from schemas.errors import Reason
from schemas.times import format_time
from streams.errors import PermanentFailure
from streams.ledger.founding import agreements_of
from streams.ledger.parts import Role, Source

__all__ = ["dead_letters"]

SHOWN_IN_TABLE = 20
SHOWN_BYTES = 4096

_LETTER_COLUMNS = ("written", "source", "reason", "bytes", "letter", "message")
_topic_option = click.option("--topic", metavar="TOPIC", help="Only letters from this source topic.")
_reason_option = click.option(
    "--reason", type=click.Choice([str(reason) for reason in Reason]), metavar="REASON", help="Only this reason."
)


class _Place(click.ParamType):
    """TOPIC/PARTITION, or TOPIC/PARTITION@OFFSET."""

    name = "place"

    def __init__(self, *, with_offset: bool) -> None:
        self._form = "TOPIC/PARTITION@OFFSET" if with_offset else "TOPIC/PARTITION"
        self._with_offset = with_offset

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int, int]:
        """Topic, partition and offset; the offset is 0 where none is wanted."""
        place, at, offset = value.rpartition("@") if self._with_offset else (value, "@", "0")
        topic, slash, partition = place.rpartition("/")
        if not (at and slash and topic and partition.isdecimal() and offset.isdecimal()):
            self.fail(f"{value!r} is not of the form {self._form}.", param, ctx)
        return topic, int(partition), int(offset)


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at bad records, send them again, or let them through."""


@dead_letters.command("list")
@_reason_option
@_topic_option
@click.option(
    "--max",
    "most",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"The newest N letters (default: {SHOWN_IN_TABLE} in a table, all as JSON Lines).",
)
@format_option
@click.pass_obj
def list_letters(invocation: Invocation, reason: str | None, topic: str | None, most: int | None, output: str) -> None:
    """Count letters by source topic and reason, and list them, newest first.

    Copies of one letter are listed once. JSON Lines have the letters alone.
    """
    asyncio.run(_list(invocation.settings(), reason=reason, topic=topic, most=most, output=output))


@dead_letters.command("show")
@click.argument("place", type=_Place(with_offset=True), metavar="TOPIC/PARTITION@OFFSET")
@click.option("--all", "whole", is_flag=True, help=f"The whole value, not only its first {SHOWN_BYTES} bytes.")
@click.pass_obj
def show_letter(invocation: Invocation, place: tuple[str, int, int], whole: bool) -> None:
    """Print one letter: why it is one, its headers, key and value.

    The place is that of the bad record, or that of the letter on the dead-letter topic. Bytes that are no printable
    text are shown in hexadecimal.
    """
    asyncio.run(_show(invocation.settings(), place, whole=whole))


@dead_letters.command("replay")
@_reason_option
@_topic_option
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@click.pass_obj
def replay_letters(invocation: Invocation, reason: str | None, topic: str | None, dry_run: bool) -> None:
    """Put letters back on their source topics, with key, value, headers and timestamp as they were.

    Useful once the records can be read: the configuration was corrected, or their time is no longer in the future.
    Those that still cannot become dead letters again. The letters stay where they are; what is replayed twice is
    counted once.
    """
    asyncio.run(_replay(invocation.settings(), reason=reason, topic=topic, is_dry=dry_run))


@dead_letters.command("accept")
@click.argument("place", type=_Place(with_offset=False), metavar="TOPIC/PARTITION")
@click.option(
    "--count", type=click.IntRange(min=1), metavar="N", help="The next N records (default: all that are there now)."
)
@click.pass_obj
def accept_records(invocation: Invocation, place: tuple[str, int, int], count: int | None) -> None:
    """Let a stopped partition's next records through: those that are bad become dead letters.

    Its worker sees it within a second or two. The records still count for the limits, so a bad one right behind
    them stops the partition again.
    """
    asyncio.run(_accept(invocation.settings(), topic=place[0], partition=place[1], count=count))


async def _list(settings: Settings, *, reason: str | None, topic: str | None, most: int | None, output: str) -> None:
    is_table = output == OutputFormat.TABLE
    counts: Counter[tuple[str, str]] = Counter()
    others = 0
    async with DeadLetterLog(settings.kafka) as log:
        limit = most or (SHOWN_IN_TABLE if is_table else None)
        newest: list[tuple[tuple[int, int, int], dict[str, Any]]] = []
        async for letter in log.letters():
            if not _is_wanted(letter, reason=reason, topic=topic):
                others += 1
                continue
            counts[letter.origin.topic, letter.origin.reason] += 1
            entry = ((letter.timestamp_ms, letter.offset, letter.partition), _summary(letter))
            if limit is None or len(newest) < limit:
                heapq.heappush(newest, entry)
            else:
                heapq.heappushpop(newest, entry)
    listed = [summary for _, summary in sorted(newest, key=lambda entry: entry[0], reverse=True)]
    if not is_table:
        print_records(listed, output, columns=())
        return
    if not listed:
        print(f"None of {others} dead letters is of this topic and reason." if others else "No dead letters.")
        return
    totals = [{"topic": at, "reason": why, "letters": count} for (at, why), count in counts.most_common()]
    print_records(totals, output, columns=("topic", "reason", "letters"))
    print(f"\nThe newest {len(listed)} of {counts.total()}{_left_out(log)}:")
    print_records(listed, output, columns=_LETTER_COLUMNS)


def _left_out(log: DeadLetterLog) -> str:
    notes = []
    if log.repeats:
        notes.append(f"{log.repeats} copies left out")
    if log.strangers:
        notes.append(f"{log.strangers} records without our headers left out")
    return f" ({', '.join(notes)})" if notes else ""


def _is_wanted(letter: Letter, *, reason: str | None, topic: str | None) -> bool:
    return reason in (None, letter.origin.reason) and topic in (None, letter.origin.topic)


def _summary(letter: Letter) -> dict[str, Any]:
    origin = letter.origin
    return {
        "source": str(origin),
        "letter": str(letter),
        "reason": origin.reason,
        "message": origin.message,
        "time": _time(origin.timestamp_ms),
        "written": _time(letter.timestamp_ms),
        "bytes": None if letter.value is None else len(letter.value),
        "sha256": origin.sha256,
    }


def _time(time_ms: int | None) -> str | int | None:
    try:
        return None if time_ms is None else format_time(time_ms)
    except OverflowError:
        return time_ms


async def _show(settings: Settings, place: tuple[str, int, int], *, whole: bool) -> None:
    topic, partition, offset = place
    async with DeadLetterLog(settings.kafka) as log:
        letter = await log.find(topic, partition, offset)
    if letter is None:
        raise PermanentFailure(
            f"there is no dead letter {topic}/{partition}@{offset}; `latelabel dead-letters list` shows what there is"
        )
    for name, value in _summary(letter).items():
        if value is not None:
            print(f"{name:8}  {printable(str(value))}")
    print("\nheaders")
    for name, content in letter.headers:
        print(f"  {printable(name)}: {inline(content)}")
    print(f"\nkey\n  {inline(letter.key)}\n\nvalue")
    for line in _lines(letter.value, most=None if whole else SHOWN_BYTES):
        print(f"  {line}")


def _lines(content: bytes | None, *, most: int | None) -> Iterable[str]:
    if content is None:
        return ["null"]
    shown = shown_bytes(content, most=most)
    left = [f"... {shown.left_bytes} bytes more (--all shows them)"] if shown.left_bytes else []
    return [*shown.lines, *left]


async def _replay(settings: Settings, *, reason: str | None, topic: str | None, is_dry: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        ledger = RedisLedger.from_settings(settings)
        stack.push_async_callback(ledger.close)
        highest_ms, charter = await highest_times(ledger), await ledger.charter()
        publisher = KafkaPublisher(connection_options(settings.kafka))
        stack.push_async_callback(publisher.stop)
        log = await stack.enter_async_context(DeadLetterLog(settings.kafka))
        replay = Replay(
            settings,
            ReplayPorts(log=log, publisher=publisher, clock=SystemClock()),
            highest_ms=highest_ms,
            agreed=agreements_of(charter),
            is_dry=is_dry,
        )
        result = await replay.run(lambda letter: _is_wanted(letter, reason=reason, topic=topic))
    for line in _outcome(result, log, is_dry=is_dry):
        click.echo(line)
    if replay.first_refusal is not None:
        raise PermanentFailure(f"{result.refused} letters were not taken; the first: {replay.first_refusal}")


def _outcome(result: Replayed, log: DeadLetterLog, *, is_dry: bool) -> Iterable[str]:
    yield f"{result.replayed} {'would be replayed' if is_dry else 'replayed'}"
    notes = {
        "of them came too late to count: nothing that they belong to is remembered": result.too_late,
        "of them came late: labels forgotten before are not applied to them": result.may_miss_labels,
        "of them still cannot be read and become dead letters again": result.still_bad,
        "not replayed: cut to an excerpt, latelabel-sha256 says of which record": result.cut,
        "not replayed: there is no value to send": result.empty,
        "not replayed: from a topic that is none of the inputs": result.foreign,
        "not replayed: copies of others": log.repeats,
    }
    for note, count in notes.items():
        if count or "too late" in note:
            yield f"  {count} {note}"


async def _accept(settings: Settings, *, topic: str, partition: int, count: int | None) -> None:
    source = _source(settings, topic, partition)
    async with RedisStops.opened(settings.redis) as stops:
        stopped = await stops.stops()
        if source not in stopped:
            others = ", ".join(map(str, sorted(stopped))) or "none is"
            raise PermanentFailure(
                f"{topic}/{partition} is not stopped (stopped: {others}); there is nothing to accept"
            )
        stop = stopped[source]
        start = stop.excess.offset
        if count is None:
            async with DeadLetterLog(settings.kafka) as log:
                until = await log.end_of(settings.kafka.topic(source.role), partition)
        else:
            until = start + count
        if until <= start:
            raise PermanentFailure(
                f"{topic}/{partition} holds nothing from offset {start} on; there is nothing to accept"
            )
        await stops.accept(source, until=until)
    click.echo(
        f"{topic}/{partition} stood at offset {start}: {stop.excess}.\n"
        f"Accepted {until - start} offsets, {start} to {until - 1}"
        f"{', all that are there now' if count is None else ''}; what is bad among them becomes dead letters."
    )


def _source(settings: Settings, topic: str, partition: int) -> Source:
    """An input partition by its topic's name on the wire, or by the topic's role."""
    for role in Role:
        if topic in (settings.kafka.topic(role), role):
            return Source(role, partition)
    inputs = " or ".join(settings.kafka.topic(role) for role in Role)
    raise click.BadParameter(f"{topic} is not an input topic; {inputs} is", param_hint="TOPIC/PARTITION")
