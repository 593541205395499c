"""Exact sums, the portable logarithm, score bins, and what one pair adds to its window."""

from __future__ import annotations

import doctest
import importlib
import itertools
import math
import pkgutil
import random
from fractions import Fraction

import pytest

import streams.pair_sums
from streams.pair_sums.contribution import LARGEST_VALUE, regression_contribution, score_contribution
from streams.pair_sums.exact_sum import add, add_rough, square, total
from streams.pair_sums.logarithm import log, log1p_ratio
from streams.pair_sums.score_bins import BIN_COUNT, BIN_EDGES, bin_decile, decile, score_bin

EXTREMES = (5e-324, 2.2250738585072014e-308, 1e-140, 0.1, 1.0, 2.0**53 - 1, 1e24, 1.7976931348623157e308)
INT64 = 2**63


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(streams.pair_sums.__path__)])
def test_examples_in_docstrings_run_as_written(name: str) -> None:
    assert 0 == doctest.testmod(importlib.import_module(f"streams.pair_sums.{name}")).failed


@pytest.mark.parametrize("value", [sign * value for sign in (1, -1) for value in EXTREMES])
def test_every_double_is_kept_to_the_last_bit_in_two_fields(value: float) -> None:
    increments: dict[str, int] = {}

    add(increments, "x", value)

    assert Fraction(value) == total(increments, "x")
    assert len(increments) <= 2
    assert all(abs(digit) < 2**32 for digit in increments.values())


def test_zero_leaves_no_field() -> None:
    increments: dict[str, int] = {}
    add(increments, "x", 0.0)
    add(increments, "x", -0.0)
    add_rough(increments, "x", 0.0)

    assert {} == increments
    assert 0 == total(increments, "x")


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_has_no_sum(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        add({}, "x", value)


def test_sum_of_a_million_values_is_the_correctly_rounded_one() -> None:
    generator = random.Random(1)
    values = [generator.gauss(0, 1) * 10 ** generator.randint(-12, 12) for _ in range(1_000_000)]
    increments: dict[str, int] = {}
    for value in values:
        add(increments, "x", value)

    assert math.fsum(values) == float(total(increments, "x"))


def test_rough_sum_lacks_less_than_one_part_in_16_million_and_takes_one_field() -> None:
    generator = random.Random(2)
    for _ in range(10_000):
        value = generator.uniform(-1, 1) * 10.0 ** generator.randint(-20, 40)
        increments: dict[str, int] = {}
        add_rough(increments, "x", value)

        assert 1 == len(increments)
        assert 0 <= 1 - total(increments, "x") / Fraction(value) < Fraction(1, 2**24)


def test_square_keeps_what_rounding_takes() -> None:
    generator = random.Random(3)
    for _ in range(10_000):
        value = generator.uniform(-1, 1) * 10.0 ** generator.randint(-20, 12)
        product, lack = square(value)

        assert Fraction(value) ** 2 == Fraction(product) + Fraction(lack)


def test_logarithm_is_within_three_units_in_the_last_place() -> None:
    generator = random.Random(4)
    values = [10.0 ** generator.uniform(-16, 15) for _ in range(5_000)]
    values += [1 + generator.choice((-1, 1)) * 10.0 ** generator.uniform(-15, -0.1) for _ in range(5_000)]
    for value in values:
        expected = math.log(value)

        assert abs(log(value) - expected) <= 3 * math.ulp(expected), value


@pytest.mark.parametrize(("a", "b"), [(1e-12, 0.0), (1e12, 1e12 - 0.5), (100.0, 3.0), (1e12, 0.0), (7.0, 7.0)])
def test_ratio_of_logarithms_is_exact_also_where_they_cancel(a: float, b: float) -> None:
    expected = math.log1p(float((Fraction(a) - Fraction(b)) / (1 + Fraction(b))))

    assert pytest.approx(expected, rel=1e-14, abs=0.0) == log1p_ratio(a, b)


def test_there_are_no_more_than_512_bins() -> None:
    assert 511 == BIN_COUNT == len(BIN_EDGES)


def test_bins_follow_one_another_without_gap() -> None:
    assert (0.0, 1.0) == (BIN_EDGES[0][0], BIN_EDGES[-1][1])
    for (_, highest), (lowest, _) in itertools.pairwise(BIN_EDGES):
        assert math.isclose(highest, lowest, rel_tol=1e-15, abs_tol=0.0) or highest == lowest


@pytest.mark.parametrize(
    "score",
    [k / 100 for k in range(101)]
    + [k / 1000 for k in (*range(1, 10), *range(991, 1000))]
    + [k / 10**places for places in (4, 5) for k in range(1, 10)],
)
def test_short_decimal_has_a_bin_of_its_own(score: float) -> None:
    number = score_bin(score)

    assert (score, score) == BIN_EDGES[number]
    assert score == 0.0 or score_bin(math.nextafter(score, 0.0)) < number
    assert score == 1.0 or score_bin(math.nextafter(score, 1.0)) > number


def test_order_of_bins_is_the_order_of_scores() -> None:
    generator = random.Random(5)
    scores = [generator.random() for _ in range(20_000)] + [10.0 ** -generator.uniform(0, 8) for _ in range(20_000)]
    ends = [end for edges in BIN_EDGES for end in edges]
    scores += ends + [math.nextafter(end, 0.0) for end in ends] + [math.nextafter(end, 1.0) for end in ends]
    numbers = [score_bin(score) for score in sorted(scores)]

    assert sorted(numbers) == numbers
    assert set(range(BIN_COUNT)) == set(numbers)


def test_bin_says_in_which_tenth_its_scores_are() -> None:
    generator = random.Random(6)
    tenths = [k / 10 for k in range(11)]
    scores = [generator.random() for _ in range(20_000)] + tenths + [math.nextafter(tenth, 0.0) for tenth in tenths]

    assert [decile(score) for score in scores] == [bin_decile(score_bin(score)) for score in scores]
    assert [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9] == [decile(tenth) for tenth in tenths]


@pytest.mark.parametrize("score", [-1e-300, 1.0000000000000002, math.nan, math.inf])
def test_score_that_is_no_probability_is_counted_and_nothing_else(score: float) -> None:
    assert {"x": 1} == score_contribution(score, happened=True)


@pytest.mark.parametrize("score", [0.0, 5e-324, 0.5, 1.0])
@pytest.mark.parametrize("happened", [True, False])
def test_certain_score_costs_at_most_36_nats(score: float, happened: bool) -> None:
    increments = score_contribution(score, happened=happened)

    assert 0 < total(increments, "l") < 36.05


def test_pair_takes_few_fields_whatever_its_values() -> None:
    generator = random.Random(7)
    for _ in range(5_000):
        label, predicted = (
            generator.choice((-1, 1)) * min(LARGEST_VALUE, 10.0 ** generator.uniform(-15, 12.1)) for _ in range(2)
        )
        scored = score_contribution(generator.random(), happened=generator.random() < 0.5)
        regression = regression_contribution(predicted=predicted, label=label)

        assert len(scored) <= 9
        assert len(regression) <= 24
        assert all(abs(increment) * 2**30 < INT64 for increment in (*scored.values(), *regression.values()))


def test_zero_label_has_no_relative_error_and_negative_value_no_logarithm() -> None:
    names = {field.partition(":")[0] for field in regression_contribution(predicted=-1.0, label=0.0)}

    assert {"n", "u", "q", "qr", "z", "g"} == names
