"""Intervals against statsmodels, and how often they hold the truth in simulated windows."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import pytest
from statsmodels.stats.proportion import proportion_confint

from streams.quality import delta
from streams.quality.classification import binary_figures, multiclass_figures
from streams.quality.confusion import ConfusionMatrix
from streams.quality.figure import Figure
from streams.quality.intervals import f1_interval, macro_interval, wilson_interval

Table = npt.NDArray[np.float64]

WINDOWS = 1000
"""Simulated per scenario. The share that holds the truth then has a standard error of 0.7 points."""


@pytest.mark.parametrize("n", [1, 2, 7, 40, 1000])
@pytest.mark.parametrize("confidence_level", [0.8, 0.95, 0.999])
def test_wilson_interval_equals_statsmodels(n: int, confidence_level: float) -> None:
    for successes in {0, 1, n // 2, n - 1, n}:
        expected = proportion_confint(successes, n, alpha=1 - confidence_level, method="wilson")

        actual = wilson_interval(successes / n, n, confidence_level=confidence_level)

        assert pytest.approx(expected, abs=1e-12) == actual


def test_nothing_observed_excludes_nothing() -> None:
    assert (0.0, 1.0) == wilson_interval(0.0, 0, confidence_level=0.95)


@pytest.mark.parametrize("confidence_level", [0.0, 1.0, 95.0])
def test_confidence_level_outside_zero_and_one_is_refused(confidence_level: float) -> None:
    with pytest.raises(ValueError, match="confidence level"):
        wilson_interval(0.5, 10, confidence_level=confidence_level)


def test_interval_of_f1_is_that_of_the_share_it_is_a_function_of() -> None:
    low, high = proportion_confint(30, 40, method="wilson")

    expected = (2 * low / (1 + low), 2 * high / (1 + high))

    assert pytest.approx(expected) == f1_interval(true_positive=30, errors=10, confidence_level=0.95)


def test_macro_interval_of_one_class_is_its_own() -> None:
    assert pytest.approx((0.6, 0.9)) == macro_interval([0.8], [(0.6, 0.9)])


def test_macro_interval_of_classes_that_move_together_is_the_mean_of_theirs() -> None:
    together = [[1.0, 1.0], [1.0, 1.0]]

    assert pytest.approx((0.45, 0.85)) == macro_interval([0.8, 0.6], [(0.6, 0.9), (0.3, 0.8)], together)


def test_macro_interval_of_independent_classes_is_narrower() -> None:
    low, high = macro_interval([0.8, 0.6], [(0.6, 0.9), (0.3, 0.8)])

    assert pytest.approx(0.7 - (0.2**2 + 0.3**2) ** 0.5 / 2) == low
    assert pytest.approx(0.7 + (0.1**2 + 0.2**2) ** 0.5 / 2) == high


def test_interval_narrows_as_labels_come() -> None:
    cells = {("a", "a"): 8, ("a", "b"): 2, ("b", "a"): 3, ("b", "b"): 7}
    widths: dict[str, list[float]] = {}
    for factor in (1, 4, 16):
        matrix = ConfusionMatrix.from_cells({cell: count * factor for cell, count in cells.items()})
        figures = binary_figures(matrix, positive_class="a", confidence_level=0.95)
        for name, figure in (figures | multiclass_figures(matrix, confidence_level=0.95)).items():
            widths.setdefault(name, []).append((figure.high or 0.0) - (figure.low or 0.0))

    for name, (few, more, many) in widths.items():
        assert few > more > many > 0, name
        # The width shrinks with the root of the sample size.
        assert pytest.approx(2.0, rel=0.1) == more / many, name


@dataclasses.dataclass(frozen=True, eq=False)
class Scenario:
    """A model of known quality: the probability of each (label, prediction) pair."""

    name: str
    table: Table

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple("abcdefghij"[: len(self.table)])

    def figures(self, counts: npt.NDArray[np.int64]) -> dict[str, Figure]:
        matrix = ConfusionMatrix.from_numpy(self.classes, counts)
        binary = binary_figures(matrix, positive_class="a", confidence_level=0.95)
        return binary | multiclass_figures(matrix, confidence_level=0.95)

    def truth(self) -> dict[str, float]:
        """The figures that a window without end would have."""
        figures = self.figures((self.table * 10**12).round().astype(np.int64))
        return {name: figure.value for name, figure in figures.items() if figure.value is not None}


def two_classes(name: str, *, positive: float, recall: float, specificity: float) -> Scenario:
    negative = 1 - positive
    return Scenario(
        name,
        np.array(
            [
                [positive * recall, positive * (1 - recall)],
                [negative * (1 - specificity), negative * specificity],
            ]
        ),
    )


def more_classes(name: str, *, shares: list[float], accuracy: float) -> Scenario:
    """Every class is as often right, and wrong alike."""
    others = len(shares) - 1
    right = np.eye(len(shares)) * accuracy + (1 - np.eye(len(shares))) * (1 - accuracy) / others
    return Scenario(name, np.array(shares)[:, np.newaxis] * right)


EVEN = two_classes("even", positive=0.5, recall=0.8, specificity=0.7)
GOOD = two_classes("good", positive=0.3, recall=0.95, specificity=0.95)
RARE = two_classes("rare", positive=0.1, recall=0.7, specificity=0.95)
FIVE = more_classes("five", shares=[0.2] * 5, accuracy=0.7)
SKEWED = more_classes("skewed", shares=[0.45, 0.25, 0.15, 0.1, 0.05], accuracy=0.85)


@functools.cache
def coverage(scenario: Scenario, n: int) -> dict[str, float]:
    """The share of simulated windows of `n` labels whose interval holds the truth, by metric."""
    generator = np.random.default_rng(20261124)
    truth = scenario.truth()
    held, defined = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    tables = generator.multinomial(n, scenario.table.ravel(), size=WINDOWS)
    for counts in tables.reshape(WINDOWS, *scenario.table.shape):
        for name, figure in scenario.figures(counts).items():
            if figure.low is not None and figure.high is not None:
                defined[name] += 1
                held[name] += figure.low <= truth[name] <= figure.high
    return {name: held[name] / defined[name] for name in truth}


PROPORTIONS = ("accuracy", "precision", "recall", "specificity", "f1")


@pytest.mark.parametrize(
    ("scenario", "n"),
    [(EVEN, 100), (GOOD, 100), (RARE, 100), (FIVE, 100), (SKEWED, 200)],
    ids=lambda value: value.name if isinstance(value, Scenario) else str(value),
)
def test_intervals_hold_the_truth_about_as_often_as_they_say(scenario: Scenario, n: int) -> None:
    held = coverage(scenario, n)

    assert {} == {name: held[name] for name in PROPORTIONS if not 0.93 <= held[name] <= 0.97}
    assert {} == {name: share for name, share in held.items() if not 0.91 <= share <= 0.97}


@pytest.mark.parametrize("scenario", [EVEN, GOOD, FIVE, SKEWED], ids=lambda scenario: scenario.name)
def test_twenty_labels_cost_the_composite_figures_some_of_their_confidence(scenario: Scenario) -> None:
    held = coverage(scenario, 20)

    assert {} == {name: held[name] for name in PROPORTIONS if held[name] < 0.91}
    assert {} == {name: share for name, share in held.items() if share < 0.84}


@pytest.mark.parametrize("terms", [delta.mcc_terms, delta.kappa_terms])
def test_two_classes_vary_as_the_derivatives_of_any_number_of_classes_say(terms: delta.Terms) -> None:
    """They are reckoned without arrays."""
    rng = np.random.default_rng(7)
    for cells in rng.integers(0, 10_000, size=(200, 2, 2)):
        matrix = ConfusionMatrix.from_numpy(["a", "b"], cells)
        smoothed = cells + delta.PSEUDO_OBSERVATIONS / 4
        value, slopes = terms(smoothed)
        share = (value + 1.0) / 2.0
        expected = share * (1.0 - share) / ((smoothed * slopes**2).sum() / 4.0)
        assert expected == pytest.approx(delta.effective_sample_size(matrix, terms, lowest=-1.0), rel=1e-9)
