"""Figures of scores against scikit-learn and against NannyML's published table."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from streams.pair_sums.contribution import score_contribution
from streams.quality import average_precision
from streams.quality.figure import Figure
from streams.quality.scores import SCORE_METRICS, binary_score_figures, multiclass_score_figures
from tests.support.car_loan import PUBLISHED, THRESHOLD, loans_by_chunk
from tests.support.pair_sums import added, sums_of_scores

Scores = npt.NDArray[np.float64]
Events = npt.NDArray[np.bool_]


def figures_of(scores: Scores, happened: Events) -> dict[str, Figure]:
    return binary_score_figures(
        sums_of_scores(scores, happened), labelled=len(scores), positive_class="a", confidence_level=0.95
    )


def calibration_error(scores: Scores, happened: Events) -> float:
    tenths = np.minimum(9, np.floor(np.round(scores * 10, 12)).astype(int))
    gaps = [abs(happened[tenths == tenth].sum() - scores[tenths == tenth].sum()) for tenth in range(10)]
    return float(sum(gaps)) / len(scores)


def scored(generator: np.random.Generator, n: int, decimals: int | None = None) -> tuple[Scores, Events]:
    happened = generator.random(n) < 0.3
    scores = generator.beta(1 + 2 * happened, 3)
    return (scores if decimals is None else scores.round(decimals)), happened


def bracket_of(figure: Figure) -> tuple[float, float]:
    assert figure.bracket is not None
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= figure.bracket[0] <= figure.value <= figure.bracket[1] <= figure.high
    return figure.bracket


@pytest.mark.filterwarnings("ignore:No positive class found")
@pytest.mark.parametrize("decimals", [None, 2, 1])
def test_figures_equal_scikit_learn_on_every_prefix(decimals: int | None) -> None:
    scores, happened = scored(np.random.default_rng(1), 120, decimals)
    for n in range(1, len(scores) + 1):
        seen, events = scores[:n], happened[:n]
        figures = figures_of(seen, events)

        assert pytest.approx(log_loss(events, seen, labels=[False, True]), rel=1e-9) == figures["log_loss"].value
        assert pytest.approx(brier_score_loss(events, seen, labels=[False, True]), rel=1e-9) == figures["brier"].value
        assert pytest.approx(calibration_error(seen, events), abs=1e-12) == figures["expected_calibration_error"].value
        if events.any():
            lowest, highest = bracket_of(figures["average_precision"])
            assert lowest - 1e-12 <= average_precision_score(events, seen) <= highest + 1e-12
        if events.any() and not events.all():
            lowest, highest = bracket_of(figures["roc_auc"])
            assert lowest - 1e-12 <= roc_auc_score(events, seen) <= highest + 1e-12


def test_two_decimals_leave_nothing_open() -> None:
    scores, happened = scored(np.random.default_rng(2), 5_000, 2)
    figures = figures_of(scores, happened)

    for name, expected in (
        ("roc_auc", roc_auc_score(happened, scores)),
        ("average_precision", average_precision_score(happened, scores)),
    ):
        lowest, highest = bracket_of(figures[name])
        assert lowest == highest
        assert pytest.approx(expected, rel=1e-12) == figures[name].value


Draw = Callable[[np.random.Generator, int], Scores]


def beta(a: float, b: float) -> Draw:
    return lambda generator, n: generator.beta(a, b, n)


def exponential(mean: float, decimals: int = 15) -> Draw:
    return lambda generator, n: generator.exponential(mean, n).clip(0, 1).round(decimals)


def logistic(mean: float, deviation: float) -> Draw:
    return lambda generator, n: np.asarray(1 / (1 + np.exp(-generator.normal(mean, deviation, n))))


FRAUD: dict[str, tuple[Draw, Draw]] = {
    "beta": (beta(2, 50), beta(1, 300)),
    "exponential": (exponential(0.01), exponential(0.002)),
    "four decimals": (exponential(0.01, 4), exponential(0.002, 4)),
    "logistic": (logistic(-4, 1.2), logistic(-6, 1.2)),
    "widely spread": (logistic(-4.5, 1.5), logistic(-7, 1.5)),
}
"""How the scores of frauds and of the others are drawn."""


@pytest.mark.parametrize("name", FRAUD)
def test_auc_of_fraud_like_scores_is_known_to_half_a_hundredth(name: str) -> None:
    generator = np.random.default_rng(3)
    frauds, others = FRAUD[name]
    scores = np.concatenate([frauds(generator, 100), others(generator, 49_900)])
    happened = np.arange(50_000) < 100

    lowest, highest = bracket_of(figures_of(scores, happened)["roc_auc"])

    assert (scores < 0.01).mean() > 0.8
    assert lowest <= roc_auc_score(happened, scores) <= highest
    assert highest - lowest < 0.005


def test_car_loan_equals_the_published_table() -> None:
    for chunk, published in zip(loans_by_chunk(), PUBLISHED, strict=True):
        high = [cell for cell in chunk if cell[0] >= THRESHOLD]
        low = [cell for cell in chunk if cell[0] < THRESHOLD]
        assert published.counts == (
            sum(cell[2] for cell in high),
            sum(cell[1] for cell in low),
            sum(cell[1] for cell in high),
            sum(cell[2] for cell in low),
        )
        sums = added(
            {field: count * increment for field, increment in contribution.items()}
            for hundredths, not_repaid, repaid in chunk
            for count, happened in ((not_repaid, False), (repaid, True))
            if count
            for contribution in [score_contribution(hundredths / 100, happened=happened)]
        )
        figure = binary_score_figures(sums, labelled=5_000, positive_class="1", confidence_level=0.95)["roc_auc"]

        lowest, highest = bracket_of(figure)
        assert lowest == highest
        assert pytest.approx(published.figures["roc_auc"], abs=5e-7) == figure.value
        assert 5_000 == figure.n


@pytest.mark.parametrize(
    ("scores", "happened", "reasons"),
    [
        ([], [], dict.fromkeys(SCORE_METRICS, "no_scores")),
        ([0.5, 1.5], [True, False], dict.fromkeys(SCORE_METRICS, "bad_probabilities")),
        ([0.5, 0.7], [True, True], {"roc_auc": "no_negative_labels"}),
        (
            [0.5, 0.7],
            [False, False],
            {"roc_auc": "no_positive_labels", "average_precision": "no_positive_labels"},
        ),
    ],
)
def test_figure_without_value_says_why(scores: list[float], happened: list[bool], reasons: dict[str, str]) -> None:
    sums = sums_of_scores(scores, happened)

    figures = binary_score_figures(sums, labelled=3, positive_class="a", confidence_level=0.95)

    assert reasons == {name: figure.undefined for name, figure in figures.items() if figure.undefined}
    assert set(SCORE_METRICS) == set(figures)


def test_scores_of_an_unnamed_class_mean_nothing() -> None:
    sums = sums_of_scores([0.2, 0.8], [False, True])

    figures = binary_score_figures(sums, labelled=2, positive_class=None, confidence_level=0.95)

    assert dict.fromkeys(SCORE_METRICS, "no_positive_class") == {name: f.undefined for name, f in figures.items()}


def test_without_labels_that_is_the_reason() -> None:
    figures = binary_score_figures({}, labelled=0, positive_class="a", confidence_level=0.95)

    assert dict.fromkeys(SCORE_METRICS, "no_labelled") == {name: f.undefined for name, f in figures.items()}


def test_window_whose_scores_were_all_taken_back_has_none() -> None:
    sums = sums_of_scores([0.25], [True])
    sums.subtract(sums_of_scores([0.25], [True]))

    figures = binary_score_figures(sums, labelled=1, positive_class="a", confidence_level=0.95)

    assert {"no_scores"} == {figure.undefined for figure in figures.values()}


def test_score_of_the_predicted_class_tells_calibration_alone() -> None:
    scores, right = scored(np.random.default_rng(4), 200)

    figures = multiclass_score_figures(sums_of_scores(scores, right), labelled=200, confidence_level=0.95)

    assert pytest.approx(calibration_error(scores, right)) == figures["expected_calibration_error"].value
    assert {
        "roc_auc": "no_positive_class",
        "average_precision": "no_positive_class",
        "log_loss": "no_scores",
        "brier": "no_scores",
    } == {name: figure.undefined for name, figure in figures.items() if figure.undefined}


@pytest.mark.parametrize("n", [1, 5, 1000])
def test_perfect_scores_are_not_certain(n: int) -> None:
    scores, happened = np.repeat([0.0, 1.0], n), np.repeat([False, True], n)
    figures = figures_of(scores, happened)

    assert 1.0 == figures["roc_auc"].value == figures["roc_auc"].high
    assert 1.0 == figures["average_precision"].value
    for name, figure in figures.items():
        assert figure.low is not None
        assert figure.high is not None
        assert figure.high - figure.low > 0.1 / (2 * n) ** 0.75, name


def test_equal_scores_rank_nothing() -> None:
    figures = figures_of(np.full(10, 0.3), np.arange(10) < 4)

    assert 0.5 == figures["roc_auc"].value
    assert (0.5, 0.5) == figures["roc_auc"].bracket
    assert 0.4 == figures["average_precision"].value


def test_bracket_of_long_bins_holds_every_order() -> None:
    generator = np.random.default_rng(5)
    scores = np.concatenate([generator.uniform(0.401, 0.409, 200), generator.uniform(0.411, 0.419, 100)])
    happened = generator.random(300) < 0.4

    lowest, highest = bracket_of(figures_of(scores, happened)["average_precision"])

    assert lowest < average_precision_score(happened, scores) < highest


def test_examples_of_average_precision_run_as_written() -> None:
    assert 0 == doctest.testmod(average_precision).failed
