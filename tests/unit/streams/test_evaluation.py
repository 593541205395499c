from __future__ import annotations

import collections
import dataclasses
import itertools
import random

import pytest

from streams.evaluation import (
    Publication,
    ReportWindow,
    may_revise,
    next_round_ms,
    slice_counts,
    touched_windows,
    window_of_key,
)
from streams.identity import ABSENT, EVERYTHING, FAILED, SUM, class_hash
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel
from streams.ports import WindowCells
from streams.publication import Subject
from streams.reports import SliceCounts
from streams.window_sums import WindowSums

NOON_MS = 1_795_435_200_000
MODEL = MonitoredModel(
    name="fraud",
    report_windows_ms=(5 * MINUTE_MS, HOUR_MS, DAY_MS),
    label_horizon_ms=DAY_MS,
    segments=("country", "device"),
    cross=(("country", "device"),),
)
VERSION = b"version."
WINDOW = ReportWindow(VERSION, 5 * MINUTE_MS, NOON_MS)
BASE_MS = MODEL.base_window_ms
OK, FRAUD = class_hash("ok"), class_hash("fraud")
NAMES = {OK: "ok", FRAUD: "fraud"}


def test_changed_base_window_touches_one_window_of_each_size() -> None:
    touched = [(window.size_ms, window.start_ms) for window in touched_windows(VERSION, NOON_MS + BASE_MS, MODEL)]
    assert [(5 * MINUTE_MS, NOON_MS + BASE_MS), (HOUR_MS, NOON_MS), (DAY_MS, NOON_MS - 12 * HOUR_MS)] == touched


def test_key_of_a_report_names_its_window() -> None:
    key = Subject('["fraud","3"]', MODEL, "3", ()).key(WINDOW, {"country": 'D,"E'}).encode()
    assert WINDOW == window_of_key(VERSION, key)


@pytest.mark.parametrize(
    ("watermark_ms", "due_ms"),
    [
        (0, WINDOW.end_ms),
        (WINDOW.end_ms, WINDOW.end_ms + DAY_MS),
        (WINDOW.end_ms + DAY_MS, WINDOW.end_ms + DAY_MS + 30 * DAY_MS + 1),
    ],
    ids=["open", "provisional", "final"],
)
def test_window_is_due_when_its_status_changes_and_at_last_when_it_is_forgotten(watermark_ms: int, due_ms: int) -> None:
    assert due_ms == WINDOW.due_ms(watermark_ms=watermark_ms, horizon_ms=DAY_MS, keep_windows_ms=30 * DAY_MS)


def allowed(*, since_end_ms: int, last_ago_ms: int, watermark_ms: int, moved_ms: int = 0) -> bool:
    now_ms = WINDOW.end_ms + since_end_ms
    last = Publication(now_ms - last_ago_ms, watermark_ms - moved_ms)
    return may_revise(WINDOW, last, now_ms=now_ms, watermark_ms=watermark_ms, horizon_ms=DAY_MS, interval_ms=10_000)


def test_window_that_was_never_published_may_be_published_at_once() -> None:
    assert may_revise(WINDOW, None, now_ms=0, watermark_ms=0, horizon_ms=DAY_MS, interval_ms=10_000)


@pytest.mark.parametrize(("last_ago_ms", "expected"), [(9_999, False), (10_000, True)])
def test_young_window_is_revised_at_most_every_interval(last_ago_ms: int, expected: bool) -> None:
    assert expected == allowed(since_end_ms=MINUTE_MS, last_ago_ms=last_ago_ms, watermark_ms=WINDOW.end_ms)


