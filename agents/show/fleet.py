"""All model versions on one screen, two lines each: what it is and how settled, then how good, of how many."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from agents.durations import duration_text
from agents.show.drawing import STATES, STYLES, age, figure, reason, share, window_time
from agents.terminal_text import cell_len, fit, printable
from schemas.times import parse_time_ms
from schemas.window_report import WindowReport
from streams.standing import Standing, main_metric
from streams.windows import WindowStatus

__all__ = ["empty_screen", "fleet_screen"]

HEADS = ("Model", "Version", "State", "Window (UTC)", "Reported")
STATE = HEADS.index("State")
INDENT = GAP = "  "
SMALLEST_NAME = 8
SPANNED = "\0"
"""A cell that the one before it reaches into."""


def fleet_screen(
    standings: Sequence[Standing[WindowReport]], *, metric: str | None, confidence_level: float, now_ms: int, width: int
) -> list[Text]:
    """The screen, line by line.

    Args:
        standings: in the order of the screen.
        metric: the one that was asked for, if any.
        confidence_level: of the intervals.
        now_ms: to tell how old reports are.
        width: cells of a line.
    """
    heads = [HEADS, *(_head(standing, now_ms) for standing in standings)]
    figures = [
        ("Metric", f"[{confidence_level * 100:.4g} % interval]", "n", "Labelled", "Predictions", "Failed"),
        *(_figures(standing.judged, metric) for standing in standings),
    ]
    head_widths = _squeezed(_widths(heads), width, names=2)
    figure_widths = _squeezed(_widths(figures), width - len(INDENT), names=1)
    lines = [Text(f"{_count(len(standings))}, worst first"), Text("")]
    for at, (head, row) in enumerate(zip(heads, figures, strict=True)):
        style = "" if at else "bold"
        lines.append(_joined(head, head_widths, right=(4,), style=style))
        lines.append(_joined(row, figure_widths, right=(2, 3, 4, 5), style=style, indent=INDENT))
    return lines


def empty_screen(*, predictions: str, labels: str) -> list[Text]:
    """What to do when nothing has been reported yet; the arguments are the topics' names."""
    return [
        Text(line)
        for line in (
            "No model has a report yet. Run `latelabel worker`, then publish JSON objects:",
            "",
            f"  to {predictions}:",
            '    {"request_id": "r1", "model": "fraud", "prediction": "ok"}',
            f"  to {labels}, whenever the truth is known:",
            '    {"request_id": "r1", "label": "ok"}',
            "",
            "A report follows within seconds, also before any label. If none comes,",
            "`latelabel counts --totals` tells what was read and `latelabel doctor` what is wrong.",
        )
    ]


def _head(standing: Standing[WindowReport], now_ms: int) -> tuple[str, ...]:
    report = standing.judged
    status = WindowStatus.INCOMPLETE if standing.has_lost_input else WindowStatus(report.status)
    size = duration_text(report.window.size_seconds * 1000)
    return (
        printable(report.model),
        printable(report.model_version),
        STATES[status],
        f"{window_time(report)} {size}",
        age(now_ms - parse_time_ms(standing.newest.produced_at)),
    )


def _figures(report: WindowReport, asked: str | None) -> tuple[str, ...]:
    name = main_metric(report, asked)
    counts = (share(report.coverage), f"{report.predictions:,}", f"{report.failed:,}")
    if name is None:
        return f"no {printable(asked)} here" if asked else "no metric", SPANNED, SPANNED, *counts
    metric = report.metrics[name]
    if metric.value is None:
        return f"{printable(name)}: {reason(report, name)}", SPANNED, SPANNED, *counts
    return printable(name), figure(metric), f"{metric.n:,}", *counts


def _count(versions: int) -> str:
    return "1 model version" if versions == 1 else f"{versions:,} model versions"


def _widths(rows: Sequence[tuple[str, ...]]) -> list[int]:
    """Of each column; the last that a cell reaches into is widened if the cell needs it."""
    columns = range(len(rows[0]))
    widths = [max(cell_len(row[at]) if _end(row, at) == at + 1 else 0 for row in rows) for at in columns]
    for row in rows:
        for at in columns:
            end = _end(row, at)
            widths[end - 1] += max(0, cell_len(row[at]) - _spanned(widths, at, end))
    return widths


def _end(row: tuple[str, ...], at: int) -> int:
    """The column after those that a cell reaches into."""
    end = at + 1
    while end < len(row) and row[end] == SPANNED:
        end += 1
    return end


def _spanned(widths: Sequence[int], at: int, end: int) -> int:
    return sum(widths[at:end]) + len(GAP) * (end - at - 1)


def _squeezed(widths: list[int], width: int, *, names: int) -> list[int]:
    """Take from the first columns, which hold names, what the line is too long by: always from the widest."""
    squeezed = list(widths)
    over = _spanned(widths, 0, len(widths)) - width
    while over > 0:
        widest = max(range(names), key=squeezed.__getitem__)
        if squeezed[widest] <= SMALLEST_NAME:
            break
        squeezed[widest] -= 1
        over -= 1
    return squeezed


def _joined(
    row: tuple[str, ...], widths: Sequence[int], *, right: tuple[int, ...], style: str, indent: str = ""
) -> Text:
    line = Text(indent, style=style)
    at = 0
    while at < len(row):
        end = _end(row, at)
        cell = fit(row[at], _spanned(widths, at, end), right=at in right)
        line.append(cell, style=STYLES.get(row[at]) if at == STATE else None).append(GAP)
        at = end
    line.rstrip()
    return line
