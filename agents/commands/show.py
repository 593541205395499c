"""`latelabel show`: the fleet, worst first, or one model on one screen."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

import click
from rich.console import Console
from rich.text import Text

from agents.clock import SystemClock
from agents.commands.command_line import Invocation
from agents.commands.output import Duration, OutputFormat, format_option, print_lines
from agents.redis_connection import connect
from agents.redis_reports import RedisReports
from agents.settings import Settings
from agents.show.attributions import attribution_lines, attribution_window
from agents.show.drawing import Glyphs
from agents.show.fleet import empty_screen, fleet_screen
from agents.show.model import ModelView, model_screen
from agents.show.reading import KeptReport, model_versions, newest_reports, signals_reports, stability_reports
from agents.show.resources import resource_lines, resource_screen, resource_windows, watched_alone
from agents.show.stability import Stability
from agents.show.system import no_workers_screen, system_reports, system_screen
from agents.terminal_text import printable
from schemas.stability_report import StabilityReport
from schemas.window_report import Metric, WindowReport
from streams.errors import PermanentFailure
from streams.ports import ReportStore
from streams.standing import standing_of, worst_first

__all__ = ["show"]

WINDOWS_READ = 48
"""How far back a window is looked for that has half of its labels: two days of hours."""
NAMES_SHOWN = 20


@click.command()
@click.argument("model", required=False)
@click.option("--model-version", metavar="VERSION", help="Of MODEL (default: the one with the newest window).")
@click.option("--metric", metavar="NAME", help="What to judge by (default: accuracy, or mae).")
@click.option("--window", "window_ms", type=Duration(), metavar="SIZE", help="Size of windows (default: the largest).")
@click.option("--system", is_flag=True, help="Show the monitor itself: the books, Redis, and each worker.")
@format_option
@click.pass_obj
def show(
    invocation: Invocation,
    model: str | None,
    model_version: str | None,
    metric: str | None,
    window_ms: int | None,
    system: bool,
    output: str,
) -> None:
    """Show all models, worst first, or one MODEL on one screen.

    A model version is judged by the newest window of which at least half of the predictions have labels, else by the
    newest with any label. Worst first means: lost input, then the lowest upper end of the metric's interval (of
    errors the highest lower end), so that few labels do not make a version the worst; last those without a figure.
    Segments are left out.

    The screen of a MODEL has latency and failures of the same windows beside its quality, and compares the latency with
    that of its next version, and the signals that predictions told in the newest window. Where predictions are
    explained, it also tells what decided those that were wrong, and those in general.

    With --system the screen is about the monitor: whether every record has exactly one fate, how full Redis is, and how
    each worker does.

    JSON Lines are the same reports, as they were published.
    """
    if system and (model is not None or metric is not None):
        raise click.UsageError("--system is about the workers, so it takes no MODEL and no --metric.")
    if model is None and model_version is not None:
        raise click.UsageError("--model-version needs a MODEL.")
    settings = invocation.settings()
    asked = _Show(settings, metric, window_ms, output)
    asyncio.run(asked.run_system() if system else asked.run(model, model_version))


class _Show:
    """One call of the command."""

    def __init__(self, settings: Settings, metric: str | None, window_ms: int | None, output: str) -> None:
        self._settings = settings
        self._metric = metric
        self._size_seconds = None if window_ms is None else window_ms // 1000
        self._output = output
        self._console = Console(highlight=False, soft_wrap=True)

    async def run(self, model: str | None, model_version: str | None) -> None:
        async with self._store() as store:
            if model is None:
                await self._fleet(store)
            else:
                await self._model(store, model, model_version)

    async def run_system(self) -> None:
        async with self._store() as store:
            reports = await system_reports(store, size_seconds=self._size_seconds)
        if self._output == OutputFormat.JSONL:
            _print_values(reports.values)
        elif not reports.by_worker:
            self._print(no_workers_screen())
        else:
            self._print(
                system_screen(
                    reports,
                    now_ms=SystemClock().now_ms(),
                    interval_ms=self._settings.evaluation_interval_ms,
                    width=self._console.width,
                )
            )

    @contextlib.asynccontextmanager
    async def _store(self) -> AsyncIterator[ReportStore]:
        redis = self._settings.redis
        async with contextlib.aclosing(connect(redis.url)) as client:
            yield RedisReports(client, address=redis.address, prefix=redis.prefix)

    async def _fleet(self, store: ReportStore) -> None:
        values: dict[str, bytes] = {}
        standings = []
        named = await model_versions(store)
        for model_version in named:
            if kept := await self._read(store, model_version):
                standings.append(standing_of([each.report for each in kept]))
                judged = standings[-1].judged.event_id
                values[judged] = next(each.value for each in kept if each.report.event_id == judged)
        self._check_metric([standing.judged.metrics for standing in standings])
        ordered = worst_first(standings, metric=self._metric)
        if self._output == OutputFormat.JSONL:
            _print_values(values[standing.judged.event_id] for standing in ordered)
        elif not ordered and (watched := await watched_alone(store, named)):
            self._print(watched)
        elif not ordered:
            kafka = self._settings.kafka
            self._print(empty_screen(predictions=kafka.topic("predictions"), labels=kafka.topic("labels")))
        else:
            self._print(
                fleet_screen(
                    ordered,
                    metric=self._metric,
                    confidence_level=self._settings.confidence_level,
                    now_ms=SystemClock().now_ms(),
                    width=self._console.width,
                )
            )
            self._print(await watched_alone(store, named))

    async def _model(self, store: ReportStore, model: str, version: str | None) -> None:
        versions, keys = {}, {}
        for model_version, (_, name) in (await model_versions(store, model=model)).items():
            keys[name] = model_version
            if newest := await self._read(store, model_version):
                versions[name] = newest
        is_unjudged = not versions if version is None else version not in versions
        if is_unjudged and await self._resources_alone(store, keys, version):
            return
        if not versions:
            raise PermanentFailure(await self._unknown(store, model))
        if version is not None and version not in versions:
            raise PermanentFailure(f'no report of version "{printable(version)}"; there are {_listed(versions)}')
        newest_first = sorted(versions, key=lambda name: versions[name][0].report.window.start, reverse=True)
        chosen = newest_first[0] if version is None else version
        kept = versions[chosen]
        reports = [each.report for each in kept]
        self._check_metric([report.metrics for report in reports])
        others = [name for name in newest_first if name != chosen]
        size_seconds = reports[0].window.size_seconds
        stability = await self._read_stability(store, keys[chosen], size_seconds)
        compared = await self._read_stability(store, keys[others[0]], size_seconds) if others else ()
        signals = await signals_reports(store, keys[chosen], most=WINDOWS_READ, size_seconds=size_seconds)
        view = ModelView(
            reports=reports,
            standing=standing_of(reports),
            stability=Stability(
                [each.report for each in stability],
                other_version=others[0] if others else "",
                others=[each.report for each in compared],
            ),
            signals=[each.report for each in signals],
            metric=self._metric,
            others=others,
            confidence_level=self._settings.confidence_level,
            now_ms=SystemClock().now_ms(),
        )
        starts = [report.window.start for report in view.shown]
        resources = await resource_windows(store, keys[chosen], size_seconds=size_seconds, starts=starts)
        decided = await attribution_window(store, keys[chosen], size_seconds=size_seconds)
        if self._output == OutputFormat.JSONL:
            shown = (*view.shown, view.standing.judged)
            windows = {report.window.start for report in shown}
            latencies = (each.value for each in stability if each.report.window.start in windows)
            told = (each.value for each in signals if each.report.window.start in windows)
            of_quality = (each.value for each in kept if each.report in shown)
            decisions = () if decided is None else (decided.value,)
            _print_values([*of_quality, *latencies, *told, *resources.values, *decisions])
        else:
            glyphs = Glyphs.ascii() if self._console.options.ascii_only else Glyphs()
            self._print(model_screen(view, width=self._console.width, glyphs=glyphs))
            if resources.by_target:
                self._print([Text(""), *resource_lines(resources, self._console.width)])
            if decided is not None:
                self._print([Text(""), *attribution_lines(decided.report, self._console.width)])

    async def _resources_alone(self, store: ReportStore, keys: Mapping[str, bytes], version: str | None) -> bool:
        """Show what a model takes that has answered nothing yet. False if there is nothing to show either."""
        found = {
            name: windows
            for name, key in keys.items()
            if version in (None, name)
            and (windows := await resource_windows(store, key, size_seconds=self._size_seconds)).by_target
        }
        if not found:
            return False
        newest = max(found.values(), key=lambda windows: windows.newest_start)
        if self._output == OutputFormat.JSONL:
            _print_values(newest.values)
        else:
            self._print(resource_screen(newest, now_ms=SystemClock().now_ms(), width=self._console.width))
        return True

    async def _read(self, store: ReportStore, model_version: bytes) -> Sequence[KeptReport[WindowReport]]:
        return await newest_reports(store, model_version, most=WINDOWS_READ, size_seconds=self._size_seconds)

    async def _read_stability(
        self, store: ReportStore, model_version: bytes, size_seconds: int
    ) -> Sequence[KeptReport[StabilityReport]]:
        return await stability_reports(store, model_version, most=WINDOWS_READ, size_seconds=size_seconds)

    def _check_metric(self, reports: Sequence[Mapping[str, Metric]]) -> None:
        names = dict.fromkeys(name for metrics in reports for name in metrics)
        if self._metric is not None and reports and self._metric not in names:
            raise click.UsageError(f"There is no metric {self._metric!r} here; there are {', '.join(names)}.")

    async def _unknown(self, store: ReportStore, model: str) -> str:
        names = dict.fromkeys(name for name, _ in (await model_versions(store)).values())
        if model in names:
            return f'no report of model "{printable(model)}" with windows of this size'
        there = f"there are {_listed(names)}" if names else "no model has one yet; `latelabel show` says what to do"
        return f'no report of model "{printable(model)}"; {there}'

    def _print(self, lines: Sequence[Text]) -> None:
        print_lines(self._console, lines)


def _print_values(values: Iterable[bytes]) -> None:
    sys.stdout.buffer.writelines(value + b"\n" for value in values)


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(f'"{printable(name)}"' for name in list(names)[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN:,} more"
