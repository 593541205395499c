"""How often the intervals of scores and of predicted numbers hold the truth, in simulated windows."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from streams.pair_sums.contribution import regression_contribution, score_contribution
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

    assert {} == {name: held[name] for name in ("log_loss", "brier") if not 0.91 <= held[name] <= 0.98}
    # Brackets and the shape of the calibration error make these wider than they need be.
    assert {} == {name: share for name, share in held.items() if share < 0.93 and name not in ("log_loss", "brier")}


def test_interval_of_a_good_calibration_reaches_down_to_nothing() -> None:
    figures = score_population(rate=0.3, separation=1.5)

    assert 0.95 <= _share_reaching_zero(figures, n=100)


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
