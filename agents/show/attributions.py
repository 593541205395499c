"""What decided a model version's answers, under the figures of its quality: where it was wrong, and in general."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from agents.durations import duration_text
from agents.show.drawing import STATES, figure, window_time
from agents.show.reading import KeptReport, attribution_reports
from agents.terminal_text import cell_len, fit, printable
from schemas.attribution_report import AttributionReport, FeatureAttribution, FeatureShare, Interval
from streams.explanation.attribution_definitions import ATTRIBUTION_REASONS, ERROR_DIFFERENCE
from streams.ports import ReportStore
from streams.windows import WindowStatus

__all__ = ["attribution_lines", "attribution_window"]

FEATURES_SHOWN = 8
WINDOWS_READ = 12
GAP = "  "
FEATURE_CHARACTERS = 30
_HEADS = ("feature", "where wrong", "size", "in general", "size", "wrong less general")
_NAMES = {
    "attribution_error_difference": "wrong predictions are decided differently",
    "attribution_drift": "differently than before",
    "attribution_rank_correlation": "order of features as before",
}


async def attribution_window(
    store: ReportStore, model_version: bytes, *, size_seconds: int
) -> KeptReport[AttributionReport] | None:
    """The newest report that compares wrong predictions with all, else the newest one; None if there is none."""
    kept = await attribution_reports(store, model_version, most=WINDOWS_READ, size_seconds=size_seconds)
    compared = (each for each in kept if each.report.metrics[ERROR_DIFFERENCE].value is not None)
    return next(compared, kept[0] if kept else None)


def attribution_lines(report: AttributionReport, width: int) -> Iterator[Text]:
    """A table of the features that decided most, and how far that differs."""
    size = duration_text(report.window.size_seconds * 1000)
    wrong, base = report.wrong.explained, report.base.explained
    state = STATES[WindowStatus(report.status)]
    title = f"what decided, {size} from {window_time(report)} UTC, {state}: {wrong:,} wrong, {base:,} in general"
    yield Text(fit(title, width).rstrip())
    rows = [_row(each) for each in report.features[:FEATURES_SHOWN]]
    widths = [max(map(cell_len, column)) for column in zip(_HEADS, *rows, strict=True)]
    yield Text(_line(_HEADS, widths), style="bold")
    for row, each in zip(rows, report.features, strict=False):
        is_apart = each.difference is not None and _is_apart(each.difference.mean)
        yield Text(_line(row, widths), style="yellow" if is_apart else "")
    left_out = len(report.features) - len(rows) + report.features_left_out
    if left_out:
        yield Text(f"{left_out:,} more features")
    for name, metric in report.metrics.items():
        told = figure(metric)
        if metric.value is None:
            told = f"- ({_why(report.undefined.get(name, ''))})"
        yield Text(fit(f"{_NAMES.get(name, name)}: {told}", width).rstrip())


def _row(each: FeatureAttribution) -> tuple[str, ...]:
    difference = "-" if each.difference is None else _interval(each.difference.mean)
    return (
        fit(printable(each.feature), FEATURE_CHARACTERS).rstrip(),
        *_share(each.wrong),
        *_share(each.base),
        difference,
    )


def _share(share: FeatureShare | None) -> tuple[str, str]:
    return ("-", "-") if share is None else (f"{share.mean:+.3f}", f"{share.mean_absolute:.3f}")


def _interval(each: Interval) -> str:
    return f"{each.value:+.3f}" + ("" if each.low is None else f" [{each.low:+.3f}, {each.high:+.3f}]")


def _is_apart(each: Interval) -> bool:
    return each.low is not None and each.high is not None and (each.low > 0 or each.high < 0)


def _why(reason: str) -> str:
    meaning = ATTRIBUTION_REASONS.get(reason, reason)  # type: ignore[call-overload]
    return str(meaning).rstrip(".").lower()


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, the first and the last cell to the left."""
    last = len(cells) - 1
    placed = (
        fit(cell, cell_width, right=0 < at < last)
        for at, (cell, cell_width) in enumerate(zip(cells, widths, strict=True))
    )
    return GAP.join(placed).rstrip()
