"""`latelabel backtest`: which alerts there would have been, and when they would have been known."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from agents.alert_rule_files import load_rules
from agents.backtest import Backtest, step_of
from agents.commands.command_line import Invocation
from agents.commands.output import Duration, OutputFormat, format_option, print_records
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
from agents.settings import Settings
from schemas.alert import Alert
from schemas.codec import encode
from schemas.times import format_time
from streams.alerting.observation import JudgedReport
from streams.alerting.rules import AlertRule

__all__ = ["backtest"]

_ROLES = ("--predictions", "--labels")
COLUMNS = ("known_at", "status", "alert", "model", "segment", "window_start", "value", "threshold", "n", "reason")


class _Named(PerFile):
    """`--predictions FILE` and `--labels FILE`, each with the options that follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write them as `latelabel replay` has them: FILE --topic predictions."""
        rewritten: list[str] = []
        arguments = iter(args)
        for argument in arguments:
            name, equals, file = argument.partition("=")
            if name not in _ROLES:
                rewritten.append(argument)
                continue
            files = [file] if equals else list(itertools.islice(arguments, 1))
            if not files:
                raise click.UsageError(f"{name} needs a FILE.", ctx)
            rewritten += [files[0], "--topic", name.removeprefix("--")]
        return super().parse_args(ctx, rewritten)


@click.command(cls=_Named)
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="")
@click.option("--topic", "topics", multiple=True, type=OfFile(), hidden=True)
@click.option(
    "--predictions", metavar="FILE", help="CSV, JSON Lines or Parquet, as for `latelabel replay`.", expose_value=False
)
@click.option(
    "--labels", metavar="FILE", help="The same; event_time is when the truth became known.", expose_value=False
)
@mapping_options
@click.option(
    "--rules",
    "rule_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Instead of the configuration's.",
)
@click.option(
    "--step",
    "step_ms",
    type=Duration(),
    metavar="DURATION",
    help="Between two looks (default: a fifth of the smallest window).",
)
@click.option("--windows", is_flag=True, help="Print the final report of every window too.")
@format_option
@click.pass_obj
def backtest(
    invocation: Invocation,
    files: tuple[Path, ...],
    topics: tuple[tuple[int, str], ...],
    columns: tuple[tuple[int, str, str], ...],
    constants: tuple[tuple[int, str, str], ...],
    zone: datetime.tzinfo | None,
    rule_files: tuple[Path, ...],
    step_ms: int | None,
    windows: bool,
    output: str,
) -> None:
    """Tell which alerts there would have been, and when, without Kafka and Redis.

    Each record is read at its own event_time, so a label is known when it was given: an alert is told with the moment
    at which it would have been known. Windows, horizons and models are those of the configuration.

    \b
    latelabel backtest --predictions scored.csv --set model=fraud
        --labels outcomes.jsonl --map label=is_fraud --rules rules.yaml
    """
    settings = invocation.settings()
    rules = load_rules(settings, rule_files or None)
    if not rules:
        raise click.UsageError("there are no rules; name a file by --rules, or by rule_files in the configuration")
    if not files:
        raise click.UsageError("name files by --predictions FILE and --labels FILE")
    mapped = mapped_files(files, topics, columns, constants)
    record_files = record_files_of(files, mapped, zone, settings)
    line = Line()
    all_checked = check_files(record_files, line, consequence="nothing was tested")
    with contextlib.ExitStack() as stack:
        records = merged(
            [
                stack.enter_context(file.in_order(checked))
                for file, checked in zip(record_files, all_checked, strict=True)
            ]
        )
        run = _Run(settings, rules, step_ms=step_ms or step_of(settings), shows_windows=windows, output=output)
        asyncio.run(run.print(_counted(records, sum(each.records for each in all_checked), line)))


def _counted(records: Iterator[Record], total: int, line: Line) -> Iterator[Record]:
    for number, record in enumerate(records):
        if number % 1000 == 0:
            line.tell(f"{number:,} of {total:,} records, event time {format_time(record.time_ms)}")
        yield record


class _Run:
    """One backtest and what is printed of it."""

    def __init__(
        self, settings: Settings, rules: Sequence[AlertRule], *, step_ms: int, shows_windows: bool, output: str
    ) -> None:
        self._backtest = Backtest(settings, rules, step_ms=step_ms)
        self._shows_windows = shows_windows
        self._output = output
        self._rows: list[dict[str, Any]] = []
        self._final = self._firing = 0

    async def print(self, records: Iterator[Record]) -> None:
        """Run it."""
        async for at_ms, told in self._backtest.run(records):
            if isinstance(told, Alert):
                self._firing += told.status == "firing"
                self._tell(at_ms, told, _alert_row(at_ms, told))
            elif told.status == "final" and told.kind == "quality":
                self._final += not told.segment
                if self._shows_windows:
                    self._tell(at_ms, told, _window_row(at_ms, told))
        if self._output == OutputFormat.TABLE:
            if self._rows:
                print_records(self._rows, self._output, columns=COLUMNS)
            print(f"{self._final:,} windows became final; alerts that fired: {self._firing:,}")

    def _tell(self, at_ms: int, told: Alert | JudgedReport, row: dict[str, Any]) -> None:
        if self._output == OutputFormat.TABLE:
            self._rows.append(row)
            return
        kind = "alert" if isinstance(told, Alert) else "window"
        value = orjson.Fragment(encode(told))
        sys.stdout.buffer.write(orjson.dumps({"known_at": format_time(at_ms), kind: value}) + b"\n")


def _alert_row(at_ms: int, alert: Alert) -> dict[str, Any]:
    known = {"alertname", "model", "model_version", "severity", "rule"}
    return {
        "known_at": format_time(at_ms),
        "status": alert.status,
        "alert": alert.name,
        "model": " ".join(filter(None, (alert.labels.get("model"), alert.labels.get("model_version")))),
        "segment": {name: value for name, value in alert.labels.items() if name not in known},
        "window_start": alert.annotations.get("window_start"),
        "value": alert.annotations.get("value"),
        "threshold": alert.annotations.get("threshold"),
        "n": alert.annotations.get("samples"),
        "reason": alert.reason,
    }


def _window_row(at_ms: int, report: JudgedReport) -> dict[str, Any]:
    return {
        "known_at": format_time(at_ms),
        "status": report.status,
        "alert": None,
        "model": " ".join(filter(None, (report.model, report.model_version))),
        "segment": report.segment,
        "window_start": report.window.start,
        "value": None,
        "threshold": None,
        "n": None if report.labelled is None else str(report.labelled),
        "reason": None,
    }
