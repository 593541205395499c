"""Whatever becomes of segments and horizons, a window is told of the slices that all of its predictions were counted
by, and is settled when all of them are."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from streams.ledger.eras import (
    Era,
    agreed_by_both,
    first_settled_ms,
    followed_by,
    in_force,
    last_label_ms,
    longest_horizon_ms,
    settled_ms,
    settled_until_ms,
    whole_slices,
)

NAMES = st.sets(st.sampled_from("abc")).map(lambda names: tuple(sorted(names)))
WISHES = st.lists(st.tuples(NAMES, st.integers(0, 60), st.integers(1, 20), st.integers(1, 4)), max_size=6)
Wishes = list[tuple[tuple[str, ...], int, int, int]]
"""Segments, horizon, how far event time has come on until they are asked for, and the length of windows."""


def histories(wishes: Wishes) -> tuple[tuple[Era, ...], dict[int, Era]]:
    """What comes of the wishes, and by which era each moment was counted."""
    known: tuple[Era, ...] = (Era(("a",), label_horizon_ms=20),)
    read_by: dict[int, Era] = {}
    high = 0
    for names, horizon, later, step in wishes:
        for time in range(high, high + later):
            read_by[time] = known[in_force(known, time)]
        high += later
        wanted = Era(names, label_horizon_ms=horizon, from_ms=((high - 1) // step + 1) * step)
        known = followed_by(known, wanted)
    for time in range(high, high + 30):
        read_by[time] = known[in_force(known, time)]
    return known, read_by


@given(WISHES, st.integers(0, 100), st.integers(1, 10))
def test_window_has_the_slices_and_the_end_of_waiting_of_each_of_its_moments(
    wishes: Wishes, start: int, size: int
) -> None:
    known, read_by = histories(wishes)
    start %= len(read_by)
    moments = {time: read_by[time] for time in range(start, start + size) if time in read_by}
    if len(moments) == size:
        assert frozenset.intersection(*(era.slices for era in moments.values())) == whole_slices(
            known, start, start + size
        )
        ends = [time + era.label_horizon_ms + 1 for time, era in moments.items()]
        assert max(ends) == last_label_ms(known, start, start + size)
        assert min(ends) == first_settled_ms(known, start, start + size, base_ms=1)


@given(WISHES, st.integers(1, 100), st.integers(0, 200))
def test_what_is_settled_is_all_that_was_made_before(wishes: Wishes, end: int, watermark: int) -> None:
    known, read_by = histories(wishes)
    waited = {time: time + era.label_horizon_ms for time, era in read_by.items()}
    if end <= len(read_by):
        assert max(waited[time] + 1 for time in range(end)) == settled_ms(known, end)
    until = next((time for time, last in sorted(waited.items()) if last >= watermark), None)
    if until is not None:
        assert until == settled_until_ms(known, watermark)


@given(WISHES, st.integers(0, 150))
def test_longest_horizon_is_that_of_all_that_waits_or_comes(wishes: Wishes, watermark: int) -> None:
    known, read_by = histories(wishes)
    waiting = [era for time, era in read_by.items() if watermark <= time + era.label_horizon_ms]
    later = [known[in_force(known, time)] for time in range(max(read_by), max(read_by) + 10)]
    longest = max(era.label_horizon_ms for era in (*waiting, *later))
    assert longest == longest_horizon_ms(known, watermark_ms=watermark)


@given(WISHES, WISHES, st.integers(0, 150))
def test_of_two_histories_each_moment_has_what_both_have_and_the_longer_horizon(
    some: Wishes, others: Wishes, time: int
) -> None:
    one, other = histories(some)[0], histories(others)[0]
    both = agreed_by_both(one, other)
    found, first, second = (known[in_force(known, time)] for known in (both, one, other))
    assert first.slices & second.slices == found.slices
    assert max(first.label_horizon_ms, second.label_horizon_ms) == found.label_horizon_ms


@given(WISHES)
def test_history_begins_at_the_beginning_and_goes_on_in_order_without_repeating_itself(wishes: Wishes) -> None:
    known, _ = histories(wishes)
    starts = [each.from_ms for each in known]
    assert 0 == starts[0]
    assert sorted({*starts}) == starts
    assert not any(one.is_like(next_) for one, next_ in itertools.pairwise(known))
