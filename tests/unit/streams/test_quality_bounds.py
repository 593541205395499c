"""Bounds of what missing labels leave possible, against trying out every outcome."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from streams.quality.bounds import (
    balanced_accuracy_bounds,
    fbeta_bounds,
    kappa_bounds,
    mcc_bounds,
    precision_bounds,
    recall_bounds,
    share_bounds,
    specificity_bounds,
)
from streams.quality.class_bounds import (
    f1_macro_bounds,
    f1_weighted_bounds,
    precision_macro_bounds,
    precision_weighted_bounds,
    recall_macro_bounds,
)
from streams.quality.confusion import BinaryCounts, ConfusionMatrix
from streams.quality.figure import Bounds

SMALL = range(3)


def ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def outcomes(counts: BinaryCounts) -> Iterator[tuple[int, int, int, int]]:
    """Every (TP, FP, FN, TN) that labels for the unlabelled predictions can lead to; some may never come."""
    for positives, negatives in itertools.product(
        splits(counts.unlabelled_positive), splits(counts.unlabelled_negative)
    ):
        yield (
            counts.true_positive + positives[0],
            counts.false_positive + positives[1],
            counts.false_negative + negatives[0],
            counts.true_negative + negatives[1],
        )


def splits(unlabelled: int) -> Iterator[tuple[int, int]]:
    """How many labels of so many may turn out positive, and how many negative."""
    for positive in range(unlabelled + 1):
        for negative in range(unlabelled + 1 - positive):
            yield positive, negative


def balanced_accuracy(tp: int, fp: int, fn: int, tn: int) -> float | None:
    recalls = [recall for recall in (ratio(tp, tp + fn), ratio(tn, tn + fp)) if recall is not None]
    return sum(recalls) / len(recalls) if recalls else None


def mcc(tp: int, fp: int, fn: int, tn: int) -> float | None:
    return ratio(tp * tn - fp * fn, math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def kappa(tp: int, fp: int, fn: int, tn: int) -> float | None:
    n = tp + fp + fn + tn
    if not n:
        return None
    agreed, by_chance = (tp + tn) / n, ((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn)) / n**2
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


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
    "balanced_accuracy": (balanced_accuracy_bounds, balanced_accuracy),
    "mcc": (mcc_bounds, mcc),
    "kappa": (kappa_bounds, kappa),
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


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(60))
def test_bounds_are_the_extremes_also_of_unequal_counts(metric: str, seed: int) -> None:
    bounds_of, value_of = METRICS[metric]
    rng = random.Random(seed)
    tp, fp, fn, tn = (rng.choice([0, rng.randrange(5), rng.randrange(100)]) for _ in range(4))
    missing = rng.choice([0, 1, 15]), rng.choice([0, 1, 20])
    counts = BinaryCounts(
        true_positive=tp,
        false_positive=fp,
        false_negative=fn,
        true_negative=tn,
        unlabelled_positive=missing[0],
        unlabelled_negative=missing[1],
    )
    values = [value for outcome in outcomes(counts) if (value := value_of(*outcome)) is not None]

    expected = (min(values), max(values)) if values else None

    assert pytest.approx(expected, abs=1e-12) == bounds_of(counts), counts


CLASSES = "abc"
AVERAGES: dict[str, tuple[Callable[[ConfusionMatrix], Bounds | None], Callable[..., float]]] = {
    "recall_macro": (recall_macro_bounds, functools.partial(recall_score, average="macro")),
    "precision_macro": (precision_macro_bounds, functools.partial(precision_score, average="macro")),
    "f1_macro": (f1_macro_bounds, functools.partial(f1_score, average="macro")),
    "precision_weighted": (precision_weighted_bounds, functools.partial(precision_score, average="weighted")),
    "f1_weighted": (f1_weighted_bounds, functools.partial(f1_score, average="weighted")),
}


def drawn_pairs(seed: int) -> list[tuple[str | None, str]]:
    rng = random.Random(seed)
    labels: list[str | None] = [*CLASSES] if seed % 3 else [*CLASSES[:2]]
    pairs = [(rng.choice(labels), rng.choice(CLASSES)) for _ in range(rng.randrange(7))]
    return pairs + [(None, rng.choice(CLASSES)) for _ in range(rng.randrange(3))]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("metric", AVERAGES)
@pytest.mark.parametrize("seed", range(20))
def test_bounds_of_averages_hold_every_outcome_and_some_are_reached(metric: str, seed: int) -> None:
    bounds_of, score = AVERAGES[metric]
    pairs = drawn_pairs(seed)
    labelled = [pair for pair in pairs if pair[0] is not None]
    missing = [predicted for label, predicted in pairs if label is None]
    bounds = bounds_of(ConfusionMatrix.from_cells(Counter(pairs)))
    values = []
    # A label that never comes, one of the classes seen, or one that was not.
    for labels in itertools.product([None, *CLASSES, *"xyzw"[: len(missing)]], repeat=len(missing)):
        ended = labelled + [pair for pair in zip(labels, missing, strict=True) if pair[0] is not None]
        if not ended:
            continue
        truth, answers = zip(*ended, strict=True)
        value = score(truth, answers, zero_division=math.nan)
        if not (metric == "precision_weighted" and not set(truth) & set(answers)):
            values.append(value)

    if not values:
        return
    assert bounds is not None
    assert bounds[0] - 1e-12 <= min(values)
    assert max(values) <= bounds[1] + 1e-12
    if metric.endswith("macro"):
        assert pytest.approx(max(values), abs=1e-12) == bounds[1]
    if metric == "precision_macro":
        assert pytest.approx(min(values), abs=1e-12) == bounds[0]
    if not missing:
        assert pytest.approx((values[0], values[0]), abs=1e-12) == bounds


def test_accuracy_may_end_with_every_missing_label_wrong_or_right() -> None:
    assert (0.625, 0.985) == share_bounds(correct=625, n=640, unlabelled=360)


def test_nothing_is_possible_without_predictions() -> None:
    assert share_bounds(correct=0, n=0, unlabelled=0) is None


def test_everything_is_possible_without_labels() -> None:
    assert (0.0, 1.0) == share_bounds(correct=0, n=0, unlabelled=5)
