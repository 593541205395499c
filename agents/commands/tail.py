"""`latelabel tail`: values of an output topic, as they leave."""

from __future__ import annotations

import asyncio
import contextlib
import select
import signal
import sys
from collections.abc import Collection, Iterator

import click
import msgspec

from agents.commands.command_line import Invocation
from agents.commands.output import Duration
from agents.settings import Settings
from agents.topic_tail import TopicTail

__all__ = ["tail"]

KINDS = ("quality", "stability", "signals", "attribution", "resources", "system")


class _Kind(msgspec.Struct):
    """The part of a report that says what it is about."""

    kind: str


_read_kind = msgspec.json.Decoder(_Kind).decode


@click.command()
@click.argument("what", type=click.Choice(["metrics", "alerts", "explanations"]), metavar="metrics|alerts|explanations")
@click.option(
    "--from",
    "start",
    type=click.Choice(["beginning", "now"]),
    default="now",
    show_default=True,
    help="Begin with the oldest record that Kafka keeps, or with what comes next.",
)
@click.option("--max", "most", type=click.IntRange(min=1), metavar="N", help="End after N values.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    metavar="KIND",
    help="Of metrics, reports of this kind only.",
)
@click.option("--timeout", "timeout_ms", type=Duration(), metavar="S", help="End after S seconds, or a duration as 5m.")
@click.pass_obj
def tail(
    invocation: Invocation, what: str, start: str, most: int | None, kinds: tuple[str, ...], timeout_ms: int | None
) -> None:
    """Print reports, alerts or explanations as they are published.

    One JSON object per line, byte for byte as on the topic, until interrupted. Reads all partitions and belongs to no
    consumer group. Of metrics, --kind takes one kind of reports, more than once for several: quality, stability,
    signals, attribution, resources or system.
    """
    if kinds and what != "metrics":
        raise click.UsageError("--kind is about metrics; alerts and explanations are of one kind.")
    settings = invocation.settings()
    invocation.log_by(settings)
    asyncio.run(_tail(settings, what, start=start, most=most, kinds=kinds, timeout_ms=timeout_ms))


async def _tail(
    settings: Settings, what: str, *, start: str, most: int | None, kinds: Collection[str], timeout_ms: int | None
) -> None:
    with contextlib.suppress(TimeoutError), _ended_by_sigterm():
        async with (
            TopicTail(settings.kafka, settings.kafka.topic(what), from_beginning=start == "beginning") as topic,
            asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000),
        ):
            if start == "now":
                click.echo(f"Waiting for what comes on {settings.kafka.topic(what)}; Ctrl-C ends.", err=True)
            await _print(topic, most, kinds)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as if it were done; SIGINT still interrupts."""
    task = asyncio.current_task()
    assert task is not None
    asked: list[bool] = []

    def end() -> None:
        asked.append(True)
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError:
        if not asked:
            raise
        task.uncancel()


async def _print(topic: TopicTail, most: int | None, kinds: Collection[str]) -> None:
    wanted = sys.maxsize if most is None else most
    async for values in topic.batches():
        taken = [value for value in values if not kinds or _kind(value) in kinds][:wanted]
        sys.stdout.buffer.writelines(value + b"\n" for value in taken)
        sys.stdout.buffer.flush()
        wanted -= len(taken)
        if not wanted or _reader_is_gone():
            return


def _kind(value: bytes) -> str | None:
    with contextlib.suppress(msgspec.DecodeError):
        return _read_kind(value).kind
    return None


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe without a reader; else only the next value would tell."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
