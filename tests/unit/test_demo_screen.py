"""What the demo shows of a day: its revisions, its ranges, and whether these held what came."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from agents.demo.screen import LinesScreen, LiveScreen
from agents.demo.standing import EarlyFigures, Standing
from schemas.times import parse_time_ms
from schemas.window_report import WindowReport
from streams.monitored_model import DAY_MS, MonitoredModel, Task
from streams.reports import ReportKey, SliceCounts, window_report

MODEL = MonitoredModel(
    name="flight-delay", task=Task.BINARY, positive_class="late", report_windows_ms=(DAY_MS,), base_window_ms=DAY_MS
)


def report(
    *, revision: int, right: int, wrong: int, unlabelled: int, days_later: float, segment: str = ""
) -> WindowReport:
    """Return a report on 1 July 2013, seen when event time is `days_later` after its start."""
    start_ms = parse_time_ms("2013-07-01T00:00:00Z")
    cells = {("late", "late"): right, ("on_time", "late"): wrong, (None, "late"): unlabelled}
    content = window_report(
        ReportKey(
            model="flight-delay",
            model_version="1",
            segment={"carrier": segment} if segment else {},
            window_start_ms=start_ms,
            window_size_ms=DAY_MS,
        ),
        SliceCounts({cell: count for cell, count in cells.items() if count}),
        MODEL,
        watermark_ms=start_ms + int(days_later * DAY_MS),
        confidence_level=0.95,
        config_hash="",
    )
    return WindowReport(**{name: getattr(content, name) for name in content.__struct_fields__} | {"revision": revision})


OPEN = report(revision=1, right=30, wrong=10, unlabelled=20, days_later=0.5)
ENDED = report(revision=2, right=60, wrong=20, unlabelled=20, days_later=1.5)
FINAL = report(revision=3, right=70, wrong=25, unlabelled=5, days_later=3.5)


def standing_after(*reports: WindowReport) -> Standing:
    """Return what is known after these reports, in this order."""
    standing = Standing()
    for one in reports:
        standing.add(repr(one.segment).encode(), str(one.revision).encode(), one)
    return standing


def test_highest_revision_stands_whatever_comes_after_it() -> None:
    standing = standing_after(OPEN, FINAL, ENDED)
    assert [b"3"] == standing.last_values
    assert 1 == standing.final_days


def test_segments_stand_beside_the_day_and_are_no_days() -> None:
    united = report(revision=4, right=1, wrong=0, unlabelled=0, days_later=3.5, segment="UA")
    standing = standing_after(FINAL, united)
    assert [b"3", b"4"] == standing.last_values
    assert [[FINAL]] == list(standing.days.values())


def test_early_figures_are_those_of_days_that_were_over_but_not_final() -> None:
    assert EarlyFigures(reports=1, possible=1, interval=1) == standing_after(OPEN, ENDED, FINAL).early_figures()


def test_final_figure_outside_the_early_ranges_is_not_held() -> None:
    surprise = report(revision=3, right=5, wrong=95, unlabelled=0, days_later=3.5)
    assert EarlyFigures(reports=1, possible=0, interval=0) == standing_after(ENDED, surprise).early_figures()


def test_days_without_a_final_report_judge_no_early_figure() -> None:
    assert EarlyFigures(reports=0, possible=0, interval=0) == standing_after(OPEN, ENDED).early_figures()


def test_lines_count_the_revisions_of_a_followed_day(capsys: pytest.CaptureFixture[str]) -> None:
    screen = LinesScreen()
    for one in (OPEN, ENDED, FINAL):
        screen.revised(one)
    lines = capsys.readouterr().out.splitlines()
    assert ["open", "provisional", "final"] == [line.split()[1] for line in lines]
    assert ["1:", "2:", "3:"] == [line.split()[3] for line in lines]
    assert ["66.7%", "80.0%", "95.0%"] == [line.split()[6] for line in lines]
    assert "possible 0.600 to 0.800" in lines[1]
    assert "possible" not in lines[2]


def test_table_shows_the_last_revision_of_each_day() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True, no_color=True)
    screen = LiveScreen(console, standing_after(OPEN, ENDED), days=307)
    with screen.live():
        pass
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "2013-07-01" in shown
    assert "provisional" in shown
    assert "0 of 307 days final" in shown
