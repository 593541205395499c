"""Whatever becomes of segments, a window is told of the slices that all of its predictions were counted by."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from streams.ledger.segmentation import Segmentation, agreed_by_both, followed_by, in_force, whole_slices

NAMES = st.sets(st.sampled_from("abc")).map(lambda names: tuple(sorted(names)))
WISHES = st.lists(st.tuples(NAMES, st.integers(1, 20), st.integers(1, 4)), max_size=6)
Wishes = list[tuple[tuple[str, ...], int, int]]
"""Segments, how far event time has come on until they are asked for, and the length of windows."""


Counted = dict[int, frozenset[frozenset[str]]]


def histories(wishes: Wishes) -> tuple[tuple[Segmentation, ...], Counted]:
    """What comes of the wishes, and into which slices each moment was counted."""
    known: tuple[Segmentation, ...] = (Segmentation(("a",)),)
    read_by: Counted = {}
    high = 0
    for names, later, step in wishes:
        for time in range(high, high + later):
            read_by[time] = known[in_force(known, time)].slices
        high += later
        known = followed_by(known, Segmentation(names, from_ms=((high - 1) // step + 1) * step))
    for time in range(high, high + 30):
        read_by[time] = known[in_force(known, time)].slices
    return known, read_by


@given(WISHES, st.integers(0, 100), st.integers(1, 10))
def test_window_has_the_slices_that_each_moment_of_it_was_counted_by(wishes: Wishes, start: int, size: int) -> None:
    known, read_by = histories(wishes)
    start %= len(read_by)
    moments = [read_by[time] for time in range(start, start + size) if time in read_by]
    if len(moments) == size:
        assert frozenset.intersection(*moments) == whole_slices(known, start, start + size)


@given(WISHES, WISHES, st.integers(0, 150))
def test_of_two_histories_each_moment_has_what_both_have(some: Wishes, others: Wishes, time: int) -> None:
    one, other = histories(some)[0], histories(others)[0]
    both = agreed_by_both(one, other)
    assert one[in_force(one, time)].slices & other[in_force(other, time)].slices == both[in_force(both, time)].slices


@given(WISHES)
def test_history_begins_at_the_beginning_and_goes_on_in_order_without_repeating_itself(wishes: Wishes) -> None:
    known, _ = histories(wishes)
    starts = [each.from_ms for each in known]
    assert 0 == starts[0]
    assert sorted({*starts}) == starts
    assert not any(one.is_like(next_) for one, next_ in itertools.pairwise(known))
