"""`latelabel init`: create the ledger where the operator wants it to begin, or count again what was lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import click

from agents.clock import SystemClock
from agents.commands.command_line import Invocation
from agents.kafka_connection import connection_options
from agents.kafka_log import KafkaLog
from agents.ledger_start import found_ledger, rebuild_ledger, rebuild_shard
from agents.partition_intake import LogBounds
from agents.redis_ledger import RedisLedger
from agents.redis_stops import RedisStops
from agents.settings import Settings
from schemas.errors import Rejected
from schemas.times import parse_time_ms
from streams.errors import PermanentFailure
from streams.ledger.parts import Definitions, Outcome, Part, Role, Source
from streams.ports import Ledger, StopStore

__all__ = ["init"]


class _Beginning(click.ParamType):
    """`earliest`, `latest`, or a time."""

    name = "beginning"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """A word, or milliseconds."""
        if isinstance(value, int) or value in ("earliest", "latest"):
            return value  # type: ignore[no-any-return]
        try:
            return parse_time_ms(value)
        except Rejected:
            self.fail(f"{value!r} is neither earliest nor latest nor a time like 2026-11-23T12:00:00Z.", param, ctx)


@click.command()
@click.option(
    "--from",
    "beginning",
    type=_Beginning(),
    default="earliest",
    metavar="earliest|latest|TIME",
    help="Where a new ledger begins to read (default: earliest). A TIME is of Kafka's record timestamps.",
)
@click.option("--rebuild", is_flag=True, help="Drop the ledger and count again what Kafka still has.")
@click.option("--shard", type=click.IntRange(min=0), metavar="S", help="With --rebuild: only this shard.")
@click.option(
    "--accept",
    metavar="TOPIC/PARTITION",
    help="Continue from the start of a partition whose log ends before what is counted already.",
)
@click.pass_obj
def init(invocation: Invocation, beginning: str | int, rebuild: bool, shard: int | None, accept: str | None) -> None:
    """Create the ledger in Redis, or decide what to do about counts that were lost.

    A worker creates the ledger itself, from the earliest offsets, where there never was one. What Kafka no longer has
    when counts are built again is marked: the windows that it may have touched become `incomplete`. Workers that run
    meanwhile stop with an error; start them again afterwards.
    """
    if shard is not None and not rebuild:
        raise click.UsageError("--shard goes with --rebuild.")
    if rebuild and accept:
        raise click.UsageError("--rebuild counts everything again; there is nothing to --accept then.")
    asyncio.run(_run(invocation.settings(), beginning=beginning, rebuild=rebuild, shard=shard, accept=accept))


async def _run(
    settings: Settings, *, beginning: str | int, rebuild: bool, shard: int | None, accept: str | None
) -> None:
    topics = {role: settings.kafka.topic(role) for role in Role}
    log = KafkaLog(connection_options(settings.kafka), group=settings.kafka.group, topics=topics)
    ledger = RedisLedger.from_settings(settings)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(ledger.close)
        stack.push_async_callback(log.stop)
        stops = await stack.enter_async_context(RedisStops.opened(settings.redis))
        await log.start()
        if accept is not None:
            source = _source(accept, topics)
            if source not in log.sources:
                raise PermanentFailure(
                    f"{accept} does not exist: {source.role} has partitions 0 to {log.partitions(source.role) - 1}"
                )
            lost = await accept_log(ledger, stops, source, await log.bounds(source), now_ms=SystemClock().now_ms())
            click.echo(f"{accept} continues from its start in {lost} of {ledger.shards} shards.")
        elif shard is not None:
            charter = await rebuild_shard(ledger, shard)
            click.echo(f"Shard {shard} of ledger {charter.ledger_id} is empty and will be counted again.")
        elif rebuild:
            charter = await rebuild_ledger(ledger, log)
            await forget_stops(stops, await log.all_bounds())
            click.echo(f"Ledger {charter.ledger_id} will count again what Kafka still has.")
        else:
            await _create(ledger, log, beginning)


async def _create(ledger: Ledger, log: KafkaLog, beginning: str | int) -> None:
    charter = await ledger.charter()
    if charter is not None and not charter.is_creating:
        raise PermanentFailure(
            f"ledger {charter.ledger_id} exists already; `latelabel init --rebuild` drops it and counts again"
        )
    starts = await _starts(log, beginning)
    created = await found_ledger(ledger, log, starts=starts)
    click.echo(f"Created ledger {created.ledger_id} with {ledger.shards} shards and {len(created.starts)} partitions.")


async def _starts(log: KafkaLog, beginning: str | int) -> Mapping[Source, int]:
    if isinstance(beginning, int):
        return await log.offsets_at(beginning)
    bounds = await log.all_bounds()
    return {source: each.start if beginning == "earliest" else each.end for source, each in bounds.items()}


def _source(text: str, topics: Mapping[Role, str]) -> Source:
    topic, _, partition = text.rpartition("/")
    for role, name in topics.items():
        # Messages of workers name the role.
        if topic in (name, role) and partition.isdecimal():
            return Source(role, int(partition))
    known = ", ".join(f"{name}/0" for name in topics.values())
    raise click.BadParameter(f"{text!r} is no partition of an input topic, such as {known}.", param_hint="--accept")


async def forget_stops(stops: StopStore, bounds: Mapping[Source, LogBounds]) -> None:
    """Stop nothing where it stopped before all was counted again; what was accepted is let through again.

    What was accepted beyond the end of a log is forgotten: it was said of a log that is no more.
    """
    for source, each in bounds.items():
        if await stops.accepted_until(source) > each.end:
            await stops.forget(source)
        else:
            await stops.release(source)


async def accept_log(ledger: Ledger, stops: StopStore, source: Source, bounds: LogBounds, *, now_ms: int) -> int:
    """Let every shard that has applied more than the log holds continue from the log's start.

    Where the former log was stopped, and what was accepted of it, says nothing about this one and is forgotten.

    Returns: in how many shards.

    Raises:
        PermanentFailure: no shard is ahead of the log.
    """
    accepted = 0
    for shard in range(ledger.shards):
        state = await ledger.state(shard)
        at = None if state is None else state.sources.get(source)
        if at is None or at.next <= bounds.end:
            continue
        part = Part(source=source, expected=at.next, next=bounds.start, gap_to_ms=now_ms)
        reply = await ledger.commit(shard, [part], Definitions(), forget_limit=0)
        accepted += reply.parts[0].outcome is Outcome.APPLIED
    if not accepted:
        raise PermanentFailure(f"nothing to accept: no shard has counted more of {source} than the log holds")
    await stops.forget(source)
    return accepted
