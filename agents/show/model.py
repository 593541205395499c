"""One model version on one screen: its newest windows as bars, and everything about the one it is judged by."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from agents.durations import duration_text
from agents.show.classes import class_lines
from agents.show.confusion import confusion_lines
from agents.show.drawing import STATES, STYLES, Glyphs, age, figure, number, reason, scale_of, share, window_time
from agents.show.signals import signal_lines
from agents.show.stability import NOT_KNOWN, Stability, stability_lines
from agents.terminal_text import cell_len, fit, printable
from schemas.signals_report import SignalsReport
from schemas.times import parse_time_ms
from schemas.window_report import CoverageExpected, LabelDelay, WindowReport
from streams.standing import HALF, Standing, main_metric
from streams.windows import WindowStatus

__all__ = ["ModelView", "model_screen"]

WINDOWS_SHOWN = 10
SMALLEST_BAR, WIDEST_BAR = 8, 60
NAMES_SHOWN = 5
INDENT = GAP = "  "


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """What the screen is about.

    `reports` are of windows of one size, newest first, `stability` and `signals` of the same size. `metric` is the one
    asked for, if any; `others` are further versions of the model.
    """

    reports: Sequence[WindowReport]
    standing: Standing[WindowReport]
    stability: Stability = NOT_KNOWN
    signals: Sequence[SignalsReport] = ()
    metric: str | None
    others: Sequence[str] = ()
    confidence_level: float
    now_ms: int

    @property
    def shown(self) -> Sequence[WindowReport]:
        """The windows that are drawn."""
        return self.reports[:WINDOWS_SHOWN]


def model_screen(view: ModelView, *, width: int, glyphs: Glyphs) -> list[Text]:
    """The screen, line by line, `width` cells wide; names are cut rather than wrapped."""
    judged = view.standing.judged
    parts: list[Iterable[Text]] = [
        _title(view, width),
        _windows(view, width, glyphs),
        stability_lines(view.stability, view.shown, level=_level(view)),
        signal_lines(view.signals, view.shown, width),
        [*_labels(judged, width), *_still_possible(judged, view.metric)],
        _classes(judged, width - len(INDENT)),
        _metrics(judged, width),
        [*_undefined(judged, width), *_left_out(judged, width)],
        _others(view.others, width),
    ]
    lines: list[Text] = []
    for part in parts:
        drawn = list(part)
        if drawn and lines:
            lines.append(Text(""))
        lines += drawn
    return lines


def _title(view: ModelView, width: int) -> Iterator[Text]:
    newest = view.standing.newest
    reported = f"reported {age(view.now_ms - parse_time_ms(newest.produced_at))}"
    name = printable(newest.model)
    if newest.model_version:
        # A long name must not hide the version.
        version = _cut(printable(newest.model_version), width // 3)
        ending = f", version {version}"
        name = _cut(name, width - cell_len(ending) - len(GAP) - len(reported)) + ending
    line = Text(fit(name, width - len(GAP) - len(reported)), style="bold")
    yield line.append(GAP).append(reported, style="not bold")


def _cut(text: str, cells: int) -> str:
    return fit(text, min(cell_len(text), cells))


def _windows(view: ModelView, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """A line for each window: figure, bar, how many labels."""
    name = main_metric(view.standing.judged, view.metric)
    if name is None:
        return
    size = duration_text(view.standing.newest.window.size_seconds * 1000)
    level = _level(view)
    # A window that lost all of its counts may have lost the metric too.
    metrics = [report.metrics.get(name) for report in view.shown]
    scale = scale_of(metric for metric in metrics if metric is not None)
    texts = [
        (
            window_time(report, with_year=False),
            STATES[WindowStatus(report.status)],
            figure(metric) if metric and metric.value is not None else reason(report, name),
            f"{metric.n if metric else 0:,}",
            share(report.coverage),
        )
        for report, metric in zip(view.shown, metrics, strict=True)
    ]
    heads = (f"{size} from", "State", f"Value [{level} interval]", "n", "Labelled")
    widths = [max(map(cell_len, column)) for column in zip(heads, *texts, strict=True)]
    cells = min(max(width - sum(widths) - len(GAP) * len(widths), SMALLEST_BAR), WIDEST_BAR)
    yield Text(f"{printable(name)}, newest windows first, UTC")
    ends = number(scale.low), number(scale.high)
    yield Text(_row(heads, widths, ends[0] + ends[1].rjust(cells - len(ends[0]))), style="bold")
    for row, metric in zip(texts, metrics, strict=True):
        bar = "" if metric is None else scale.bar(metric, cells, glyphs)
        line = Text(_row(row, widths, fit(bar, cells)).rstrip())
        at = widths[0] + len(GAP)
        line.stylize(STYLES[row[1]], at, at + len(row[1]))
        yield line
    yield Text(
        f"{glyphs.value} value  {glyphs.interval} {level} interval"
        f"  {glyphs.possible} what missing labels could still make of it",
        style="dim",
    )


def _level(view: ModelView) -> str:
    return f"{view.confidence_level * 100:.4g} %"


def _row(row: Sequence[str], widths: Sequence[int], bar: str) -> str:
    window, state, value, n, labelled = (
        fit(cell, cells, right=at > 2) for at, (cell, cells) in enumerate(zip(row, widths, strict=True))
    )
    return GAP.join((window, state, value, bar, n, labelled))


def _labels(report: WindowReport, width: int) -> Iterator[Text]:
    """What is known of the labels of the window that the version is judged by."""
    why = "the newest window with half of its labels" if (report.coverage or 0) >= HALF else "the newest with a label"
    why = why if report.labelled else "the newest window; no label yet"
    yield Text(f"{window_time(report)} UTC, {why}:", style="bold")
    due = report.predictions - report.labelled - report.never_labelled
    yield Text(
        f"{INDENT}{report.predictions:,} predictions: {report.labelled:,} labelled ({share(report.coverage)}),"
        f" {due:,} due, {report.never_labelled:,} never; {report.failed:,} more failed"
    )
    if isinstance(report.coverage_expected, CoverageExpected):
        expected = report.coverage_expected
        yield Text(f"{INDENT}past windows: {share(expected.now)} labelled at this age, {share(expected.final)} at last")
    if isinstance(report.label_delay_seconds, LabelDelay):
        delay = report.label_delay_seconds
        yield Text(
            f"{INDENT}label delay: half within {_seconds(delay.p50)}, 90 % within {_seconds(delay.p90)},"
            f" 99 % within {_seconds(delay.p99)}"
        )
    if isinstance(report.missing, tuple):
        for phrase in report.missing:
            yield from _wrapped(f"missing: {printable(phrase)}", width)


def _still_possible(report: WindowReport, asked: str | None) -> Iterator[Text]:
    """Where the main metric can end, in numbers, as long as labels are due."""
    name = main_metric(report, asked)
    metric = report.metrics.get(name or "")
    is_due = report.labelled + report.never_labelled < report.predictions
    if name is not None and metric is not None and isinstance(metric.possible, tuple) and is_due:
        low, high = metric.possible
        yield Text(f"{INDENT}{printable(name)} can still end anywhere from {number(low)} to {number(high)}")


def _seconds(seconds: float) -> str:
    """A duration by its two largest units, which is as exact as a quantile is.

    >>> _seconds(310.0), _seconds(0.25), _seconds(93_784.0), _seconds(-41.5)
    ('5m10s', '250ms', '1d2h', '-41s500ms')
    """
    if seconds < 0:
        return f"-{_seconds(-seconds)}"
    rest = round(seconds * 1000)
    for unit_ms, finer_ms in ((86_400_000, 3_600_000), (3_600_000, 60_000), (60_000, 1000)):
        if rest >= unit_ms:
            return duration_text(rest - rest % finer_ms)
    return duration_text(rest)


def _classes(report: WindowReport, width: int) -> Iterable[Text]:
    """What was taken for what or, where predictions are sets, how good each class is."""
    if report.confusion:
        return confusion_lines(report.confusion, width)
    return class_lines(report.per_class, width) if isinstance(report.per_class, dict) and report.per_class else []


def _metrics(report: WindowReport, width: int) -> Iterator[Text]:
    """All metrics that have a value, in two columns where they fit."""
    defined = [(printable(name), figure(metric)) for name, metric in report.metrics.items() if metric.value is not None]
    half = (len(defined) + 1) // 2
    columns = [column for column in (defined[:half], defined[half:]) if column]
    blocks = [_aligned(column) for column in columns]
    if sum(cell_len(block[0]) for block in blocks) + len(INDENT) + len(GAP) > width:
        blocks = [_aligned(defined)]
    if isinstance(report.at_k, int):
        yield Text(f"{INDENT}k = {report.at_k}: of each ranking, the first {report.at_k} items count")
    for at in range(len(blocks[0]) if blocks else 0):
        yield Text((INDENT + GAP.join(block[at] for block in blocks if at < len(block))).rstrip())


def _aligned(metrics: Sequence[tuple[str, str]]) -> list[str]:
    names, figures = (max(map(cell_len, column)) for column in zip(*metrics, strict=True))
    return [f"{fit(name, names)} {fit(shown, figures)}" for name, shown in metrics]


def _undefined(report: WindowReport, width: int) -> Iterator[Text]:
    names: dict[str, list[str]] = collections.defaultdict(list)
    for name, metric in report.metrics.items():
        if metric.value is None:
            names[reason(report, name)].append(printable(name))
    for why, metrics in names.items():
        yield from _wrapped(f"undefined, {printable(why)}: {', '.join(metrics)}", width)


def _left_out(report: WindowReport, width: int) -> Iterator[Text]:
    """Averages that have no term for some classes, by those classes."""
    names: dict[tuple[str, ...], list[str]] = collections.defaultdict(list)
    for name, metric in report.metrics.items():
        if isinstance(metric.classes_left_out, tuple):
            names[metric.classes_left_out].append(printable(name))
    for classes, metrics in names.items():
        shown = _some([_cut(printable(each), width // 3) for each in classes])
        yield from _wrapped(f"without {shown}: {', '.join(metrics)}", width)


def _others(versions: Sequence[str], width: int) -> Iterator[Text]:
    if versions:
        named = _some([_cut(printable(version), width // 3) or '""' for version in versions])
        yield from _wrapped(f"Other versions (--model-version): {named}", width, indent="")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _wrapped(text: str, width: int, *, indent: str = INDENT) -> Iterator[Text]:
    """Text on as many lines as it needs, cells counted; a word longer than a line is cut."""
    line = ""
    for word in (_cut(word, width - 2 * len(INDENT)) for word in text.split(" ")):
        if line and cell_len(line) + 1 + cell_len(word) > width:
            yield Text(line)
            line = indent + INDENT + word
        else:
            line = f"{line} {word}" if line else indent + word
    yield Text(line)
