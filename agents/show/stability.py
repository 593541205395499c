"""Latency and failures of the windows on a model's screen, and how the latency compares with another version."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.text import Text

from agents.durations import duration_text
from agents.show.drawing import number, share, window_time
from agents.terminal_text import cell_len, fit, printable
from schemas.stability_report import StabilityReport
from schemas.window_report import Metric, WindowReport
from streams.stability.latency_comparison import Ratio, latency_ratio

__all__ = ["NOT_KNOWN", "Stability", "stability_lines"]

INDENT = GAP = "  "
NONE = "-"
COMPARED = {"median": "latency_p50_ms", "p99": "latency_p99_ms"}
LONGEST_VERSION = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Stability:
    """Reports on the stability of one version, newest first, and of one to compare it with, if there is any.

    All are of windows of one size.
    """

    reports: Sequence[StabilityReport] = ()
    other_version: str = ""
    others: Sequence[StabilityReport] = ()


NOT_KNOWN = Stability()
"""Of a version without such reports."""


def stability_lines(stability: Stability, shown: Sequence[WindowReport], *, level: str) -> Iterator[Text]:
    """A line for each window that is shown, and one for each quantile that can be compared.

    Args:
        shown: the reports on quality beside which they stand.
        level: of the intervals, in words.
    """
    by_start = {report.window.start: report for report in stability.reports}
    reports = [by_start[each.window.start] for each in shown if each.window.start in by_start]
    if not any(report.with_latency or report.failed for report in reports):
        return
    size = duration_text(reports[0].window.size_seconds * 1000)
    heads = (f"{size} from", "Median", f"p99 [{level} interval]", "Errors", "Time-outs", "Requests/s")
    rows = [_row(report) for report in reports]
    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    yield Text("latency and failures of the same windows")
    yield Text(_joined(heads, widths), style="bold")
    yield from (Text(_joined(row, widths)) for row in rows)
    yield from _comparison(stability, reports)


def _row(report: StabilityReport) -> tuple[str, ...]:
    metrics = report.metrics
    return (
        window_time(report, with_year=False),
        _latency(metrics.get("latency_p50_ms")),
        _with_interval(metrics.get("latency_p99_ms")),
        share(_value(metrics, "error_rate")),
        share(_value(metrics, "timeout_rate")),
        NONE if (per_second := _value(metrics, "throughput_per_second")) is None else number(per_second),
    )


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (fit(cell, cells, right=at > 2) for at, (cell, cells) in enumerate(zip(row, widths, strict=True)))
    return GAP.join(cells).rstrip()


def _comparison(stability: Stability, reports: Sequence[StabilityReport]) -> Iterator[Text]:
    pair = _pair(reports, stability.others)
    if pair is None:
        return
    mine, other = pair
    ratios = {
        name: ratio
        for name, metric in COMPARED.items()
        if (ratio := latency_ratio(mine.metrics[metric], other.metrics[metric])) is not None
    }
    if ratios:
        version = printable(stability.other_version) or '""'
        named = fit(version, min(cell_len(version), LONGEST_VERSION))
        mine_at, other_at = (window_time(report, with_year=False) for report in (mine, other))
        where = f"version {named}, {mine_at}" if mine_at == other_at else f"version {named} at {other_at}, {mine_at}"
        yield Text(f"latency against {where}:")
        yield Text(INDENT + ", ".join(f"{name} {_times(ratio)}" for name, ratio in ratios.items()))


def _pair(
    reports: Iterable[StabilityReport], others: Iterable[StabilityReport]
) -> tuple[StabilityReport, StabilityReport] | None:
    """The newest window in which both versions answered, else the newest of each."""
    mine = [report for report in reports if report.with_latency]
    theirs = {report.window.start: report for report in others if report.with_latency}
    if not mine or not theirs:
        return None
    for report in mine:
        if report.window.start in theirs:
            return report, theirs[report.window.start]
    return mine[0], theirs[max(theirs)]


def _times(ratio: Ratio) -> str:
    low, high = (NONE if limit is None else f"{limit:.2f}" for limit in (ratio.low, ratio.high))
    return f"{ratio.value:.2f}x [{low}, {high}]"


def _value(metrics: Mapping[str, Metric], name: str) -> float | None:
    return metrics[name].value if name in metrics else None


def _with_interval(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return NONE
    high = NONE if metric.high is None else _milliseconds(metric.high)
    return f"{_milliseconds(metric.value)} [{_milliseconds(metric.low or 0.0)}, {high}]"


def _latency(metric: Metric | None) -> str:
    return NONE if metric is None or metric.value is None else _milliseconds(metric.value)


def _milliseconds(latency_ms: float) -> str:
    """A latency to three digits.

    >>> _milliseconds(0.0123), _milliseconds(24.377), _milliseconds(999.96), _milliseconds(83_250.0), _milliseconds(0.0)
    ('0.0123ms', '24.4ms', '1s', '83.2s', '0ms')
    """
    if latency_ms >= 999.5:
        return f"{latency_ms / 1000:.3g}s" if latency_ms < 999_500 else f"{latency_ms / 1000:,.0f}s"
    return f"{latency_ms:.3g}ms"
