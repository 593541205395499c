"""Shows the demo in the terminal: a live table, or plain lines where there is no terminal to redraw.

Both tell the same story: a day opens, ends with part of its labels, is revised while the rest land, and
becomes final. The lines follow two days of each month; the table follows whichever days moved last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agents.demo.replay import Progress
from agents.demo.signals import signals_now
from agents.demo.standing import Standing
from schemas.signals_report import SignalsReport
from schemas.window_report import Metric, WindowReport

__all__ = ["LinesScreen", "LiveScreen", "Screen", "open_screen"]

DAYS_SHOWN = 14
WIDE_COLUMNS = 132
"""What the table needs to show precision and recall too."""
REFRESH_PER_SECOND = 5
FOLLOWED_DAYS = ("-01T", "-15T")
STYLES = {"open": "cyan", "provisional": "yellow", "final": "green", "incomplete": "red"}


class Screen(Protocol):
    """Where the demo tells what happens."""

    def say(self, text: str) -> None:
        """Write a line that stays."""

    def progress(self, progress: Progress) -> None:
        """Take note of how far the replay is."""

    def revised(self, report: WindowReport) -> None:
        """Take note of a new revision of a day's report."""

    def told(self, report: SignalsReport) -> None:
        """Take note of a new revision of a day's report on signals."""

    def live(self) -> contextlib.AbstractContextManager[None]:
        """Show reports and progress as they change, for as long as the block lasts."""


def open_screen(standing: Standing, *, days: int) -> Screen:
    """Return the screen that suits standard output; `days` is how many are going to be judged."""
    console = Console(highlight=False)
    plain = not console.is_terminal or console.is_dumb_terminal
    return LinesScreen() if plain else LiveScreen(console, standing, days=days)


class LinesScreen:
    """One line per revision of the days it follows, and one for every tenth of the replay."""

    def __init__(self) -> None:
        self._tenths = 0
        self._revisions: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Write a line that stays."""
        print(text, flush=True)

    def progress(self, progress: Progress) -> None:
        """Write how far the replay is, now and then."""
        tenths = progress.published * 10 // max(1, progress.total)
        if tenths > self._tenths:
            self._tenths = tenths
            self.say(f"  ── {_progress(progress)}")

    def revised(self, report: WindowReport) -> None:
        """Write the report if it is about a day that is followed."""
        day = report.window.start
        if not any(mark in day for mark in FOLLOWED_DAYS):
            return
        number = self._revisions[day] = self._revisions.get(day, 0) + 1
        possible = f" possible {_possible(report)}" if _possible(report) else ""
        self.say(
            f"  {day[:10]} {report.status:<11} revision {number}: {report.predictions:>5,} flights,"
            f" {report.coverage or 0:>6.1%} landed, accuracy {_figure(report, 'accuracy')}{possible},"
            f" precision {_figure(report, 'precision')}, recall {_figure(report, 'recall')}"
        )

    def told(self, report: SignalsReport) -> None:
        """Write the signals of a day that is followed, when they are final."""
        if report.status == "final" and any(mark in report.window.start for mark in FOLLOWED_DAYS):
            self.say(f"  {signals_now(report)}")

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Lines need no preparation."""
        yield


class LiveScreen:
    """A table of the days that moved last, redrawn a few times a second."""

    def __init__(self, console: Console, standing: Standing, *, days: int) -> None:
        self._console = console
        self._standing = standing
        self._days = days
        self._progress: Progress | None = None

    def say(self, text: str) -> None:
        """Write a line that stays, above the table."""
        self._console.print(text, soft_wrap=True)

    def progress(self, progress: Progress) -> None:
        """Take note; shown with the next redraw."""
        self._progress = progress

    def revised(self, report: WindowReport) -> None:
        """Nothing to do: the table is drawn from `Standing`."""

    def told(self, report: SignalsReport) -> None:
        """Likewise."""

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Keep the table on the screen; its last state stays when the block ends."""
        with Live(
            console=self._console, get_renderable=self._render, refresh_per_second=REFRESH_PER_SECOND, transient=False
        ):
            yield

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [self._table()]
        if self._progress:
            line = Table.grid(padding=(0, 2))
            bar = ProgressBar(total=self._progress.total, completed=self._progress.published, width=20)
            line.add_row(bar, _progress(self._progress))
            parts.append(line)
        standing = self._standing
        if standing.signals:
            newest = standing.signals[max(standing.signals)]
            parts.append(Text(signals_now(newest), no_wrap=True, overflow="ellipsis"))
        parts.append(Text(f"{standing.final_days} of {self._days} days final, {standing.revisions:,} reports so far"))
        return Group(*parts)

    def _table(self) -> Table:
        wide = self._console.width >= WIDE_COLUMNS
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True, header_style="bold")
        table.add_column("day (UTC)", no_wrap=True)
        table.add_column("status", min_width=11, no_wrap=True)
        for title in ("rev.", "flights", "landed"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("accuracy [95 %]", min_width=20, no_wrap=True)
        table.add_column("possible", min_width=14, no_wrap=True)
        if wide:
            table.add_column("precision [95 %]", min_width=20, no_wrap=True)
            table.add_column("recall [95 %]", min_width=20, no_wrap=True)
        for day, history in sorted(self._standing.days.items())[-DAYS_SHOWN:]:
            report = history[-1]
            row: list[RenderableType] = [
                day[:10],
                Text(report.status, style=STYLES[report.status]),
                str(len(history)),
                f"{report.predictions:,}",
                f"{report.coverage or 0:.1%}",
                Text(_figure(report, "accuracy")),
                Text(_possible(report)),
            ]
            if wide:
                row += [Text(_figure(report, "precision")), Text(_figure(report, "recall"))]
            table.add_row(*row)
        return table


def _progress(progress: Progress) -> str:
    return (
        f"{progress.now:%Y-%m-%d %H:%M}, {progress.published:,} of {progress.total:,} records,"
        f" {progress.speed:,.0f} x life"
    )


def _figure(report: WindowReport, name: str) -> str:
    metric = report.metrics[name]
    if metric.value is None:
        return f"undefined ({report.undefined.get(name, 'no reason given')})"
    return f"{metric.value:.3f}{_interval(metric)}"


def _interval(metric: Metric) -> str:
    return "" if metric.low is None or metric.high is None else f" [{metric.low:.3f}, {metric.high:.3f}]"


def _possible(report: WindowReport) -> str:
    possible = report.metrics["accuracy"].possible
    if report.status == "final" or not isinstance(possible, tuple):
        return ""
    return f"{possible[0]:.3f} to {possible[1]:.3f}"
