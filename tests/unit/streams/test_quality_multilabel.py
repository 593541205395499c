"""Figures of sets of classes, against scikit-learn on every prefix."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, precision_score, recall_score

from streams.quality.figure import UndefinedReason
from streams.quality.multilabel import MULTILABEL_METRICS, multilabel_class_figures, multilabel_figures
from tests.support.pair_sums import sums_of_sets

CLASSES = ("bags", "hats", "shoes", "toys", "é=")


def contribution(predicted: set[str], label: set[str]) -> dict[str, int]:
    return sums_of_sets(predicted & label, predicted - label, label - predicted)


def indicators(sets: list[set[str]], classes: list[str]) -> npt.NDArray[np.int64]:
    return np.array([[name in each for name in classes] for each in sets], dtype=np.int64)


def drawn(rng: random.Random, share: float) -> set[str]:
    return {name for name in CLASSES if rng.random() < share}


@pytest.mark.parametrize("seed", range(10))
def test_figures_are_those_of_scikit_learn_on_every_prefix(seed: int) -> None:
    rng = random.Random(seed)
    labels, predictions, sums = list[set[str]](), list[set[str]](), Counter[str]()
    for _ in range(40):
        labels.append(drawn(rng, 0.4))
        predictions.append(labels[-1] ^ drawn(rng, 0.2))
        sums.update(contribution(predictions[-1], labels[-1]))
        figures = multilabel_figures(sums, class_names=(), unlabelled=0, confidence_level=0.95)
        seen = sorted(set().union(*labels, *predictions))
        if len(seen) < 2:
            continue  # which scikit-learn takes for no indicator matrix
        true, predicted = indicators(labels, seen), indicators(predictions, seen)
        assert accuracy_score(true, predicted) == figures["subset_accuracy"].value
        assert hamming_loss(true, predicted) == pytest.approx(figures["hamming_loss"].value, abs=1e-12)
        scores = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
        for name, score in scores.items():
            of_each = score(true, predicted, average=None, zero_division=np.nan)
            if np.isnan(of_each).all():
                assert None is figures[f"{name}_macro"].value
                assert None is figures[f"{name}_micro"].value
                continue
            assert score(true, predicted, average="micro") == pytest.approx(figures[f"{name}_micro"].value)
            macro = figures[f"{name}_macro"]
            assert np.nanmean(of_each) == pytest.approx(macro.value)
            assert [each for each, value in zip(seen, of_each, strict=True) if np.isnan(value)] == [
                *macro.classes_left_out
            ]
            by_class = multilabel_class_figures(sums)
            for each, value in zip(seen, of_each, strict=True):
                figure = getattr(by_class[each], name)
                assert figure is None if np.isnan(value) else value == pytest.approx(figure)
        assert dict(zip(seen, true.sum(axis=0).tolist(), strict=True)) == {
            name: each.support for name, each in multilabel_class_figures(sums).items()
        }
        for figure in figures.values():
            if figure.value is not None:
                assert figure.low is not None
                assert figure.high is not None
                assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_classes_that_are_declared_are_columns_of_the_matrix_and_left_out_of_averages() -> None:
    sums = contribution({"bags"}, {"bags", "hats"})
    figures = multilabel_figures(sums, class_names=CLASSES, unlabelled=1, confidence_level=0.95)
    assert 1 / 5 == figures["hamming_loss"].value
    assert (1 / 10, 6 / 10) == figures["hamming_loss"].possible
    assert ("shoes", "toys", "é=") == figures["recall_macro"].classes_left_out


def test_missing_labels_leave_possible_that_all_sets_are_right_or_wrong() -> None:
    sums = Counter(contribution({"bags"}, {"bags"}))
    sums.update(contribution(set(), {"bags"}))
    figures = multilabel_figures(sums, class_names=(), unlabelled=2, confidence_level=0.95)
    assert (0.25, 0.75) == figures["subset_accuracy"].possible
    # Which classes the missing labels have is not known.
    assert None is figures["hamming_loss"].possible


def test_nothing_labelled_is_undefined_and_everything_still_possible() -> None:
    figures = multilabel_figures({}, class_names=("bags",), unlabelled=3, confidence_level=0.95)
    assert list(MULTILABEL_METRICS) == list(figures)
    assert {UndefinedReason.NO_LABELLED} == {figure.undefined for figure in figures.values()}
    assert (0.0, 1.0) == figures["subset_accuracy"].possible


def test_two_empty_sets_are_equal_and_leave_all_ratios_undefined() -> None:
    figures = multilabel_figures(contribution(set(), set()), class_names=(), unlabelled=0, confidence_level=0.95)
    assert 1.0 == figures["subset_accuracy"].value
    assert {
        "hamming_loss": UndefinedReason.NO_POSITIVE_LABELS,
        "precision_micro": UndefinedReason.NO_POSITIVE_PREDICTIONS,
        "precision_macro": UndefinedReason.NO_POSITIVE_PREDICTIONS,
        "recall_micro": UndefinedReason.NO_POSITIVE_LABELS,
        "recall_macro": UndefinedReason.NO_POSITIVE_LABELS,
        "f1_micro": UndefinedReason.NO_POSITIVE_LABELS,
        "f1_macro": UndefinedReason.NO_POSITIVE_LABELS,
    } == {name: figure.undefined for name, figure in figures.items() if figure.undefined}


def test_beyond_the_limit_of_classes_what_needs_each_class_is_undefined_and_the_rest_exact() -> None:
    sums = Counter({"n": 2, "s": 1, "F=__other__": 2, "M=__other__": 1, "F=bags": 1})
    sums.update({"FF": 5, "FP": 5, "FL": 7, "PP": 5, "PL": 7, "LL": 10})
    figures = multilabel_figures(sums, class_names=(), unlabelled=0, confidence_level=0.95)
    overflown = {name for name, figure in figures.items() if figure.undefined is UndefinedReason.CLASS_OVERFLOW}
    assert {"hamming_loss", "precision_macro", "recall_macro", "f1_macro"} == overflown
    assert 0.75 == figures["recall_micro"].value
    assert 0.5 == figures["subset_accuracy"].value
