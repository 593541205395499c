"""The examples that take signals from models: those of scikit-learn on real models, those of networks on arrays."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from deploy.examples.activation_signals import attention_entropy, dead_share, layer_norm
from deploy.examples.sklearn_signals import classifier_signals, forest_signals, prediction
from schemas.codec import read_prediction

NOW_MS = 1_795_435_200_000
TREES = 10


def drawn(classes: int) -> tuple[Any, Any]:
    rows, labels = make_classification(400, 6, n_informative=4, n_classes=classes, random_state=classes)
    return rows, np.array(["a", "b", "c"])[labels]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
def test_votes_of_a_forest_are_those_of_its_trees(kind: Any, classes: int) -> None:
    rows, labels = drawn(classes)
    forest = kind(TREES, max_depth=3, random_state=0).fit(rows[:300], labels[:300])
    found = forest_signals(forest, rows[300:320])
    for row, signals in zip(rows[300:320], found, strict=True):
        votes = [forest.classes_[int(tree.predict([row])[0])] for tree in forest.estimators_]
        shares = [votes.count(name) / TREES for name in forest.classes_]
        assert signals["vote_entropy"] == pytest.approx(stats.entropy(shares, base=classes))
        assert signals["vote_share"] == votes.count(forest.predict([row])[0]) / TREES
        second, best = sorted(forest.predict_proba([row])[0])[-2:]
        assert signals["margin"] == pytest.approx(best - second)


def test_trees_agree_less_between_the_classes_than_within_them() -> None:
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.normal(-2, 1, (200, 3)), rng.normal(2, 1, (200, 3))])
    forest = RandomForestClassifier(TREES, random_state=0).fit(rows, ["low"] * 200 + ["high"] * 200)
    within = np.mean([each["vote_entropy"] for each in forest_signals(forest, rng.normal(-2, 1, (100, 3)))])
    between = np.mean([each["vote_entropy"] for each in forest_signals(forest, rng.normal(0, 1, (100, 3)))])
    assert between > 3 * within


def test_margin_of_any_classifier_is_that_of_its_two_best_classes() -> None:
    rows, labels = drawn(3)
    classifier = LogisticRegression().fit(rows, labels)
    ordered = np.sort(classifier.predict_proba(rows), axis=1)
    margins = [each["margin"] for each in classifier_signals(classifier, rows)]
    assert margins == pytest.approx(ordered[:, 2] - ordered[:, 1])


def test_prediction_is_one_that_is_read_with_its_signals() -> None:
    rows, labels = drawn(2)
    forest = RandomForestClassifier(TREES, random_state=0).fit(rows, labels)
    [signals] = forest_signals(forest, rows[:1])
    sent = prediction("r-1", forest, rows[0], signals, model="m", version="3")
    read = read_prediction(json.dumps(sent).encode(), timestamp_ms=NOW_MS, now_ms=NOW_MS, max_future_skew_ms=0)
    assert (signals, forest.predict(rows[:1])[0]) == (read.signals, read.prediction)
    assert read.score == max(forest.predict_proba(rows[:1])[0])


def test_signals_of_a_network_are_of_each_row() -> None:
    rng = np.random.default_rng(2)
    pictures = rng.normal(size=(5, 4, 3, 2))
    assert layer_norm(pictures) == pytest.approx([np.sqrt(np.mean(picture**2)) for picture in pictures])
    behind_relu = np.maximum(pictures, 0.0)
    assert dead_share(behind_relu) == pytest.approx([np.mean(picture <= 0) for picture in pictures])
    weights = rng.dirichlet(np.ones(7), size=(5, 2, 3))
    expected = [np.mean([stats.entropy(each, base=7) for each in row.reshape(-1, 7)]) for row in weights]
    assert attention_entropy(weights) == pytest.approx(expected)
    assert np.isnan(attention_entropy(np.ones((2, 1, 1)))).all()
