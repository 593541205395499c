"""Samples of one target in windows: counted once, in any order, and bounded whatever comes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from schemas.resource_report import ResourceReport
from schemas.resource_sample import Gpu, Pressure, SentResourceSample
from schemas.times import format_time
from streams.monitored_model import HOUR_MS, MINUTE_MS, MonitoredModel
from streams.stability.resource_figures import RESOURCE_DEFINITIONS, RESOURCE_REASONS
from streams.stability.resource_reports import ReportSettings, due_reports, told_name
from streams.stability.resource_series import (
    MOST_IN_A_CELL,
    SAMPLE_FATES,
    SILENT_MS,
    ResourceSeries,
    SampleFate,
    SeriesSettings,
    WindowPlace,
)

NOON_MS = 1_795_435_200_000
FIVE_MS = 5 * MINUTE_MS
SETTINGS = SeriesSettings.of(MonitoredModel(name="fraud"), lateness_ms=10 * MINUTE_MS, block_ms=MINUTE_MS)
REPORTS = ReportSettings(topic="model-metrics", source="/latelabel/test", config_hash="", interval_ms=10_000)
GB = 1_000_000_000
GROWTH = {"suspected_leak", "memory_growth_bytes_per_hour", "seconds_to_memory_limit"}


def new_series(settings: SeriesSettings = SETTINGS) -> ResourceSeries:
    series = ResourceSeries(model="fraud", model_version="3", target="pod-1")
    series.adopt(settings)
    return series


def sample(**fields: Any) -> SentResourceSample:
    return SentResourceSample(target="pod-1", model="fraud", model_version="3", **fields)


def take(series: ResourceSeries, samples: Iterable[tuple[int, SentResourceSample]]) -> Counter[SampleFate]:
    return Counter(series.take(each, NOON_MS + second * 1000, SETTINGS) for second, each in samples)


def reports(series: ResourceSeries, *, now_ms: int = NOON_MS + HOUR_MS) -> dict[tuple[int, int], ResourceReport]:
    """By size and start in minutes."""
    found = {}
    for revision in due_reports(series, now_ms=now_ms, settings=REPORTS):
        place = revision.place
        report = msgspec.json.decode(revision.message.value or b"", type=ResourceReport)
        found[place.size_ms // MINUTE_MS, (place.start_ms - NOON_MS) // MINUTE_MS] = report
    return found


def values(report: ResourceReport) -> dict[str, float | None]:
    return {name: metric.value for name, metric in report.metrics.items()}


def test_samples_become_means_and_maxima_of_their_window() -> None:
    series = new_series()
    take(
        series,
        [
            (0, sample(cpu_cores=1.0, cpu_limit_cores=2.0, rss_bytes=100, memory_limit_bytes=400, open_fds=7)),
            (1, sample(cpu_cores=2.0, cpu_limit_cores=2.0, rss_bytes=300, memory_limit_bytes=400, open_fds=5)),
        ],
    )
    report = reports(series)[5, 0]
    expected = {"cpu_cores_mean": 1.5, "cpu_cores_max": 2.0, "cpu_limit_ratio": 0.75, "rss_bytes": 300}
    expected |= {"memory_limit_ratio": 0.75, "open_fds": 7, "restarts": 0, "oom_kills": 0}
    assert expected == {name: values(report)[name] for name in expected}
    assert (2, "open", {"target": "pod-1"}) == (report.samples, report.status, report.segment)
    assert (1.5, 1.5, 1.5, 2) == msgspec.structs.astuple(report.metrics["cpu_cores_mean"])[:4]


def test_what_no_sample_tells_is_undefined_with_a_reason_and_never_0() -> None:
    series = new_series()
    take(series, [(0, sample(cpu_cores=1.0, rss_bytes=100))])
    report = reports(series)[5, 0]
    assert set(RESOURCE_DEFINITIONS) == set(report.metrics)
    assert set(report.undefined) == {name for name, value in values(report).items() if value is None}
    assert set(report.undefined.values()) <= {str(reason) for reason in RESOURCE_REASONS}
    expected = {"memory_limit_ratio": "no_memory_limit", "cpu_limit_ratio": "no_cpu_limit", "threads": "not_sampled"}
    expected |= {"suspected_leak": "warming_up", "seconds_to_memory_limit": "warming_up"}
    assert expected == {name: report.undefined[name] for name in expected}


def test_every_measure_of_a_full_sample_is_reported() -> None:
    series = new_series()
    gpu = Gpu(memory_used_bytes=3, memory_limit_bytes=4, utilization_ratio=0.5, temperature_celsius=60.5, ecc_errors=2,
              cache_ratio=0.25)  # fmt: skip
    pressure = Pressure(cpu_ratio=0.1, memory_ratio=0.2, io_ratio=0.3)
    full = sample(
        cpu_cores=1.0, cpu_limit_cores=2.0, cpu_throttled_ratio=0.125, rss_bytes=1, working_set_bytes=2,
        memory_limit_bytes=4, open_fds=3, threads=4, gpu=gpu, pressure=pressure, queue_length=1.5,
    )  # fmt: skip
    take(series, [(0, full)])
    report = reports(series)[5, 0]
    assert GROWTH == set(report.undefined)
    expected = {
        "gpu_memory_ratio": 0.75, "gpu_utilization_ratio": 0.5, "gpu_temperature_celsius": 60.5, "gpu_ecc_errors": 2,
        "gpu_cache_ratio": 0.25, "cpu_pressure_ratio": 0.1, "memory_pressure_ratio": 0.2, "io_pressure_ratio": 0.3,
        "queue_length": 1.5, "memory_limit_ratio": 0.5, "cpu_throttled_ratio": 0.125,
    }  # fmt: skip
    assert expected == {name: values(report)[name] for name in expected}


def test_a_repeat_changes_nothing() -> None:
    series = new_series()
    samples = [(second, sample(cpu_cores=second / 10, rss_bytes=second)) for second in range(100)]
    take(series, samples)
    before = msgspec.msgpack.encode(series)
    assert {SampleFate.REPEATED: 100} == take(series, samples)
    assert before == msgspec.msgpack.encode(series)


def told(report: ResourceReport) -> tuple[object, ...]:
    """A report without what was known of growth at the time."""
    figures = {name: value for name, value in values(report).items() if name not in GROWTH}
    return report.window, report.samples, report.memory and report.memory.bytes, figures


@pytest.mark.parametrize("seed", range(5))
def test_any_order_within_the_lateness_gives_the_same_windows(seed: int) -> None:
    samples = [(second, sample(cpu_cores=second / 7, rss_bytes=second * 1000)) for second in range(0, 3600, 5)]
    shuffled = sorted(samples * 2, key=lambda each: each[0] + random.Random(seed * 7919 + each[0]).uniform(0, 500))
    in_order, out_of_order = new_series(), new_series()
    take(in_order, samples)
    assert {SampleFate.COUNTED: 720, SampleFate.REPEATED: 720} == take(out_of_order, shuffled)
    assert [told(report) for report in reports(in_order).values()] == [
        told(report) for report in reports(out_of_order).values()
    ]


def test_a_state_that_was_written_and_read_goes_on_as_before() -> None:
    samples = [(second, sample(cpu_cores=1.0, rss_bytes=GB + second)) for second in range(0, 3600, 10)]
    whole, resumed = new_series(), new_series()
    take(whole, samples)
    for at in range(0, len(samples), 50):
        take(resumed, samples[at : at + 50])
        resumed = msgspec.msgpack.decode(msgspec.msgpack.encode(resumed), type=ResourceSeries)
    assert msgspec.msgpack.encode(whole) == msgspec.msgpack.encode(resumed)


def test_a_sample_further_behind_than_the_lateness_is_late() -> None:
    series = new_series()
    assert {SampleFate.COUNTED: 1} == take(series, [(3600, sample())])
    fates = take(series, [(3600 - 600, sample()), (3600 - 601, sample()), (0, sample())])
    assert {SampleFate.COUNTED: 1, SampleFate.LATE: 2} == fates


def test_a_window_is_final_once_nothing_can_come_for_it() -> None:
    series = new_series()
    take(series, [(second, sample(cpu_cores=1.0)) for second in range(0, 901, 30)])
    statuses = {minutes: report.status for (size, minutes), report in reports(series).items() if size == 5}
    assert {0: "final", 5: "open", 10: "open", 15: "open"} == statuses


def test_reports_of_an_hour_add_up_those_of_its_five_minutes() -> None:
    series = new_series()
    finals: dict[int, int] = {}
    for second in range(0, 3 * 3600, 15):
        take(series, [(second, sample(cpu_cores=1.0))])
        for revision in list(due_reports(series, now_ms=NOON_MS + second * 1000, settings=REPORTS)):
            series.told[told_name(revision.place)] = revision.told
            if revision.place.is_final:
                report = msgspec.json.decode(revision.message.value or b"", type=ResourceReport)
                finals[revision.place.size_ms] = finals.get(revision.place.size_ms, 0) + report.samples
                series.forget(revision.place)
                del series.told[told_name(revision.place)]
    assert {FIVE_MS: 165 * 4, HOUR_MS: 120 * 4} == finals
    assert len(series.windows[FIVE_MS]) <= 1


def test_revisions_are_spaced_and_only_news_is_told() -> None:
    series = new_series()
    take(series, [(0, sample(cpu_cores=1.0))])
    now_ms = NOON_MS + 1000
    for revision in list(due_reports(series, now_ms=now_ms, settings=REPORTS)):
        series.told[told_name(revision.place)] = revision.told
    assert {} == reports(series, now_ms=now_ms + 60_000)
    take(series, [(2, sample(cpu_cores=3.0))])
    assert {} == reports(series, now_ms=now_ms + 9_000)
    assert {(5, 0), (60, 0)} == reports(series, now_ms=now_ms + 10_000).keys()


def test_a_silent_target_closes_by_wall_time() -> None:
    series = new_series()
    take(series, [(0, sample(cpu_cores=1.0))])
    series.close_if_silent(NOON_MS + SILENT_MS)
    assert [False, False] == [place.is_final for place in series.places()]
    series.close_if_silent(NOON_MS + SILENT_MS + 10 * MINUTE_MS)
    assert {FIVE_MS: True, HOUR_MS: False} == {place.size_ms: place.is_final for place in series.places()}
    series.close_if_silent(NOON_MS + SILENT_MS + HOUR_MS)
    assert [True, True] == [place.is_final for place in series.places()]


def test_another_start_time_is_a_restart_and_begins_the_leak_rule_anew() -> None:
    series = new_series()
    first, second = format_time(NOON_MS - 1000), format_time(NOON_MS + 60_000)
    take(series, [(at, sample(rss_bytes=GB + at * 100_000, process_start_time=first)) for at in range(0, 60, 10)])
    assert 0 == series.sums_of(WindowPlace(NOON_MS, FIVE_MS, is_final=False)).restarts
    take(series, [(at, sample(rss_bytes=GB, process_start_time=second)) for at in range(61, 120, 10)])
    assert 1 == series.sums_of(WindowPlace(NOON_MS, FIVE_MS, is_final=False)).restarts
    assert [GB] == list(series.memory.scales[0].minima.values())[:1]
    # One of the process before, that comes late.
    take(series, [(65, sample(rss_bytes=5, process_start_time=first))])
    assert 1 == series.sums_of(WindowPlace(NOON_MS, FIVE_MS, is_final=False)).restarts
    assert 5 not in series.memory.scales[0].minima.values()


def test_kills_are_counted_from_what_the_container_says_also_when_it_is_another() -> None:
    series = new_series()
    counters = [4, 4, 5, 7, 0, 1, 1]
    take(series, [(at, sample(oom_kills=count)) for at, count in enumerate(counters)])
    assert 1 + 2 + 1 == series.sums_of(WindowPlace(NOON_MS, FIVE_MS, is_final=False)).oom_kills


def test_a_leak_is_told_with_the_time_that_is_left() -> None:
    series = new_series()
    for minute in range(40):
        memory = GB + minute * 6_000_000
        take(series, [(minute * 60, sample(rss_bytes=memory, memory_limit_bytes=2 * GB))])
    report = reports(series)[60, 0]
    assert report.memory is not None
    assert ("suspected_leak", GB + 39 * 6_000_000, 2 * GB) == msgspec.structs.astuple(report.memory)
    left = report.metrics["seconds_to_memory_limit"]
    assert pytest.approx((GB - 39 * 6_000_000) / 100_000) == left.value
    assert left.low is not None
    assert left.high is not None
    assert left.low <= (left.value or 0) <= left.high
    assert 1.0 == report.metrics["suspected_leak"].value
    assert pytest.approx(360_000_000) == report.metrics["memory_growth_bytes_per_hour"].value


def test_memory_that_does_not_grow_never_fills() -> None:
    series = new_series()
    take(series, [(minute * 60, sample(rss_bytes=GB, memory_limit_bytes=2 * GB)) for minute in range(30)])
    report = reports(series)[60, 0]
    assert (0.0, "not_growing") == (
        report.metrics["suspected_leak"].value,
        report.undefined["seconds_to_memory_limit"],
    )


def test_a_flood_a_thousand_restarts_and_wild_clocks_do_not_grow_the_state() -> None:
    flooded = new_series()
    random.seed(7)
    fates = Counter(
        flooded.take(
            sample(rss_bytes=GB, process_start_time=format_time(NOON_MS + at), oom_kills=at),
            NOON_MS + at * 7 + random.choice([0, -3_600_000, 0, 0]),
            SETTINGS,
        )
        for at in range(20_000)
    )
    assert fates[SampleFate.CROWDED] > 10_000
    assert fates[SampleFate.LATE] > 4_000
    assert len(msgspec.msgpack.encode(flooded)) < 40_000
    restarting = new_series()
    take(restarting, [(at, sample(rss_bytes=GB, process_start_time=format_time(NOON_MS + at))) for at in range(1000)])
    assert len(msgspec.msgpack.encode(restarting)) < 10_000
    sums = [restarting.sums_of(place) for place in restarting.places() if place.size_ms == HOUR_MS]
    assert 999 == sum(each.restarts for each in sums)


def test_hours_of_samples_stay_small() -> None:
    series = new_series()
    for second in range(0, 6 * 3600, 10):
        take(series, [(second, sample(cpu_cores=0.5, rss_bytes=GB, working_set_bytes=GB, open_fds=9, threads=3))])
        if second % 600 == 0:
            for place in series.places():
                if place.is_final:
                    series.forget(place)
    assert len(msgspec.msgpack.encode(series)) < 10_000


def test_other_windows_and_blocks_in_the_configuration_hold_from_now_on() -> None:
    series = new_series()
    take(series, [(second, sample(cpu_cores=1.0, rss_bytes=GB)) for second in range(60)])
    model = MonitoredModel(name="fraud", report_windows_ms=(15 * MINUTE_MS, 30_000))
    changed = SeriesSettings.of(model, lateness_ms=0, block_ms=5000)
    assert 30_000 == changed.cell_ms
    series.adopt(changed)
    assert {15 * MINUTE_MS, 30_000} == series.windows.keys()
    assert 5000 == series.memory.block_ms
    assert SampleFate.LATE is series.take(sample(), NOON_MS + 59_500, changed)
    assert SampleFate.COUNTED is series.take(sample(), NOON_MS + 61_000, changed)


def test_every_fate_has_a_meaning() -> None:
    assert set(SampleFate) == set(SAMPLE_FATES)
    assert MOST_IN_A_CELL == 600
