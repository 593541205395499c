"""What the model of the demo told of its own state, in words for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from agents.show.drawing import number, share
from schemas.signals_report import ComparedWith, SignalsReport
from schemas.window_report import Metric
from streams.signals.definitions import PSI, UNDEFINED_SHARE, metric_of

__all__ = ["signals_now", "signals_since"]


def signals_now(report: SignalsReport) -> str:
    """The medians of one day, on one line."""
    told = ", ".join(f"{name} {_number(_of(report, name, 'p50'))}" for name in report.values)
    return f"signals of {report.window.start[:10]}, medians: {told}"


def signals_since(days: Mapping[str, SignalsReport]) -> Iterator[str]:
    """How each signal went over days, one line each.

    Args:
        days: the last report of each day, by its start.
    """
    reports = [days[start] for start in sorted(days)]
    if not reports:
        return
    width = max(map(len, reports[-1].values), default=0)
    for name in reports[-1].values:
        first, last = (share(_of(each, name, UNDEFINED_SHARE).value) for each in (reports[0], reports[-1]))
        undefined = f"undefined for {first} of the flights on the first day, {last} on the last"
        yield f"  {name:<{width}}  {_moved(name, reports)}; {undefined}"


def _moved(name: str, reports: Sequence[SignalsReport]) -> str:
    """The medians, and how far the distribution was from its reference at most."""
    median = _number(_of(reports[-1], name, "p50"))
    compared = [(each, each.reference) for each in reports if isinstance(each.reference, ComparedWith)]
    known = [(each, level) for each, level in compared if name in level.quartiles]
    if not known:
        return f"median {median}"
    furthest, _ = max(known, key=lambda each: _of(each[0], name, PSI).value or 0.0)
    beyond = sum(name in level.moved for _, level in known)
    return (
        f"median {median}, in its reference {number(known[-1][1].quartiles[name][1])}; PSI at most"
        f" {_number(_of(furthest, name, PSI))} ({furthest.window.start[:10]}), moved beyond doubt on {beyond} of"
        f" {len(known)} days"
    )


def _of(report: SignalsReport, name: str, figure: str) -> Metric:
    return report.metrics[metric_of(name, figure)]


def _number(metric: Metric) -> str:
    return "-" if metric.value is None else number(metric.value)
