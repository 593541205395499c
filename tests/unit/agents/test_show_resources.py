"""What `latelabel show MODEL` draws of resources, to the character."""

from __future__ import annotations

import msgspec
import pytest
from rich.text import Text

from agents.show.resources import ResourceWindows, resource_lines, resource_screen, resource_windows, watched_alone
from agents.terminal_text import cell_len
from schemas.resource_report import ResourceReport
from schemas.resource_sample import SentResourceSample
from schemas.times import format_time
from streams.errors import PermanentFailure
from streams.identity import model_version_hash, model_version_name
from streams.monitored_model import MINUTE_MS, MonitoredModel
from streams.ports import LastReport
from streams.stability.resource_reports import ReportSettings, due_reports
from streams.stability.resource_series import ResourceSeries, SeriesSettings
from tests.support.publishing import FakeReports

NOON_MS = 1_795_435_200_000
NOW_MS = NOON_MS + 45 * MINUTE_MS
GB = 1_000_000_000
VERSION = model_version_hash("fraud", "3")
SETTINGS = SeriesSettings.of(MonitoredModel(name="fraud"), lateness_ms=MINUTE_MS, block_ms=MINUTE_MS)
REPORTS = ReportSettings(topic="model-metrics", source="/latelabel/test", config_hash="", interval_ms=0)


def kept(*, grows_bytes: int, target: str = "pod-1", minutes: int = 40) -> list[LastReport]:
    series = ResourceSeries(model="fraud", model_version="3", target=target)
    series.adopt(SETTINGS)
    for minute in range(minutes):
        start = NOON_MS if minute < 12 else NOON_MS + 12 * MINUTE_MS
        sample = SentResourceSample(
            target=target, model="fraud", model_version="3", cpu_cores=0.5 + minute / 100, cpu_throttled_ratio=0.03,
            rss_bytes=GB + minute * grows_bytes, memory_limit_bytes=2 * GB, oom_kills=int(minute >= 12),
            process_start_time=format_time(start),
        )  # fmt: skip
        series.take(sample, NOON_MS + minute * MINUTE_MS, SETTINGS)
    return [revision.kept for revision in due_reports(series, now_ms=NOW_MS, settings=REPORTS)]


async def store(*reports: LastReport) -> FakeReports:
    fake = FakeReports()
    await fake.claim([VERSION], evaluator=b"e", watermark_ms=0)
    name = model_version_name("fraud", "3")
    await fake.save(VERSION, name, reports, evaluator=b"e", watermark_ms=0)
    return fake


def plain(lines: list[Text]) -> str:
    return "\n".join(line.plain for line in lines) + "\n"


SCREEN = """\
fraud, version 3                                               reported just now
No report on its quality: no prediction of it has been counted.

resources of pod-1, newest windows first, UTC
5m from      Cores   max   Memory  Limit  Throttle  Starts  Kills  Memory is
11-23 12:35   0.87  0.89  1.23 GB  61.7%      3.0%       0      0  leak?
11-23 12:30   0.82  0.84   1.2 GB  60.2%      3.0%       0      0  leak?
11-23 12:25   0.77  0.79  1.17 GB  58.7%      3.0%       0      0  warming up
"""


async def test_a_leak_is_one_screen_with_the_time_that_is_left() -> None:
    windows = await resource_windows(await store(*kept(grows_bytes=6_000_000)), VERSION, size_seconds=None)
    shown = plain(resource_screen(windows, now_ms=NOW_MS, width=80))
    assert shown.startswith(SCREEN)
    assert "11-23 12:10   0.62  0.64  1.08 GB  54.2%      3.0%       1      1  warming up\n" in shown
    assert "  suspected leak: 360 MB an hour, full in 2h7m40s [2h7m40s, 2h7m40s]\n" in shown
    assert all(cell_len(line) <= 80 for line in shown.splitlines())


async def test_windows_of_the_quality_reports_are_shown_alone() -> None:
    fake = await store(*kept(grows_bytes=0))
    starts = [format_time(NOON_MS + 5 * MINUTE_MS)]
    windows = await resource_windows(fake, VERSION, size_seconds=300, starts=starts)
    assert starts == [report.window.start for report in windows.by_target["pod-1"]]
    hours = await resource_windows(fake, VERSION, size_seconds=3600)
    assert [3600] == [report.window.size_seconds for report in hours.by_target["pod-1"]]


async def test_no_more_than_five_targets_are_drawn() -> None:
    reports = [each for number in range(7) for each in kept(grows_bytes=0, target=f"pod-{number}", minutes=2)]
    windows = await resource_windows(await store(*reports), VERSION, size_seconds=300)
    shown = plain(list(resource_lines(windows, 80)))
    assert (5, True) == (shown.count("resources of"), shown.endswith("2 more targets\n"))


async def test_what_is_not_known_is_a_dash() -> None:
    series = ResourceSeries(model="fraud", model_version="3", target="pod-1")
    series.adopt(SETTINGS)
    series.take(SentResourceSample(target="pod-1", model="fraud"), NOON_MS, SETTINGS)
    reports = [revision.kept for revision in due_reports(series, now_ms=NOW_MS, settings=REPORTS)]
    windows = await resource_windows(await store(*reports), VERSION, size_seconds=300)
    assert "11-23 12:00      -    -       -      -         -       0      0  -" in plain(
        list(resource_lines(windows, 80))
    )


async def test_without_any_there_is_nothing() -> None:
    assert ResourceWindows({}, []) == await resource_windows(await store(), VERSION, size_seconds=None)


async def test_a_model_without_predictions_is_in_the_fleet_by_a_line() -> None:
    lines = await watched_alone(await store(*kept(grows_bytes=0, minutes=1)), {VERSION: ("fraud", "3")})
    assert "fraud, version 3: watched by a probe, no prediction counted yet\n" == plain(lines)
    assert [] == await watched_alone(await store(), {VERSION: ("fraud", "3")})


async def test_a_report_of_another_program_is_named() -> None:
    (report,) = [each for each in kept(grows_bytes=0, minutes=1) if b",300," in each.key]
    broken = msgspec.structs.replace(msgspec.json.decode(report.value, type=ResourceReport))
    value = msgspec.json.encode(broken).replace(b'"samples":1', b'"samples":"one"')
    fake = await store(LastReport(key=report.key, value=value, revision=1, published_ms=0, watermark_ms=0, due_ms=0))
    with pytest.raises(PermanentFailure, match="another version of Latelabel wrote it"):
        await resource_windows(fake, VERSION, size_seconds=300)
