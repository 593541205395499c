"""`latelabel replay`: files of predictions and labels into Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import itertools
import signal
from collections.abc import Iterator, Set
from pathlib import Path

import click

from agents.clock import SystemClock
from agents.commands.command_line import FAILED, INTERRUPTED, Invocation
from agents.commands.record_files import (
    Line,
    OfFile,
    PerFile,
    check_files,
    mapped_files,
    mapping_options,
    record_files_of,
)
from agents.file_replay.records import Record, merged
from agents.file_replay.sender import Sender
from agents.kafka_connection import connection_options
from agents.kafka_topics import KafkaTopics
from agents.publisher import KafkaPublisher
from agents.settings import Settings
from schemas.times import format_time
from streams.errors import LatelabelError
from streams.ledger.parts import Role

__all__ = ["replay"]

STOP_SECONDS = 5.0
"""For the last portion to be acknowledged, after which what was interrupted ends anyway."""


@click.command(cls=PerFile)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE…")
@click.option(
    "--topic", "topics", multiple=True, type=OfFile(), metavar="predictions|labels", help="What the FILE holds."
)
@mapping_options
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
    record_files = record_files_of(files, mapped_files(files, topics, columns, constants), zone, settings)
    line = Line()
    all_checked = check_files(record_files, line, consequence="nothing was sent")
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


async def _send(
    settings: Settings, records: Iterator[Record], progress: _Progress, *, roles: Set[Role], speed: float, line: Line
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
