"""`latelabel doctor`: check all that right counts depend on, and say what to do."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Sequence

import click

from agents.clock import SystemClock
from agents.commands.command_line import FAILED, Invocation
from agents.commands.output import OutputFormat, format_option, print_records
from agents.doctor.examination import examine
from agents.doctor.finding import Finding, Verdict

__all__ = ["doctor"]

COLUMNS = ("check", "verdict", "found", "remedy")


@click.command()
@format_option
@click.pass_obj
def doctor(invocation: Invocation, output: str) -> int:
    """Check all that right counts depend on, and say what to do.

    Changes nothing. Looks at brokers, topics, retention and lag, at Redis, its memory and clock, at the ledger, what it
    lost, whether every record has exactly one fate, stopped partitions, and classes that never agree. Ends with exit
    code 1 if a check failed; warnings do not count.
    """
    settings = invocation.settings()
    invocation.log_by(settings)
    findings = asyncio.run(examine(settings, SystemClock()))
    if output == OutputFormat.JSONL:
        print_records(map(dataclasses.asdict, findings), output, columns=COLUMNS)
    else:
        _print_table(findings)
    return FAILED if any(finding.verdict is Verdict.FAILED for finding in findings) else 0


def _print_table(findings: Sequence[Finding]) -> None:
    """A line for each check and, where there is something to do, one more below it."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        click.echo(f"{finding.verdict:<7}  {finding.check:<{width}}  {finding.found}")
        if finding.remedy:
            click.echo(f"{'':<7}  {'':<{width}}  -> {finding.remedy}")
    counts = collections.Counter(finding.verdict for finding in findings)
    words = {Verdict.WARNING: "warnings"}
    click.echo(
        ", ".join(
            f"{counts[verdict]} {words.get(verdict, verdict) if counts[verdict] > 1 else verdict}"
            for verdict in Verdict
            if counts[verdict]
        )
    )
