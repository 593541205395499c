"""Limits of dead letters: which record stops a partition, whatever the runs that it comes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dead_letter_limits import DeadLetterLimits, Excess, RecentRecords, Stop, first_excess

DEFAULTS = DeadLetterLimits(max_invalid_ratio=0.5, max_consecutive=100)


class Run(TypedDict):
    """Offsets as `first_excess` takes them."""

    good: npt.NDArray[np.int64]
    bad: npt.NDArray[np.int64]


def run_of(marks: str, *, start: int = 0) -> Run:
    """Good and bad offsets of records written as `.` and `x`."""
    good = [start + at for at, mark in enumerate(marks) if mark == "."]
    bad = [start + at for at, mark in enumerate(marks) if mark == "x"]
    return {"good": np.array(good, dtype=np.int64), "bad": np.array(bad, dtype=np.int64)}


def excess_of(marks: str, limits: DeadLetterLimits = DEFAULTS, *, accepted_until: int = 0) -> Excess | None:
    return first_excess(RecentRecords(), **run_of(marks), limits=limits, accepted_until=accepted_until)


def naive_excess(marks: str, limits: DeadLetterLimits) -> int | None:
    """Record by record, as the rule is written."""
    for at, mark in enumerate(marks):
        if mark == "x":
            in_a_row = at + 1 - (marks.rfind(".", 0, at) + 1)
            recent = marks[max(0, at - 999) : at + 1].count("x")
            if in_a_row > limits.max_consecutive or recent / 1000 > limits.max_invalid_ratio:
                return at
    return None


def test_good_records_never_stop_a_partition() -> None:
    assert excess_of("." * 5000) is None


def test_handful_of_bad_records_on_a_quiet_partition_stops_nothing() -> None:
    assert excess_of("x" * 5) is None
    assert excess_of(".x" * 20) is None


def test_hundred_bad_records_in_a_row_pass_and_the_next_one_stops() -> None:
    assert excess_of("x" * 100) is None
    assert Excess(offset=100, in_a_row=101, recent=101) == excess_of("x" * 150)


def test_good_record_ends_a_row() -> None:
    assert excess_of("x" * 100 + "." + "x" * 100) is None


def test_more_than_half_of_the_last_thousand_stops() -> None:
    assert excess_of(".x" * 2000) is None
    # Two bad ones to a good one: the 501st bad record is the one too many.
    assert Excess(offset=750, in_a_row=1, recent=501) == excess_of("xx." * 400)


def test_records_that_have_left_the_last_thousand_no_longer_count() -> None:
    marks = "xx." * 200 + "." * 1000 + "xx." * 200
    assert excess_of(marks) is None


def test_ratio_is_compared_exactly() -> None:
    limits = DeadLetterLimits(max_invalid_ratio=0.57, max_consecutive=1000)
    assert excess_of("x" * 570, limits) is None
    assert Excess(offset=570, in_a_row=571, recent=571) == excess_of("x" * 571, limits)


def test_ratio_of_zero_lets_no_bad_record_through() -> None:
    found = excess_of("..x", DeadLetterLimits(max_invalid_ratio=0, max_consecutive=100))
    assert Excess(offset=2, in_a_row=1, recent=1) == found


def test_ratio_of_one_leaves_only_the_limit_in_a_row() -> None:
    limits = DeadLetterLimits(max_invalid_ratio=1, max_consecutive=1_500)
    assert Excess(offset=1_500, in_a_row=1_501, recent=1_000) == excess_of("x" * 2_000, limits)


def test_row_that_is_longer_than_the_memory_is_counted_over_many_runs() -> None:
    limits = DeadLetterLimits(max_invalid_ratio=1, max_consecutive=2_500)
    recent = RecentRecords()
    for start in range(0, 2_400, 400):
        run = run_of("x" * 400, start=start)
        assert first_excess(recent, **run, limits=limits) is None
        recent = recent.followed_by(**run)
    found = first_excess(recent, **run_of("x" * 400, start=2_400), limits=limits)
    assert Excess(offset=2_500, in_a_row=2_501, recent=1_000) == found


def test_accepted_records_pass_and_still_count() -> None:
    assert Excess(offset=130, in_a_row=131, recent=131) == excess_of("x" * 150, accepted_until=130)
    assert excess_of("x" * 150, accepted_until=150) is None


def test_records_before_an_offset_are_as_they_were_when_it_was_next() -> None:
    early = RecentRecords().followed_by(**run_of("x.x."))
    late = early.followed_by(**run_of("xxxx", start=4))
    assert early.marks == late.before(4).marks
    assert "x.x.x" == late.before(5).marks
    assert late.marks == late.before(8).marks
    assert "" == late.before(0).marks


def test_going_back_before_everything_known_forgets_the_row_as_well() -> None:
    limits = DeadLetterLimits(max_invalid_ratio=1, max_consecutive=1_000)
    recent = RecentRecords().followed_by(**run_of("x" * 1_400))
    assert 400 == recent.before(400).earlier_in_a_row
    assert 0 == recent.before(399).earlier_in_a_row
    assert first_excess(recent.before(399), **run_of("x" * 900, start=399), limits=limits) is None


def test_stop_takes_the_last_records_along() -> None:
    recent = RecentRecords().followed_by(**run_of("x" * 1_100))
    excess = first_excess(recent, **run_of("x", start=1_100), limits=DEFAULTS)
    assert excess is not None
    stop = Stop(excess=excess, since_ms=1, tried_ms=1, marks=recent.marks, earlier_in_a_row=recent.earlier_in_a_row)
    assert excess == first_excess(stop.recent_records, **run_of("x", start=1_100), limits=DEFAULTS)


def test_excess_says_how_many_there_are() -> None:
    assert "101 bad records in a row, 101 among the last 1000" == str(excess_of("x" * 150))


marks = st.lists(st.sampled_from(["." * 3, "x" * 4, "x", "."]), max_size=400).map("".join)


@given(
    marks=marks,
    cuts=st.lists(st.integers(0, 1600), max_size=6),
    ratio=st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0]),
    in_a_row=st.sampled_from([1, 4, 9, 50]),
)
def test_any_split_into_runs_stops_at_the_record_that_the_rule_names(
    marks: str, cuts: Sequence[int], ratio: float, in_a_row: int
) -> None:
    limits = DeadLetterLimits(max_invalid_ratio=ratio, max_consecutive=in_a_row)
    recent, found = RecentRecords(), None
    ends = sorted({*(cut for cut in cuts if cut < len(marks)), len(marks)})
    start = 0
    for end in ends:
        run = run_of(marks[start:end], start=start)
        found = first_excess(recent, **run, limits=limits)
        if found is not None:
            break
        recent, start = recent.followed_by(**run), end
    assert naive_excess(marks, limits) == (None if found is None else found.offset)


@pytest.mark.parametrize("back", [1, 10, 999])
def test_reading_again_gives_the_same_verdict(back: int) -> None:
    recent = RecentRecords().followed_by(**run_of("x." * 800))
    again = recent.before(1600 - back).followed_by(**run_of(("x." * 800)[-back:], start=1600 - back))
    assert recent.marks[back:] == again.marks[-(1000 - back) :]
