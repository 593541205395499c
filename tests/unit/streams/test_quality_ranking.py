"""Figures of ranked items, against scikit-learn and against their definitions on every prefix."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from streams.pair_sums.lists import ranking_contribution
from streams.quality.figure import UndefinedReason
from streams.quality.ranking import RANKING_METRICS, ranking_figures

ITEMS = 30


def ranks_of(ranked: Sequence[int], relevant: set[int]) -> list[int]:
    return [rank for rank, item in enumerate(ranked, start=1) if item in relevant]


def ndcg_of(ranked: Sequence[int], relevant: set[int], at_k: int) -> float:
    """scikit-learn's, items that are not in the list ranked behind all others and beyond k."""
    # As many items more as it takes to be beyond k: they are not relevant, and the model saw them before the rest.
    others = [*range(ITEMS, ITEMS + at_k)]
    order = [*ranked, *others, *(item for item in range(ITEMS) if item not in ranked)]
    true = np.array([[item in relevant for item in order]], dtype=np.int64)
    score: float = ndcg_score(true, np.arange(len(order), 0, -1)[np.newaxis], k=at_k)
    return score


@pytest.mark.parametrize("at_k", [1, 3, 10, 64])
@pytest.mark.parametrize("seed", range(5))
def test_figures_are_the_means_of_their_definitions_on_every_prefix(seed: int, at_k: int) -> None:
    rng = random.Random(seed)
    sums = Counter[str]()
    of_each: dict[str, list[float]] = {name: [] for name in RANKING_METRICS}
    for _ in range(40):
        ranked = rng.sample(range(ITEMS), rng.choice([0, 2, 12, 20]))
        relevant = set(rng.sample(range(ITEMS), rng.choice([0, 1, 1, 2, 5])))
        ranks = ranks_of(ranked, relevant)
        sums.update(ranking_contribution(ranks, relevant=len(relevant)))
        hits = sum(rank <= at_k for rank in ranks)
        of_each["hit_rate_at_k"].append(hits > 0)
        of_each["precision_at_k"].append(hits / at_k)
        of_each["mrr"].append(1 / ranks[0] if ranks else 0.0)
        if relevant:
            of_each["recall_at_k"].append(hits / len(relevant))
            of_each["ndcg_at_k"].append(ndcg_of(ranked, relevant, at_k))
        for name, figure in ranking_figures(sums, at_k=at_k, confidence_level=0.95).items():
            assert len(of_each[name]) == figure.n
            if not of_each[name]:
                assert UndefinedReason.NO_POSITIVE_LABELS is figure.undefined
                continue
            assert np.mean(of_each[name]) == pytest.approx(figure.value, abs=1e-12)
            assert figure.low is not None
            assert figure.high is not None
            assert 0 <= figure.low <= np.mean(of_each[name]) + 1e-12
            assert np.mean(of_each[name]) - 1e-12 <= figure.high <= 1


def test_mean_reciprocal_rank_is_that_of_scikit_learn_where_one_item_is_relevant() -> None:
    rng = random.Random(1)
    sums, rows = Counter[str](), []
    for _ in range(50):
        rank = rng.randint(1, 20)
        sums.update(ranking_contribution([rank], relevant=1))
        rows.append(np.arange(1, 21) == rank)
    expected = label_ranking_average_precision_score(np.array(rows), np.tile(np.arange(20, 0, -1), (50, 1)))
    assert expected == pytest.approx(ranking_figures(sums, at_k=10, confidence_level=0.95)["mrr"].value)


def test_interval_rests_on_the_spread_of_the_values_themselves() -> None:
    """The sums of squares that the bins give are those of the rankings, whatever k is."""
    rng = random.Random(3)
    for at_k in (2, 7):
        values: dict[str, list[float]] = {"precision_at_k": [], "recall_at_k": [], "ndcg_at_k": []}
        sums = Counter[str]()
        for _ in range(60):
            ranked, relevant = rng.sample(range(12), 8), set(rng.sample(range(12), rng.randint(1, 6)))
            hits = [rank for rank in ranks_of(ranked, relevant) if rank <= at_k]
            sums.update(ranking_contribution(ranks_of(ranked, relevant), relevant=len(relevant)))
            values["precision_at_k"].append(len(hits) / at_k)
            values["recall_at_k"].append(len(hits) / len(relevant))
            values["ndcg_at_k"].append(ndcg_of(ranked, relevant, at_k))
        for name, each in values.items():
            figure = ranking_figures(sums, at_k=at_k, confidence_level=0.95)[name]
            assert figure.low is not None
            assert figure.high is not None
            assert 2 * 1.96 * np.std(each) / 60**0.5 == pytest.approx(figure.high - figure.low, rel=0.07)


def test_nothing_labelled_is_undefined() -> None:
    figures = ranking_figures({}, at_k=10, confidence_level=0.95)
    assert list(RANKING_METRICS) == list(figures)
    assert {UndefinedReason.NO_LABELLED} == {figure.undefined for figure in figures.values()}
