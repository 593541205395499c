"""Figures of predicted numbers against scikit-learn, and the intervals of means."""

from __future__ import annotations

import doctest
import warnings
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    r2_score,
    root_mean_squared_error,
    root_mean_squared_log_error,
)

from streams.quality import mean_intervals
from streams.quality.figure import Figure
from streams.quality.mean_intervals import size_interval, student_quantile
from streams.quality.regression import REGRESSION_METRICS, regression_figures
from tests.support.pair_sums import sums_of_numbers

Numbers = npt.NDArray[np.float64]


def figures_of(labels: Numbers, predictions: Numbers) -> dict[str, Figure]:
    return regression_figures(sums_of_numbers(labels, predictions), confidence_level=0.95)


def oracle(labels: Numbers, predictions: Numbers) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one label has no variance
        return {
            "mae": mean_absolute_error(labels, predictions),
            "rmse": root_mean_squared_error(labels, predictions),
            "mape": mean_absolute_percentage_error(labels, predictions),
            "r2": r2_score(labels, predictions),
            "bias": float(np.mean(predictions - labels)),
        }


def test_figures_equal_scikit_learn_on_every_prefix() -> None:
    generator = np.random.default_rng(1)
    labels = generator.lognormal(3, 1, 150)
    predictions = labels * generator.lognormal(0, 0.3, 150)
    for n in range(1, 151):
        seen, answers = labels[:n], predictions[:n]
        expected = oracle(seen, answers) | {"rmsle": root_mean_squared_log_error(seen, answers)}
        figures = figures_of(seen, answers)

        assert set(REGRESSION_METRICS) == set(figures)
        for name, value in expected.items():
            if name == "r2" and n == 1:
                assert "constant_labels" == figures[name].undefined
                continue
            assert pytest.approx(value, rel=1e-9, abs=1e-12) == figures[name].value, (name, n)
            assert n == figures[name].n


@pytest.mark.parametrize(
    ("offset", "spread"),
    [(0.0, 1.0), (1e12 - 1e6, 1.0), (1e9, 1.0), (-1e6, 50.0), (0.0, 1e11), (0.0, 1e-12), (273.15, 1e-6)],
)
def test_figures_equal_scikit_learn_wherever_labels_lie(offset: float, spread: float) -> None:
    generator = np.random.default_rng(2)
    labels = offset + generator.normal(0, spread, 500)
    predictions = labels + generator.normal(0, spread / 3, 500)
    figures = figures_of(labels, predictions)

    for name, value in oracle(labels, predictions).items():
        # A mean that cancels to nothing has no digits to agree on.
        slack = 1e-12 * spread if name == "bias" else 0.0
        assert pytest.approx(value, rel=1e-9, abs=slack) == figures[name].value, name


def test_r2_keeps_its_digits_where_those_of_the_mean_run_out() -> None:
    generator = np.random.default_rng(3)
    labels = 1e9 + generator.normal(0, 1e-3, 200)
    predictions = labels + generator.normal(0, 3e-4, 200)
    exact = [Fraction(float(label)) for label in labels]
    mean = sum(exact) / 200
    variance = sum((label - mean) ** 2 for label in exact)
    squared_errors = sum(Fraction(float(error)) ** 2 for error in predictions - labels)

    assert pytest.approx(float(1 - squared_errors / variance), rel=1e-14) == figures_of(labels, predictions)["r2"].value


def test_largest_values_stay_finite() -> None:
    figures = figures_of(np.array([1e12, -1e12, 1e-12]), np.array([-1e12, 1e12, 1e12]))

    for name in ("mae", "rmse", "mape", "r2", "bias"):
        figure = figures[name]
        assert figure.low is not None
        assert figure.value is not None
        assert figure.high is not None
        assert -np.inf < figure.low <= figure.value <= figure.high < np.inf, name


@pytest.mark.parametrize(
    ("labels", "predictions", "reasons"),
    [
        ([], [], dict.fromkeys(REGRESSION_METRICS, "no_labelled")),
        ([0.0, 1.0], [1.0, 2.0], {"mape": "zero_labels"}),
        ([-0.5, 1.0], [1.0, 2.0], {"rmsle": "negative_values"}),
        ([0.5, 1.0], [-1.0, 2.0], {"rmsle": "negative_values"}),
        ([0.1, 0.1, 0.1], [0.1, 0.2, 0.3], {"r2": "constant_labels"}),
        ([1e12, 1e12], [1.0, 2.0], {"r2": "constant_labels"}),
        ([1e-160, 3e-160], [1e12, 1e12], {"r2": "constant_labels"}),
    ],
)
def test_figure_without_value_says_why(labels: list[float], predictions: list[float], reasons: dict[str, str]) -> None:
    figures = figures_of(np.array(labels), np.array(predictions))

    assert reasons == {name: figure.undefined for name, figure in figures.items() if figure.undefined}


def test_labels_that_differ_in_their_last_bit_are_not_constant() -> None:
    labels = np.array([1.0, np.nextafter(1.0, 2.0)])

    assert 1.0 == figures_of(labels, labels)["r2"].value


def test_bias_is_positive_where_the_model_says_too_much() -> None:
    assert 2.0 == figures_of(np.array([1.0, 5.0]), np.array([4.0, 6.0]))["bias"].value


def test_interval_of_squared_normal_errors_is_that_of_a_variance() -> None:
    low, high = size_interval(1.0, 3.0, n=200, confidence_level=0.95)

    assert pytest.approx(200 / stats.chi2.ppf([0.975, 0.025], 200), rel=0.01) == (low, high)


@pytest.mark.parametrize("degrees", [3, 9, 30, 1000])
@pytest.mark.parametrize("confidence_level", [0.8, 0.95])
def test_student_quantile_is_good_to_one_percent(degrees: int, confidence_level: float) -> None:
    expected = stats.t.ppf((1 + confidence_level) / 2, degrees)

    assert pytest.approx(expected, rel=0.01) == student_quantile(degrees, confidence_level=confidence_level)


def test_examples_in_docstrings_run_as_written() -> None:
    assert 0 == doctest.testmod(mean_intervals).failed
