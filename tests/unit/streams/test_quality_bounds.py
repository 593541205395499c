"""Bounds of what missing labels leave possible, against trying out every outcome."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from streams.quality.bounds import (
    fbeta_bounds,
    precision_bounds,
    recall_bounds,
    share_bounds,
    specificity_bounds,
)
from streams.quality.confusion import BinaryCounts
from streams.quality.figure import Bounds

SMALL = range(3)


def ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def outcomes(counts: BinaryCounts) -> Iterator[tuple[int, int, int, int]]:
    """Every (TP, FP, FN, TN) that labels for the unlabelled predictions can lead to."""
    for true_among_positive in range(counts.unlabelled_positive + 1):
        for true_among_negative in range(counts.unlabelled_negative + 1):
            yield (
                counts.true_positive + true_among_positive,
                counts.false_positive + counts.unlabelled_positive - true_among_positive,
                counts.false_negative + true_among_negative,
                counts.true_negative + counts.unlabelled_negative - true_among_negative,
            )


METRICS: dict[str, tuple[Callable[[BinaryCounts], Bounds | None], Callable[..., float | None]]] = {
    "precision": (precision_bounds, lambda tp, fp, fn, tn: ratio(tp, tp + fp)),
    "recall": (recall_bounds, lambda tp, fp, fn, tn: ratio(tp, tp + fn)),
    "specificity": (specificity_bounds, lambda tp, fp, fn, tn: ratio(tn, tn + fp)),
    "f1": (
        lambda counts: fbeta_bounds(counts, beta=1),
        lambda tp, fp, fn, tn: ratio(2 * tp, 2 * tp + fp + fn),
    ),
    "f2": (
        lambda counts: fbeta_bounds(counts, beta=2),
        lambda tp, fp, fn, tn: ratio(5 * tp, 5 * tp + fp + 4 * fn),
    ),
    "f0.5": (
        lambda counts: fbeta_bounds(counts, beta=0.5),
        lambda tp, fp, fn, tn: ratio(1.25 * tp, 1.25 * tp + fp + 0.25 * fn),
    ),
}


@pytest.mark.parametrize("metric", METRICS)
def test_bounds_are_the_extremes_over_every_outcome(metric: str) -> None:
    bounds_of, value_of = METRICS[metric]
    for tp, fp, fn, tn, up, un in itertools.product(*[SMALL] * 6):
        counts = BinaryCounts(
            true_positive=tp,
            false_positive=fp,
            false_negative=fn,
            true_negative=tn,
            unlabelled_positive=up,
            unlabelled_negative=un,
        )
        values = [value for outcome in outcomes(counts) if (value := value_of(*outcome)) is not None]

        expected = (min(values), max(values)) if values else None

        assert pytest.approx(expected, abs=1e-12) == bounds_of(counts), counts


def test_accuracy_may_end_with_every_missing_label_wrong_or_right() -> None:
    assert (0.625, 0.985) == share_bounds(correct=625, n=640, unlabelled=360)


def test_nothing_is_possible_without_predictions() -> None:
    assert share_bounds(correct=0, n=0, unlabelled=0) is None


def test_everything_is_possible_without_labels() -> None:
    assert (0.0, 1.0) == share_bounds(correct=0, n=0, unlabelled=5)
