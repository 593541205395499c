"""Sums of signals: exact, and the same in whatever order and by whatever way values come together."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.latency_log import packed_sums, told_sums
from agents.signal_log import VALUES
from streams.identity import EVERYTHING
from streams.signals.buckets import bounds_of, buckets_of, kept_values, middle_of
from streams.signals.sums import SignalTotals
from streams.signals.words import pack_signals, signals_of, word_type

SIGNAL, OTHER_SIGNAL = b"\x01" * 8, b"\xfe" * 8
GERMAN = b"\x07" * 8
numbers = st.one_of(
    st.floats(), st.floats(-10, 10), st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0**-126, 3.4e38, -3.5e38])
)
values = st.lists(numbers, max_size=40).map(lambda drawn: kept_values(np.array(drawn, dtype=np.float64)))


def finite(kept: npt.NDArray[np.float32]) -> list[float]:
    return [float(value) for value in kept if not math.isnan(value)]


@given(values)
def test_sums_are_those_of_exact_fractions(kept: npt.NDArray[np.float32]) -> None:
    totals, exact = SignalTotals.of_values(kept), [Fraction(value) for value in finite(kept)]
    assert (len(exact), sum(exact), sum(value**2 for value in exact)) == (
        totals.n,
        Fraction(totals.total, 1 << 149),
        Fraction(totals.squares, 1 << 298),
    )
    if exact:
        mean = sum(exact) / len(exact)
        assert float(mean) == totals.mean
        assert float(sum((value - mean) ** 2 for value in exact) / len(exact)) == totals.variance


@given(values)
def test_buckets_are_narrow_and_in_the_order_of_values(kept: npt.NDArray[np.float32]) -> None:
    ordered = np.sort(kept[~np.isnan(kept)])
    buckets = buckets_of(ordered).tolist()
    assert sorted(buckets) == buckets
    for value, bucket in zip(ordered.tolist(), buckets, strict=True):
        low, high = bounds_of(bucket)
        assert low <= value <= high
        assert abs(middle_of(bucket) - value) <= 0.0081 * abs(value)


@given(st.lists(values, max_size=6))
def test_values_add_up_alone_together_and_in_parts(parts: list[npt.NDArray[np.float32]]) -> None:
    together = SignalTotals.of_values(np.concatenate([kept_values(np.array([])), *parts]))
    assert together == sum(map(SignalTotals.of_values, parts), SignalTotals())
    one_by_one: dict[str, int] = {}
    for value in finite(np.concatenate([kept_values(np.array([])), *parts])):
        for name, increment in SignalTotals.of_values(np.array([value], dtype=np.float32)).sums(SIGNAL).items():
            one_by_one[name] = one_by_one.get(name, 0) + increment
    assert together.sums(SIGNAL) == {name: total for name, total in one_by_one.items() if total}


def logged(tables: list[npt.NDArray[np.float32]], slices: bytes) -> bytes:
    """As the commit script writes it: two names, a row for each prediction."""
    log = b""
    for table in tables:
        head = bytes([VALUES, len(slices) // 8]) + len(table).to_bytes(4, "big") + b"\x02"
        log += head + slices + SIGNAL + OTHER_SIGNAL + table.astype(">f4").tobytes()
    return log


@settings(max_examples=50)
@given(st.integers(0, 2**32))
def test_log_says_the_same_however_often_it_was_summed_up(seed: int) -> None:
    rng = random.Random(seed)
    tables = [
        kept_values(np.array([rng.gauss(-1, 10.0 ** rng.randrange(-9, 9)) for _ in range(2 * rows)])).reshape(rows, 2)
        for rows in [rng.randrange(1, 200) for _ in range(rng.randrange(1, 5))]
    ]
    tables[0][0, 0] = np.nan
    expected = {
        name: total
        for column, signal in enumerate((SIGNAL, OTHER_SIGNAL))
        for name, total in SignalTotals.of_values(np.concatenate([table[:, column] for table in tables]))
        .sums(signal)
        .items()
    }
    log = b""
    for table in tables:
        log += logged([table], GERMAN)
        if rng.random() < 0.5:
            log = packed_sums(told_sums(log))
    assert {EVERYTHING: expected, GERMAN: expected} == told_sums(log)


def test_words_tell_the_values_of_each_row_by_the_names_of_its_shape() -> None:
    words = np.zeros(3, dtype=word_type(2))
    words["shape"] = [2, 0, 1]
    words["values"] = [[0.5, 0.25], [9.0, 9.0], [3.0, 0.0]]
    packed = pack_signals([[SIGNAL], [SIGNAL, OTHER_SIGNAL]], words)
    assert [{SIGNAL: 0.5, OTHER_SIGNAL: 0.25}, {}, {SIGNAL: 3.0}] == [signals_of(packed, row) for row in range(3)]


def test_words_that_tell_nothing_take_no_bytes() -> None:
    assert b"" == pack_signals([[SIGNAL]], np.zeros(2, dtype=word_type(1)))
    assert {} == signals_of(b"", 1)
