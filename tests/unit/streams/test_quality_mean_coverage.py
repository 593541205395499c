"""How often the intervals of scores and of predicted numbers hold the truth, in simulated windows."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pytest

from streams.pair_sums.contribution import regression_contribution, score_contribution
from streams.quality.calibration import expected_calibration_error
from streams.quality.figure import Figure
from streams.quality.regression import regression_figures
from streams.quality.scores import binary_score_figures
from tests.support.pair_sums import added

POPULATION = 4_000
"""Pairs that windows are drawn from, with replacement: their own figures are the truth."""
WINDOWS = 400
"""Simulated per case. The share that holds the truth then has a standard error of 1.1 points."""

Sums = Mapping[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Population:
    """What every pair of a model adds to its window, and how figures come from the sums."""

    contributions: tuple[Sums, ...]
    figures: Callable[[Sums], dict[str, Figure]]

    def truth(self) -> dict[str, float]:
        return {name: figure.value or 0.0 for name, figure in self.figures(added(self.contributions)).items()}

    def coverage(self, n: int) -> dict[str, float]:
        """The share of windows of n pairs whose interval holds the truth, by metric, where defined."""
        generator = np.random.default_rng(20261124)
        truth = self.truth()
        held: Counter[str] = Counter()
        defined: Counter[str] = Counter()
        for drawn in generator.integers(0, len(self.contributions), (WINDOWS, n)):
            for name, figure in self.figures(added(self.contributions[pair] for pair in drawn)).items():
                if figure.low is not None and figure.high is not None:
                    defined[name] += 1
                    held[name] += figure.low <= truth[name] <= figure.high
        return {name: held[name] / defined[name] for name in truth}


def score_population(*, rate: float, separation: float, sharpness: float = 1.0) -> Population:
    """Normal log odds, `separation` apart; calibrated if `sharpness` is 1."""
    generator = np.random.default_rng(7)
    happened = generator.random(POPULATION) < rate
    evidence = generator.normal(0, 1, POPULATION) + separation * happened
    log_odds = separation * evidence - separation**2 / 2 + np.log(rate / (1 - rate))
    scores = 1 / (1 + np.exp(-sharpness * log_odds))
    return Population(
        tuple(
            score_contribution(float(score), happened=bool(event))
            for score, event in zip(scores, happened, strict=True)
        ),
        functools.partial(binary_score_figures, labelled=1, positive_class="a", confidence_level=0.95),
    )


def number_population(labels: str, errors: str) -> Population:
    generator = np.random.default_rng(8)
    truth = {
        "even": generator.uniform(20, 80, POPULATION),
        "skewed": generator.lognormal(3, 0.5, POPULATION),
    }[labels]
    answers = {
        "normal": np.abs(truth + generator.normal(1, 5, POPULATION)),
        "heavy": np.abs(truth + 4 * generator.standard_t(5, POPULATION)),
        "relative": truth * generator.lognormal(0, 0.2, POPULATION),
    }[errors]
    return Population(
        tuple(
            regression_contribution(predicted=float(answer), label=float(label))
            for answer, label in zip(answers, truth, strict=True)
        ),
        functools.partial(regression_figures, confidence_level=0.95),
    )


@pytest.mark.parametrize(
    ("rate", "separation", "sharpness"), [(0.5, 1.5, 1.0), (0.3, 3.0, 1.0), (0.1, 1.5, 1.0), (0.5, 1.5, 0.5)]
)
def test_intervals_of_scores_hold_the_truth_about_as_often_as_they_say(
    rate: float, separation: float, sharpness: float
) -> None:
    held = score_population(rate=rate, separation=separation, sharpness=sharpness).coverage(200)

    assert {} == {name: share for name, share in held.items() if not 0.91 <= share <= 0.99}


def test_intervals_of_ranking_figures_narrow_as_much_as_labels_say_not_by_the_width_of_the_bins() -> None:
    population = score_population(rate=0.5, separation=1.5)

    figures = population.figures(added(population.contributions))

    for name in ("roc_auc", "average_precision"):
        figure = figures[name]
        assert figure.low is not None
        assert figure.high is not None
        assert figure.bracket is not None
        # Of four thousand labels: 1.96 standard errors are 0.011 and 0.015, the bins leave 0.003 and 0.005 open.
        assert 0.95 <= (figure.high - figure.low) / 2 / {"roc_auc": 0.0113, "average_precision": 0.0150}[name] <= 1.05
        assert figure.low < figure.bracket[0] < figure.bracket[1] < figure.high


def test_bins_that_tell_less_than_the_labels_do_widen_the_interval_to_what_they_leave_possible() -> None:
    # All scores lie in one bin: nothing is known of their order, however many there are.
    generator = np.random.default_rng(3)
    pairs = [
        score_contribution(float(score), happened=bool(event))
        for score, event in zip(generator.uniform(0.301, 0.309, 2_000), generator.random(2_000) < 0.5, strict=True)
    ]

    figures = binary_score_figures(added(pairs), labelled=2_000, positive_class="a", confidence_level=0.95)

    assert (0.0, 1.0) == (figures["roc_auc"].low, figures["roc_auc"].high)
    low, high = figures["average_precision"].bracket or (0.0, 0.0)
    assert low < 0.35
    assert high == 1.0
    assert figures["average_precision"].low == low
    assert figures["average_precision"].high == high


def test_calibration_error_that_noise_may_hide_is_held_about_as_often_as_said() -> None:
    # Labels of 20,000 calibrated scores: the true error, 0.006, is half of what noise adds to that of 10,000.
    generator = np.random.default_rng(20261125)
    happened = np.arange(20_000) < 10_000
    evidence = generator.normal(0, 1, 20_000) + 1.5 * happened
    scores = 1 / (1 + np.exp(1.5**2 / 2 - 1.5 * evidence))
    tenths = np.floor(scores * 10).astype(int)
    cells = np.bincount(tenths * 2 + happened, minlength=20)
    mean_scores = np.bincount(tenths, scores, minlength=10) / np.bincount(tenths, minlength=10)
    drawn = generator.multinomial(10_000, cells / cells.sum(), size=4_000)

    truth = _calibration_error(cells, mean_scores).value
    figures = [_calibration_error(counts, mean_scores) for counts in drawn]

    assert truth is not None
    assert pytest.approx(0.006, abs=0.001) == truth
    held = sum(figure.low is not None and figure.low <= truth <= (figure.high or 0.0) for figure in figures)
    # The share of windows has a standard error of a third of a point.
    assert 0.94 <= held / len(figures) <= 0.965


def _calibration_error(cells: npt.NDArray[np.int64], mean_scores: npt.NDArray[np.float64]) -> Figure:
    """Of counts by tenth of the score and event: (tenth, did not happen), (tenth, happened), ..."""
    sizes = cells.reshape(10, 2).sum(axis=1).astype(float)
    happened = cells[1::2].astype(float)
    scores = sizes * mean_scores
    return expected_calibration_error(
        scores=scores, happened=happened, sizes=sizes, gaps=np.abs(scores - happened), confidence_level=0.95
    )


def test_interval_of_a_good_calibration_reaches_down_to_nothing() -> None:
    figures = score_population(rate=0.3, separation=1.5)

    assert 0.9 <= _share_reaching_zero(figures, n=100)


def _share_reaching_zero(population: Population, *, n: int) -> float:
    generator = np.random.default_rng(9)
    drawn = generator.integers(0, len(population.contributions), (WINDOWS, n))
    lows = [
        population.figures(added(population.contributions[pair] for pair in pairs))["expected_calibration_error"].low
        for pairs in drawn
    ]
    return lows.count(0.0) / WINDOWS


@pytest.mark.parametrize(
    ("labels", "errors", "least"),
    [("even", "normal", 0.92), ("even", "heavy", 0.88), ("skewed", "relative", 0.87), ("skewed", "normal", 0.80)],
)
def test_intervals_of_numbers_hold_the_truth_unless_tails_are_long(labels: str, errors: str, least: float) -> None:
    held = number_population(labels, errors).coverage(100)

    assert {} == {name: share for name, share in held.items() if not least <= share <= 0.99}
    assert 0.92 <= held["mae"] <= 0.98
    assert 0.92 <= held["bias"] <= 0.98
