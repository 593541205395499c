"""Numbers, bars and words that both screens share.

A bar shows where a figure is and may be, on a scale that all bars of a screen have in common:

    0.40                 1.00
    ···━━━━●━━━━········         ● value, ━ interval, · what missing labels could still make of it
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from agents.durations import duration_text
from agents.terminal_text import fit
from schemas.attribution_report import AttributionReport
from schemas.resource_report import ResourceReport
from schemas.signals_report import SignalsReport
from schemas.stability_report import StabilityReport
from schemas.system_report import SystemReport
from schemas.window_report import Metric, WindowReport
from streams.quality.figure import UndefinedReason
from streams.windows import WindowStatus

__all__ = [
    "GAP",
    "REASONS",
    "STATES",
    "STYLES",
    "Glyphs",
    "Scale",
    "age",
    "byte_size",
    "column_line",
    "figure",
    "number",
    "reason",
    "scale_of",
    "share",
    "window_time",
]

GAP = "  "
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
THOUSAND = 1000.0
SECOND_MS = 1000
DAY_SECONDS = 86_400

STATES = {
    WindowStatus.OPEN: "open",
    WindowStatus.PROVISIONAL: "labels due",
    WindowStatus.FINAL: "final",
    WindowStatus.INCOMPLETE: "input lost",
}
STYLES = {"open": "cyan", "labels due": "yellow", "final": "green", "input lost": "bold red"}

REASONS = {
    UndefinedReason.NO_LABELLED: "no label yet",
    UndefinedReason.NO_POSITIVE_LABELS: "no positive label",
    UndefinedReason.NO_NEGATIVE_LABELS: "no negative label",
    UndefinedReason.NO_POSITIVE_PREDICTIONS: "no positive prediction",
    UndefinedReason.SINGLE_CLASS: "one class only",
    UndefinedReason.NO_SCORES: "no scores sent",
    UndefinedReason.NO_POSITIVE_CLASS: "no positive_class set",
    UndefinedReason.CLASS_OVERFLOW: "beyond limits.classes",
    UndefinedReason.NEGATIVE_VALUES: "negative values",
    UndefinedReason.ZERO_LABELS: "a label is zero",
    UndefinedReason.CONSTANT_LABELS: "labels all equal",
    UndefinedReason.BAD_PROBABILITIES: "unusable probabilities",
    UndefinedReason.NO_LATENCIES: "no latency sent",
    UndefinedReason.NO_REQUESTS: "no prediction",
    UndefinedReason.WINDOW_OPEN: "window still open",
    UndefinedReason.INPUT_LOST: "input lost",
    UndefinedReason.NO_VALUES: "no value sent",
    UndefinedReason.SINGLE_VALUE: "one value only",
    UndefinedReason.NO_REFERENCE: "no reference yet",
}
BINARY_ONLY = "binary models only"
_OF_BINARY_MODELS = frozenset({UndefinedReason.NO_SCORES, UndefinedReason.NO_POSITIVE_CLASS})
"""What is wrong with a figure of scores that came: it would need those of every class, or a positive one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Glyphs:
    """What bars are drawn with."""

    value: str = "●"
    interval: str = "━"
    possible: str = "·"

    @classmethod
    def ascii(cls) -> Glyphs:
        """For terminals that have nothing else."""
        return cls("o", "=", ".")


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """Where a bar begins and ends."""

    low: float
    high: float

    def bar(self, metric: Metric, cells: int, glyphs: Glyphs) -> str:
        """Draw one figure; without a value only what is possible."""
        line = [" "] * cells
        if isinstance(metric.possible, tuple):
            self._fill(line, *metric.possible, glyphs.possible)
        if metric.low is not None and metric.high is not None:
            self._fill(line, metric.low, metric.high, glyphs.interval)
        if metric.value is not None:
            self._fill(line, metric.value, metric.value, glyphs.value)
        return "".join(line)

    def _fill(self, line: list[str], low: float, high: float, glyph: str) -> None:
        for cell in range(self._cell(low, len(line)), self._cell(high, len(line)) + 1):
            line[cell] = glyph

    def _cell(self, value: float, cells: int) -> int:
        inside = min(max(value, self.low), self.high)
        return round((inside - self.low) / (self.high - self.low) * (cells - 1))