@pytest.mark.parametrize(("last_ago_ms", "expected"), [(HOUR_MS // 10 - 1, False), (HOUR_MS // 10, True)])
def test_old_window_is_revised_at_most_every_hundredth_of_its_age(last_ago_ms: int, expected: bool) -> None:
    watermark_ms = WINDOW.end_ms + 10 * HOUR_MS
    assert expected == allowed(since_end_ms=10 * HOUR_MS, last_ago_ms=last_ago_ms, watermark_ms=watermark_ms)


@pytest.mark.parametrize(("moved_ms", "expected"), [(9_999, False), (10_000, True)])
def test_replay_of_old_data_is_spaced_by_its_event_time(moved_ms: int, expected: bool) -> None:
    ten_years_ms = 3650 * DAY_MS
    assert expected == allowed(
        since_end_ms=ten_years_ms, last_ago_ms=1, watermark_ms=WINDOW.end_ms + MINUTE_MS, moved_ms=moved_ms
    )


@pytest.mark.parametrize("boundary_ms", [WINDOW.end_ms, WINDOW.end_ms + DAY_MS], ids=["provisional", "final"])
def test_change_of_status_is_never_held_back(boundary_ms: int) -> None:
    assert allowed(since_end_ms=DAY_MS, last_ago_ms=0, watermark_ms=boundary_ms, moved_ms=1)
    assert not allowed(since_end_ms=DAY_MS, last_ago_ms=0, watermark_ms=boundary_ms, moved_ms=0)


def test_clock_that_was_set_back_does_not_hold_a_window() -> None:
    assert allowed(since_end_ms=0, last_ago_ms=-HOUR_MS, watermark_ms=WINDOW.end_ms)


@pytest.mark.parametrize(("took_ms", "expected_ms"), [(0, 1000), (400, 600), (500, 500), (3000, 500)])
def test_rounds_begin_an_interval_apart_and_leave_half_of_one_for_counting(took_ms: int, expected_ms: int) -> None:
    assert expected_ms == next_round_ms(1000, took_ms=took_ms)


def test_counts_get_their_names_and_failed_ones_stand_apart() -> None:
    counts = slice_counts({(ABSENT, OK): 3, (FRAUD, OK): 1, (FAILED, ABSENT): 2}, NAMES)
    assert SliceCounts({(None, "ok"): 3, ("fraud", "ok"): 1}, failed=2) == counts


def test_sums_of_classes_have_their_names() -> None:
    cells = {(SUM, f"F={OK.hex()}".encode()): 4, (SUM, b"FF"): 9, (SUM, b"d95"): 2}
    assert SliceCounts({}, sums={"F=ok": 4, "FF": 9}, delays={95: 2}) == slice_counts(cells, NAMES)
    with pytest.raises(KeyError):
        slice_counts({(SUM, b"M=00000000000000ff"): 1}, NAMES)


def test_class_without_a_name_is_an_error_that_tells_its_hash() -> None:
    with pytest.raises(KeyError) as error:
        slice_counts({(ABSENT, b"unknown!"): 1}, NAMES)
    assert (b"unknown!",) == error.value.args


def test_reports_a_minute_grow_with_the_logarithm_of_how_long_labels_take() -> None:
    """A model with hourly windows, every one of which gets labels every minute for seven days."""
    horizon_ms, reports = 7 * DAY_MS, 0
    published: dict[ReportWindow, Publication] = {}
    measured_ms = range(NOON_MS + horizon_ms, NOON_MS + horizon_ms + 6 * HOUR_MS, MINUTE_MS)
    for now_ms in range(NOON_MS, measured_ms.stop, MINUTE_MS):
        newest_ms = now_ms - now_ms % HOUR_MS
        for start_ms in range(max(NOON_MS, newest_ms - horizon_ms), newest_ms + 1, HOUR_MS):
            window = ReportWindow(VERSION, HOUR_MS, start_ms)
            if may_revise(
                window,
                published.get(window),
                now_ms=now_ms,
                watermark_ms=now_ms,
                horizon_ms=horizon_ms,
                interval_ms=10_000,
            ):
                published[window] = Publication(now_ms, now_ms)
                reports += now_ms in measured_ms
    # An age of a hours allows for one in max(1, 0.6 a) minutes.
    bound = sum(1 / max(1, 0.6 * hours) for hours in range(horizon_ms // HOUR_MS + 1)) + 1
    assert reports / len(measured_ms) <= bound < 12


def base(minutes: int) -> ReportWindow:
    return ReportWindow(VERSION, BASE_MS, NOON_MS + minutes * MINUTE_MS)


HOUR = ReportWindow(VERSION, HOUR_MS, NOON_MS)
NEXT_HOUR = ReportWindow(VERSION, HOUR_MS, NOON_MS + HOUR_MS)
DAY = ReportWindow(VERSION, DAY_MS, NOON_MS - 12 * HOUR_MS)


def filled(sums: WindowSums, window: ReportWindow, count: int = 1) -> WindowSums:
    for missing in list(sums.missing(window, MODEL)):
        sums.put(missing, [{(EVERYTHING, ABSENT, OK): count}, {(EVERYTHING, ABSENT, OK): count}])
    return sums


def test_sum_of_a_window_is_that_of_its_base_windows_over_all_shards() -> None:
    sums = filled(WindowSums(limit_cells=10_000), DAY)
    assert {EVERYTHING: {(ABSENT, OK): 2 * 288}} == sums.sum_of(DAY, MODEL)
    assert {EVERYTHING: {(ABSENT, OK): 2 * 12}} == sums.sum_of(HOUR, MODEL)


def test_only_what_changed_is_read_again_and_every_sum_around_it_follows() -> None:
    sums = filled(WindowSums(limit_cells=10_000), DAY)
    sums.sum_of(DAY, MODEL)
    sums.drop_changed(base(5), stamp="changed")
    assert [base(5)] == list(sums.missing(DAY, MODEL))
    filled(sums, DAY, count=10)
    assert {EVERYTHING: {(ABSENT, OK): 2 * 287 + 20}} == sums.sum_of(DAY, MODEL)


def test_window_that_was_read_with_the_same_stamp_is_not_read_again() -> None:
    sums = WindowSums(limit_cells=10_000)
    sums.put(base(0), [{}], stamp="mark 1")
    sums.drop_changed(base(0), stamp="mark 1")
    assert [] == list(sums.missing(base(0), MODEL))
    sums.drop_changed(base(0), stamp="mark 2")
    assert [base(0)] == list(sums.missing(base(0), MODEL))


def test_outer_sum_is_dropped_though_the_changed_base_window_itself_was_trimmed() -> None:
    sums = filled(WindowSums(limit_cells=3), HOUR)
    sums.sum_of(HOUR, MODEL)
    sums.trim()
    assert [] == list(sums.missing(HOUR, MODEL))
    sums.drop_changed(base(5), stamp="changed")
    assert 12 == len(list(sums.missing(HOUR, MODEL)))


def test_sums_cannot_be_had_before_what_changed_was_read_again() -> None:
    sums = filled(WindowSums(limit_cells=10_000), DAY)
    sums.sum_of(DAY, MODEL)
    sums.drop_changed(base(5), stamp="changed")
    for window in (base(5), HOUR, DAY):
        with pytest.raises(KeyError):
            sums.sum_of(window, MODEL)
    assert {EVERYTHING: {(ABSENT, OK): 2}} == sums.sum_of(base(0), MODEL)


@pytest.mark.parametrize("limit_cells", [3, 40, 10_000])
@pytest.mark.parametrize("seed", range(10))
def test_sums_equal_those_made_anew_after_any_changes_and_whatever_was_trimmed(seed: int, limit_cells: int) -> None:
    rng = random.Random(seed)
    sums, counted = WindowSums(limit_cells=limit_cells), dict[ReportWindow, WindowCells]()
    for stamp in range(60):
        for _ in range(rng.randrange(4)):
            changed = base(5 * rng.randrange(30))
            counted[changed] = {
                (piece, label, OK): rng.choice((-1, 1, 2))
                for piece in (EVERYTHING, b"DE......")
                for label in (ABSENT, OK)
                if rng.random() < 0.5
            }
            sums.drop_changed(changed, stamp=stamp)
        window = rng.choice((base(5 * rng.randrange(30)), HOUR, DAY))
        for missing in list(sums.missing(window, MODEL)):
            sums.put(missing, [counted.get(missing, {})], stamp=stamp)
        fresh = WindowSums(limit_cells=10_000)
        for missing in list(fresh.missing(window, MODEL)):
            fresh.put(missing, [counted.get(missing, {})])
        assert fresh.sum_of(window, MODEL) == sums.sum_of(window, MODEL)
        if rng.random() < 0.5:
            sums.trim()


@pytest.mark.parametrize("limit_cells", [3, 40, 10_000])
@pytest.mark.parametrize("seed", range(10))
def test_base_windows_read_together_make_the_same_sums_as_one_by_one(seed: int, limit_cells: int) -> None:
    rng = random.Random(seed)
    sums, counted = WindowSums(limit_cells=limit_cells), dict[ReportWindow, WindowCells]()
    stamps: dict[ReportWindow, int] = {}
    for stamp in range(60):
        for _ in range(rng.choice((0, 1, 3, 30))):
            changed = base(5 * rng.randrange(30))
            counted[changed] = {(EVERYTHING, ABSENT, OK): rng.choice((-1, 1, 2))}
            stamps[changed] = stamp
        for changed, marked in stamps.items():
            sums.drop_changed(changed, stamp=marked)
        windows = rng.sample([base(5 * number) for number in range(30)] + [HOUR, NEXT_HOUR, DAY], rng.randrange(1, 5))
        for window, bases in sums.plan(dict.fromkeys(windows, MODEL), stamps).items():
            total = sum(counted.get(each, {}).get((EVERYTHING, ABSENT, OK), 0) for each in bases)
            cells = {(EVERYTHING, ABSENT, OK): total} if total else {}
            if window in bases:
                sums.put(window, [cells], stamp=stamps.get(window))
            else:
                sums.put_together(window, MODEL, bases, cells, stamps)
        for window in windows:
            fresh = WindowSums(limit_cells=10_000)
            for missing in list(fresh.missing(window, MODEL)):
                fresh.put(missing, [counted.get(missing, {})])
            assert fresh.sum_of(window, MODEL) == sums.sum_of(window, MODEL)
        for changed in [each for each in stamps if rng.random() < 0.3]:
            del stamps[changed]
        if rng.random() < 0.5:
            sums.trim()


def test_only_what_changes_is_read_alone_and_a_backlog_is_read_together() -> None:
    sums = WindowSums(limit_cells=10_000)
    one, most = {base(5): "changed"}, {base(5 * number): "changed" for number in range(12)}
    assert {base(5): [base(5)], HOUR: [base(5 * number) for number in range(12) if number != 1]} == sums.plan(
        {HOUR: MODEL}, one
    )
    assert {base(55): [base(55)], HOUR: [base(5 * number) for number in range(11)]} == sums.plan({HOUR: MODEL}, most)


def test_what_was_read_together_is_not_read_again_while_its_stamps_stay() -> None:
    sums, stamps = WindowSums(limit_cells=10_000), {base(5 * number): "changed" for number in range(12)}
    for window, bases in sums.plan({HOUR: MODEL}, stamps).items():
        if window == HOUR:
            sums.put_together(window, MODEL, bases, {}, stamps)
        else:
            sums.put(window, [{}], stamp=stamps[window])
    for changed, stamp in stamps.items():
        sums.drop_changed(changed, stamp=stamp)
    assert {} == sums.plan({HOUR: MODEL}, stamps)
    sums.drop_changed(base(5), stamp="changed again")
    assert [base(5 * number) for number in range(11)] == sums.plan({HOUR: MODEL}, stamps)[HOUR]


def test_what_is_read_alone_is_in_no_other_group_though_sizes_overlap() -> None:
    sizes = (5 * MINUTE_MS, 10 * MINUTE_MS, 15 * MINUTE_MS)
    model = dataclasses.replace(MODEL, report_windows_ms=sizes)
    windows = {ReportWindow(VERSION, size_ms, NOON_MS): model for size_ms in sizes[1:]}
    read = itertools.chain.from_iterable(WindowSums(limit_cells=10_000).plan(windows, {base(5): 1}).values())
    assert {base(0): 2, base(5): 1, base(10): 1} == collections.Counter(read)


def test_between_levels_that_lie_far_apart_stands_one_more() -> None:
    sums, model = WindowSums(limit_cells=10_000), dataclasses.replace(MODEL, base_window_ms=MINUTE_MS)
    model = dataclasses.replace(model, report_windows_ms=(DAY_MS,))
    plan = sums.plan({DAY: model}, {})
    assert (40, {36}) == (len(plan), set(map(len, plan.values())))


def test_oldest_windows_of_each_model_version_are_forgotten_first() -> None:
    sums = filled(WindowSums(limit_cells=12), HOUR)
    other = ReportWindow(b"another.", BASE_MS, NOON_MS - DAY_MS)
    filled(sums, other)
    sums.trim()
    assert [base(5 * number) for number in range(8)] == list(sums.missing(HOUR, MODEL))
    assert [] == list(sums.missing(other, MODEL))


def test_hours_are_kept_for_longer_than_the_base_windows_in_them() -> None:
    sums = filled(WindowSums(limit_cells=110), DAY)
    sums.sum_of(DAY, MODEL)
    sums.trim()
    sums.drop_changed(base(5), stamp="changed")
    assert [base(5 * number) for number in range(12)] == list(sums.missing(DAY, MODEL))


def test_sums_around_a_base_window_that_is_put_after_it_was_forgotten_are_made_again() -> None:
    sums = filled(WindowSums(limit_cells=3), HOUR)
    sums.sum_of(HOUR, MODEL)
    sums.trim()
    sums.put(base(5), [{(EVERYTHING, ABSENT, OK): 7}])
    assert 11 == len(list(sums.missing(HOUR, MODEL)))


def test_model_version_that_is_forgotten_leaves_the_others() -> None:
    sums = filled(WindowSums(limit_cells=10_000), base(0))
    other = ReportWindow(b"another.", BASE_MS, NOON_MS)
    filled(sums, other)
    sums.drop_model_version(VERSION)
    assert ([base(0)], []) == (list(sums.missing(base(0), MODEL)), list(sums.missing(other, MODEL)))


def test_window_that_was_not_read_has_no_sum() -> None:
    with pytest.raises(KeyError):
        WindowSums(limit_cells=1).sum_of(HOUR, MODEL)
