"""`latelabel counts`: what has been counted, cell by cell, or what became of every record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import click

from agents.cell_listing import CELL_COLUMNS, list_cells, list_totals
from agents.commands.command_line import Invocation
from agents.commands.output import OutputFormat, format_option, print_records
from agents.redis_ledger import RedisLedger
from agents.settings import Settings
from agents.terminal_text import printable

__all__ = ["counts"]


@click.command()
@click.option("--model", metavar="MODEL", help="Only the cells of this model.")
@click.option("--totals", is_flag=True, help="Per input topic: how many records were read, and what became of them.")
@format_option
@click.pass_obj
def counts(invocation: Invocation, model: str | None, totals: bool, output: str) -> None:
    """Print what has been counted, cell by cell.

    A cell is the number of predictions of one model version, segment, base window, label and prediction; a label of
    null (`-` in the table) means none yet, or never.
    """
    if totals and model is not None:
        raise click.UsageError("--totals counts records of all models; leave --model out.")
    asyncio.run(_print(invocation.settings(), model=model, totals=totals, output=output))


async def _print(settings: Settings, *, model: str | None, totals: bool, output: str) -> None:
    ledger = RedisLedger.from_settings(settings)
    try:
        if totals:
            _print_totals(await list_totals(ledger, settings.kafka.topic_names), output)
        else:
            async for batch in _batches(list_cells(ledger, model=model), output):
                print_records(batch, output, columns=CELL_COLUMNS)
                if model is not None and not batch:
                    click.echo(
                        f'Nothing is counted of model "{printable(model)}"; `latelabel show` lists the models.',
                        err=True,
                    )
    finally:
        await ledger.close()


async def _batches(cells: AsyncIterator[dict[str, Any]], output: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Cells as they come for programs; all at once for a table, whose columns are as wide as their widest text."""
    if output == OutputFormat.TABLE:
        yield [cell async for cell in cells]
        return
    async for cell in cells:
        yield [cell]


def _print_totals(totals: list[dict[str, Any]], output: str) -> None:
    if output == OutputFormat.JSONL:
        print_records(totals, output, columns=())
        return
    # The two topics have different fates, so one below the other.
    print_records(_lines(totals), output, columns=("topic", "fate", "records"))


def _lines(totals: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for total in totals:
        topic, *fates = total.items()
        yield from ({"topic": topic[1], "fate": fate, "records": count} for fate, count in fates)