def scale_of(metrics: Iterable[Metric]) -> Scale:
    """The smallest scale on which all of these figures can be drawn whole."""
    ends = [end for metric in metrics for end in _ends(metric)]
    if not ends:
        return Scale(0.0, 1.0)
    low, high = min(ends), max(ends)
    return Scale(low, high) if low < high else Scale(low - 0.5, high + 0.5)


def _ends(metric: Metric) -> Iterable[float]:
    yield from (end for end in (metric.value, metric.low, metric.high) if end is not None)
    if isinstance(metric.possible, tuple):
        yield from metric.possible


def number(value: float) -> str:
    """Three decimals, or the order of size of what is very small or large.

    >>> number(0.97656), number(-12.5), number(123456.7), number(4.5e12), number(0.00004)
    ('0.977', '-12.500', '123,457', '4.5e+12', '4.0e-05')
    """
    if 0 < abs(value) < 0.0005:
        return f"{value:.1e}"
    if abs(value) < 100:
        return f"{value + 0.0:.3f}"
    return f"{value:,.0f}" if abs(value) < 1e7 else f"{value:.4g}"


def figure(metric: Metric) -> str:
    """The value with its interval; a dash if it is undefined."""
    if metric.value is None:
        return "-"
    if metric.low is None or metric.high is None:
        return number(metric.value)
    return f"{number(metric.value)} [{number(metric.low)}, {number(metric.high)}]"


def reason(report: WindowReport, metric: str) -> str:
    """Why a metric has no value, in words; a reason that a later version added stays as it is."""
    code = report.undefined.get(metric, "no reason given")
    if code in _OF_BINARY_MODELS and report.metrics[metric].n:
        return BINARY_ONLY
    return REASONS.get(code, code)  # type: ignore[call-overload, no-any-return]


def share(ratio: float | None) -> str:
    """A ratio in per cent; 100 % only of what is whole, 0 % only of nothing.

    >>> share(0.64), share(0.9999), share(1.0), share(0.0001), share(None)
    ('64.0%', '99.9%', '100%', '0.1%', '-')
    """
    if ratio is None:
        return "-"
    return f"{ratio:.0%}" if ratio in (0, 1) else f"{min(max(ratio, 0.001), 0.999):.1%}"


def window_time(
    report: WindowReport | ResourceReport | StabilityReport | SignalsReport | SystemReport | AttributionReport,
    *,
    with_year: bool = True,
) -> str:
    """When a window began, UTC: the day, and the time of day if windows are shorter than days."""
    day, _, time = report.window.start.removesuffix("Z").partition("T")
    time = time if report.window.size_seconds % 60 else time.removesuffix(":00")
    shown = day if report.window.size_seconds % DAY_SECONDS == 0 else f"{day} {time}"
    return shown if with_year else shown[len("2026-") :]


def age(milliseconds: int) -> str:
    """How long ago something was, by its largest unit.

    >>> age(5_400_000), age(30), age(-5)
    ('1h ago', 'just now', 'just now')
    """
    if milliseconds < SECOND_MS:
        return "just now"
    for unit_ms in (DAY_SECONDS * SECOND_MS, 3600 * SECOND_MS, 60 * SECOND_MS, SECOND_MS):
        if milliseconds >= unit_ms:
            return f"{duration_text(milliseconds - milliseconds % unit_ms)} ago"
    raise AssertionError("unreachable")


def column_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, the first and the last cell to the left."""
    last = len(cells) - 1
    placed = (
        fit(cell, cell_width, right=0 < at < last)
        for at, (cell, cell_width) in enumerate(zip(cells, widths, strict=True))
    )
    return GAP.join(placed).rstrip()


def byte_size(size_bytes: float | None) -> str:
    """Bytes in three digits or so.

    >>> byte_size(812_646_400), byte_size(999), byte_size(None)
    ('813 MB', '999 B', '-')
    """
    if size_bytes is None:
        return "-"
    unit = 0
    while abs(size_bytes) >= THOUSAND - 0.5 and unit < len(_UNITS) - 1:
        size_bytes /= THOUSAND
        unit += 1
    return f"{size_bytes:.3g} {_UNITS[unit]}"
