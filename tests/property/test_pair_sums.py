"""Sums of pairs: any order, any split, and every pair taken back again."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import LIST_ENTRIES
from streams.monitored_model import MonitoredModel, Task
from streams.pair_sums.contribution import LARGEST_VALUE, regression_contribution, score_contribution
from streams.pair_sums.delay import delay_name
from streams.pair_sums.exact_sum import add, total
from streams.pair_sums.lists import multilabel_contribution, ranking_contribution
from streams.pair_sums.many import delay_sums, regression_sums, score_sums
from streams.pair_sums.many_lists import multilabel_sums, ranking_sums
from streams.pair_sums.score_bins import BIN_EDGES, score_bin
from streams.reports import ReportKey, SliceCounts, window_report
from tests.support.pair_sums import added

KEY = ReportKey(model="m", model_version="", segment={}, window_start_ms=0, window_size_ms=60_000)
SCORED = MonitoredModel(name="m", task=Task.BINARY, positive_class="a")
NUMBERS = MonitoredModel(name="m", task=Task.REGRESSION)

doubles = st.floats(allow_nan=False, allow_infinity=False)
scores = st.floats(0.0, 1.0) | st.integers(0, 100).map(lambda hundredths: hundredths / 100)
numbers = st.floats(-LARGEST_VALUE, LARGEST_VALUE)
scored = st.builds(score_contribution, scores, happened=st.booleans())
regressed = st.builds(regression_contribution, predicted=numbers, label=numbers)
windows = st.lists(scored, max_size=30) | st.lists(regressed, max_size=30)


def report_bytes(sums: Counter[str], pairs: int) -> bytes:
    numbers_only = "n" in sums
    counts = SliceCounts({("*", "") if numbers_only else ("a", "a"): pairs}, sums=sums)
    model = NUMBERS if numbers_only else SCORED
    report = window_report(KEY, counts, model, watermark_ms=None, confidence_level=0.95, config_hash="")
    for metric in report.metrics.values():
        if metric.value is not None and metric.low is not None and metric.high is not None:
            assert metric.low <= metric.value <= metric.high
    return msgspec.json.encode(report)


@given(st.lists(doubles, max_size=50))
def test_total_is_the_exact_sum_of_any_doubles(values: list[float]) -> None:
    increments: dict[str, int] = {}
    for value in values:
        add(increments, "x", value)

    assert sum(map(Fraction, values)) == total(increments, "x")


@given(windows, windows, st.randoms(use_true_random=False))
def test_pairs_taken_back_leave_no_trace(
    kept: list[dict[str, int]], corrected: list[dict[str, int]], shuffler: random.Random
) -> None:
    changes = [(pair, 1) for pair in kept + corrected] + [(pair, -1) for pair in corrected]
    shuffler.shuffle(changes)
    sums: Counter[str] = Counter()
    for pair, sign in changes:
        sums.update({field: sign * increment for field, increment in pair.items()})

    assert added(kept) == sums


@given(windows, st.randoms(use_true_random=False), st.integers(0, 30))
def test_any_order_and_any_split_give_the_same_report(
    pairs: list[dict[str, int]], shuffler: random.Random, at: int
) -> None:
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)
    merged = SliceCounts({}, sums=added(shuffled[:at])) + SliceCounts({}, sums=added(shuffled[at:]))

    assert report_bytes(added(pairs), len(pairs)) == report_bytes(Counter(merged.sums), len(pairs))


@given(scores)
def test_score_lies_between_the_ends_of_its_bin(score: float) -> None:
    lowest, highest = BIN_EDGES[score_bin(score)]

    assert lowest * (1 - 1e-15) <= score <= highest * (1 + 1e-15)


signs = st.sampled_from([1, -1])


def taken(contributions: Iterable[tuple[Mapping[str, int], int]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for contribution, sign in contributions:
        for name, increment in contribution.items():
            sums[name] += sign * increment
    return {name: total for name, total in sums.items() if total}


@given(st.lists(st.tuples(scores | st.sampled_from([math.nan, -0.5, 1.5]), st.booleans(), signs), max_size=40))
def test_many_scores_add_what_each_adds(pairs: list[tuple[float, bool, int]]) -> None:
    values, happened, of_pairs = ([pair[at] for pair in pairs] for at in range(3))
    expected = taken((score_contribution(score, happened=event), sign) for score, event, sign in pairs)
    assert expected == score_sums(
        np.array(values, dtype=np.float64), np.array(happened, dtype=np.bool_), np.array(of_pairs, dtype=np.int64)
    )


@given(st.lists(st.tuples(numbers, numbers, signs) | st.tuples(st.just(0.0), st.just(-0.0), signs), max_size=40))
def test_many_numbers_add_what_each_adds(pairs: list[tuple[float, float, int]]) -> None:
    predicted, labels, of_pairs = ([pair[at] for pair in pairs] for at in range(3))
    expected = taken((regression_contribution(predicted=number, label=label), sign) for number, label, sign in pairs)
    assert expected == regression_sums(
        np.array(predicted, dtype=np.float64), np.array(labels, dtype=np.float64), np.array(of_pairs, dtype=np.int64)
    )


@given(st.lists(st.tuples(st.integers(-(10**6), 2**45), signs), max_size=40))
def test_many_delays_add_what_each_adds(pairs: list[tuple[int, int]]) -> None:
    expected = taken(({delay_name(delay_ms): 1}, sign) for delay_ms, sign in pairs)
    delays_ms, of_pairs = (np.array([pair[at] for pair in pairs], dtype=np.int64) for at in range(2))
    assert expected == delay_sums(delays_ms, of_pairs)


@st.composite
def rankings(draw: st.DrawFn) -> list[tuple[list[int], int, int]]:
    """Ranks of as many hits each, how many items are relevant, and a sign."""
    hits = draw(st.integers(0, 5))
    ranks = st.lists(st.integers(1, LIST_ENTRIES), min_size=hits, max_size=hits, unique=True).map(sorted)
    return draw(st.lists(st.tuples(ranks, st.integers(hits, LIST_ENTRIES), signs), max_size=20))


@given(rankings())
def test_many_rankings_add_what_each_adds(drawn: list[tuple[list[int], int, int]]) -> None:
    hits = len(drawn[0][0]) if drawn else 0
    ranks, relevant, of_pairs = (np.array([each[at] for each in drawn], dtype=np.int64) for at in range(3))
    expected = taken((ranking_contribution(each, relevant=count), sign) for each, count, sign in drawn)
    assert expected == ranking_sums(ranks.reshape(len(drawn), hits), relevant, of_pairs)


@st.composite
def sets(draw: st.DrawFn) -> list[tuple[list[list[int]], int]]:
    """Classes found, invented and missed, as many of each kind in every one, and a sign."""
    sizes = [draw(st.integers(0, 3)) for _ in range(3)]
    classes = st.integers(2**64 - 5, 2**64 - 1) | st.integers(1, 3)
    of_each = st.tuples(*(st.lists(classes, min_size=size, max_size=size) for size in sizes)).map(list)
    return draw(st.lists(st.tuples(of_each, signs), min_size=1, max_size=20))


@given(sets())
def test_many_sets_add_what_each_adds(drawn: list[tuple[list[list[int]], int]]) -> None:
    kinds = ("found", "invented", "missed")
    expected = taken(
        (
            multilabel_contribution(
                **{kind: [name.to_bytes(8, "big") for name in some] for kind, some in zip(kinds, each, strict=True)}
            ),
            sign,
        )
        for each, sign in drawn
    )
    arrays = {
        kind: np.array([each[at] for each, _ in drawn], dtype=np.uint64).reshape(len(drawn), len(drawn[0][0][at]))
        for at, kind in enumerate(kinds)
    }
    assert expected == multilabel_sums(**arrays, signs=np.array([sign for _, sign in drawn], dtype=np.int64))
