"""Weighted means of attributions and their differences against numpy, SciPy and simulation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from streams.explanation.attribution_figures import (
    Estimates,
    WeighedSample,
    normalised_difference,
    rank_correlation,
    welch,
)
from streams.explanation.attribution_sample import Row

Array = npt.NDArray[np.float64]


def drawn(seed: int, count: int, means: Array) -> Array:
    """Attributions that hang together: rows of one model do."""
    generator = np.random.default_rng(seed)
    return means + generator.normal(0, 0.1, (count, 1)) * means + generator.normal(0, 0.1, (count, len(means)))


def test_with_equal_weights_means_errors_and_intervals_are_those_of_scipy() -> None:
    one, other = drawn(1, 23, np.array([0.4, 0.1])), drawn(2, 71, np.array([0.3, -0.1]))
    found = [Estimates.of(values, np.full(len(values), 4.0)) for values in (one, other)]
    for values, estimates in zip((one, other), found, strict=True):
        assert pytest.approx(values.mean(axis=0)) == estimates.means
        assert pytest.approx(stats.sem(values)) == estimates.errors
        assert pytest.approx(len(values)) == estimates.size
    ends = welch(*found, confidence_level=0.9)
    interval = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.9)
    assert ends is not None
    assert pytest.approx(interval.low) == ends[0]
    assert pytest.approx(interval.high) == ends[1]


def test_weights_undo_how_explanations_were_drawn() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(0, 1, 20_000)
    rates = np.where(values > 1, 0.5, 0.05)
    is_in = generator.random(len(values)) < rates
    chosen, weights = values[is_in], 1 / rates[is_in]
    estimates = Estimates.of(chosen[:, None], weights)
    assert pytest.approx(np.average(chosen, weights=weights)) == estimates.means[0]
    assert estimates.errors is not None
    assert abs(estimates.means[0] - values.mean()) < 3 * estimates.errors[0] < 0.1 < chosen.mean()
    assert pytest.approx(weights.sum() ** 2 / (weights**2).sum()) == estimates.size


def test_intervals_of_means_drawn_at_different_rates_hold_what_they_should() -> None:
    held = np.zeros(2)
    for seed in range(400):
        generator = np.random.default_rng(seed)
        sides = []
        for shift in (0.0, 0.3):
            values = generator.gamma(2.0, 0.5, (3000, 2)) + shift
            rates = np.where(values[:, 0] > 1, 0.04, 0.01)
            is_in = generator.random(len(values)) < rates
            sides.append((values.mean(axis=0), Estimates.of(values[is_in], 1 / rates[is_in])))
        (low, high) = welch(sides[1][1], sides[0][1], confidence_level=0.95) or (np.zeros(2), np.zeros(2))
        truth = sides[1][0] - sides[0][0]
        held += (low <= truth) & (truth <= high)
    assert (held / 400 >= 0.92).all(), held / 400


def test_difference_of_samples_that_are_alike_is_told_as_chance_and_a_real_one_as_more() -> None:
    means = np.array([0.5, 0.3, 0.2, 0.1, 0.05, 0.02])
    swapped = means[::-1]
    true_difference = np.abs(means / means.sum() - swapped / means.sum()).sum() / 2
    false_alarms, held = 0, 0
    for seed in range(300):
        # Sizes without sign, so that their means are those that were drawn around.
        one, other, third = (
            Estimates.of(np.maximum(drawn(seed * 3 + at, 40, of), 0), np.ones(40))
            for at, of in enumerate((means + 0.3, means + 0.3, swapped + 0.3))
        )
        alike = normalised_difference(one, other, confidence_level=0.95)
        unlike = normalised_difference(one, third, confidence_level=0.95)
        assert alike is not None
        assert unlike is not None
        false_alarms += alike[1] > 0
        truth = true_difference * means.sum() / (means + 0.3).sum()
        held += unlike[1] <= truth <= unlike[2]
        assert unlike[1] > 0
    assert false_alarms <= 0.05 * 300
    assert held >= 0.95 * 300


def test_rank_correlation_is_spearmans_also_with_equal_means() -> None:
    one = Estimates(np.array([0.5, 0.2, 0.2, 0.0, 0.1]), np.full(5, 0.01), 30.0)
    other = Estimates(np.array([0.1, 0.2, 0.4, 0.0, 0.0]), np.full(5, 0.01), 30.0)
    value, low, high = rank_correlation(one, other, confidence_level=0.95) or (0.0, 0.0, 0.0)
    assert pytest.approx(stats.spearmanr(one.means, other.means).statistic) == value
    assert -1 <= low <= value <= high <= 1
    assert (value, low, high) == rank_correlation(one, other, confidence_level=0.95)
    sure = rank_correlation(
        Estimates(np.array([3.0, 2.0, 1.0]), np.zeros(3), 30.0),
        Estimates(np.array([3.0, 2.0, 1.0]), np.zeros(3), 30.0),
        confidence_level=0.95,
    )
    assert pytest.approx((1.0, 1.0, 1.0)) == sure


def test_what_cannot_be_told_has_no_value() -> None:
    single = Estimates.of(np.ones((1, 3)), np.ones(1))
    several = Estimates.of(np.arange(6.0).reshape(2, 3), np.ones(2))
    nothing = Estimates.of(np.zeros((2, 3)), np.ones(2))
    assert None is single.errors
    assert None is welch(single, several, confidence_level=0.95)
    assert None is normalised_difference(single, several, confidence_level=0.95)
    assert None is normalised_difference(nothing, several, confidence_level=0.95)
    assert None is rank_correlation(nothing, several, confidence_level=0.95)
    two = Estimates.of(np.arange(4.0).reshape(2, 2), np.ones(2))
    assert None is rank_correlation(two, two, confidence_level=0.95)
    low, high = welch(nothing, nothing, confidence_level=0.95) or (None, None)
    assert [0.0] * 3 == list(low) == list(high)  # type: ignore[arg-type]


def test_feature_that_an_explanation_does_not_name_counts_as_nothing_in_it() -> None:
    rows = [Row(1, 3.0, 0.5, {"amount": 0.4}), Row(2, 1.0, None, {"country": -0.2}), Row(3, 9.0, None, None)]
    sample = WeighedSample.of(rows, ["amount", "country"])
    assert (2, 1, 0.5) == (sample.explained, sample.failed, sample.stability)
    assert pytest.approx([0.3, -0.05]) == sample.signed().means
    assert pytest.approx([0.3, 0.05]) == sample.absolute().means
    assert pytest.approx([0.75, 0.25]) == sample.naming()
