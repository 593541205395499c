"""What past windows had: which ones, and what a window should have at its age."""

from __future__ import annotations

import doctest
import itertools
import random
from collections import Counter

import pytest

import streams.past_coverage
from schemas.window_report import CoverageExpected
from streams.evaluation import ReportWindow
from streams.ledger.eras import Era
from streams.monitored_model import HOUR_MS, MINUTE_MS, MonitoredModel
from streams.pair_sums.delay import delay_bucket
from streams.past_coverage import PAST_WINDOWS, PastCoverage, past_windows

MODEL = MonitoredModel(name="m", label_horizon_ms=HOUR_MS)
BASE_MS = MODEL.base_window_ms
ERAS = (Era.of(MODEL),)
WINDOW = ReportWindow(b"version!", HOUR_MS, 100 * HOUR_MS)


def test_examples_in_docstrings_run_as_written() -> None:
    assert 0 == doctest.testmod(streams.past_coverage).failed


def expected(past: PastCoverage, *, age_ms: int, window: ReportWindow = WINDOW) -> CoverageExpected | None:
    return past.expected(window, horizon_ms=HOUR_MS, read_up_to_ms=window.end_ms + age_ms)


def test_without_a_past_nothing_is_expected() -> None:
    assert expected(PastCoverage(), age_ms=0) is None


def test_past_without_labels_expects_none() -> None:
    assert CoverageExpected(0.0, 0.0) == expected(PastCoverage(10), age_ms=HOUR_MS)


@pytest.mark.parametrize("median_minutes", [1, 10, 40])
@pytest.mark.parametrize("age_minutes", [-59, -30, -1, 0, 1, 5, 30, 59])
def test_what_is_expected_is_what_even_traffic_of_such_labels_has(median_minutes: int, age_minutes: int) -> None:
    rng = random.Random(1)
    delays = [min(HOUR_MS, int(rng.lognormvariate(0, 1) * median_minutes * MINUTE_MS)) for _ in range(20_000)]
    read_up_to_ms = WINDOW.end_ms + age_minutes * MINUTE_MS
    made = range(WINDOW.start_ms, min(WINDOW.end_ms, read_up_to_ms))
    arrived = sum(rng.choice(made) + delay <= read_up_to_ms for delay in delays)

    found = expected(PastCoverage(25_000, Counter(map(delay_bucket, delays))), age_ms=age_minutes * MINUTE_MS)

    assert found is not None
    assert pytest.approx(arrived / 25_000, abs=0.01) == found.now
    assert 0.8 == found.final


def test_of_a_window_whose_labels_are_not_due_any_more_the_end_is_expected() -> None:
    past = PastCoverage(3, {delay_bucket(HOUR_MS): 2})
    assert CoverageExpected(0.667, 0.667) == expected(past, age_ms=HOUR_MS)


def test_past_adds_up() -> None:
    total = PastCoverage(2, {95: 1}) + PastCoverage(3, {95: 1, 103: 1})
    assert PastCoverage(5, Counter({95: 2, 103: 1})) == total


@pytest.mark.parametrize("after_ms", [0, 1, BASE_MS - 1])
def test_past_are_the_newest_windows_that_are_final(after_ms: int) -> None:
    watermark_ms = 100 * HOUR_MS + after_ms

    windows = list(past_windows(b"version!", MODEL, ERAS, watermark_ms=watermark_ms))

    assert PAST_WINDOWS == len(set(windows))
    assert 99 * HOUR_MS == windows[0].end_ms
    assert all(before.start_ms == after.end_ms for before, after in itertools.pairwise(windows))
    assert {"final"} == {each.status(watermark_ms, horizon_ms=HOUR_MS).value for each in windows}


@pytest.mark.parametrize("horizon_ms", [10 * MINUTE_MS, 3 * HOUR_MS])
def test_past_are_windows_that_are_final_by_the_horizons_of_their_time(horizon_ms: int) -> None:
    changed_ms, watermark_ms = 98 * HOUR_MS, 100 * HOUR_MS
    eras = (*ERAS, Era(label_horizon_ms=horizon_ms, from_ms=changed_ms))

    windows = list(past_windows(b"version!", MODEL, eras, watermark_ms=watermark_ms))

    assert PAST_WINDOWS == len(set(windows))
    finals = [
        start_ms
        for start_ms in range(0, watermark_ms, BASE_MS)
        if start_ms + BASE_MS + (HOUR_MS if start_ms < changed_ms else horizon_ms) <= watermark_ms
    ]
    assert finals[: -PAST_WINDOWS - 1 : -1] == [each.start_ms for each in windows]


def test_labels_that_took_longer_than_a_window_waits_are_not_expected_of_it() -> None:
    past = PastCoverage(4, {delay_bucket(HOUR_MS): 1, delay_bucket(2 * HOUR_MS): 2})
    assert CoverageExpected(0.25, 0.25) == expected(past, age_ms=HOUR_MS)


def test_at_the_beginning_there_is_no_past() -> None:
    assert [] == list(past_windows(b"version!", MODEL, ERAS, watermark_ms=0))
