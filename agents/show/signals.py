"""The internal state that a model's predictions told of, on its screen: one line for each signal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import UNSET
from rich.text import Text

from agents.durations import duration_text
from agents.show.drawing import number, share, window_time
from agents.terminal_text import cell_len, fit, printable
from schemas.signals_report import SignalsReport
from schemas.window_report import WindowReport
from streams.signals.definitions import metric_of

__all__ = ["signal_lines"]

GAP = "  "
NONE = "-"
SHORTEST_NAME = 8
MOVED = " moved"
HEADS = ("Signal", "n", "Undefined", "p05", "Median", "p95", "Mean", "Std", "PSI")


def signal_lines(reports: Sequence[SignalsReport], shown: Sequence[WindowReport], width: int) -> Iterator[Text]:
    """The signals of the newest window that is shown and has any.

    Args:
        reports: on signals, newest first, of windows of one size.
        shown: the reports on quality beside which they stand.
        width: in cells, which names are cut to.
    """
    starts = {each.window.start for each in shown}
    report = next((each for each in reports if each.window.start in starts and each.values), None)
    if report is None:
        return
    rows = [_row(report, name) for name in report.values]
    widths = [max(map(cell_len, column)) for column in zip(HEADS, *rows, strict=True)]
    left = width - sum(widths[1:]) - len(GAP) * len(widths[1:])
    widths[0] = min(widths[0], max(SHORTEST_NAME, left))
    size = duration_text(report.window.size_seconds * 1000)
    yield Text(f"signals of the {size} from {window_time(report, with_year=False)}")
    yield Text(_joined(HEADS, widths), style="bold")
    yield from (Text(_joined(row, widths)) for row in rows)
    if report.left_out:
        yield Text(f"{report.left_out:,} values of signals beyond limits.signals are left out", style="dim")


def _row(report: SignalsReport, name: str) -> tuple[str, ...]:
    return (
        printable(name),
        f"{report.values[name]:,}",
        share(_value(report, name, "undefined_share")),
        *(_number(report, name, figure) for figure in ("p05", "p50", "p95", "mean", "std")),
        _number(report, name, "psi")
        + (MOVED if report.reference is not UNSET and name in report.reference.moved else ""),
    )


def _number(report: SignalsReport, name: str, figure: str) -> str:
    value = _value(report, name, figure)
    return NONE if value is None else number(value)


def _value(report: SignalsReport, name: str, figure: str) -> float | None:
    metric = report.metrics.get(metric_of(name, figure))
    return None if metric is None else metric.value


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (fit(cell, cells, right=at > 0) for at, (cell, cells) in enumerate(zip(row, widths, strict=True)))
    return GAP.join(cells).rstrip()
