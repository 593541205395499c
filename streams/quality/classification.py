"""Classification metrics from confusion counts.

Defined as in scikit-learn, with two differences. A zero denominator makes a figure undefined, never 0. A
macro or weighted average is taken over the classes for which its terms are defined, and names the others.

What missing labels leave possible is bounded for every figure but MCC and kappa of more than two classes. Of a
binary model with two classes it is taken that a missing label is one of them.

Pairs beyond the limit of classes still say whether label and prediction agree, so accuracy and everything
that equals it stay exact; every other figure is undefined then (`class_overflow`).

    >>> matrix = ConfusionMatrix.from_cells({("spam", "spam"): 3, ("spam", "ham"): 1, ("ham", "ham"): 6})
    >>> figures = binary_figures(matrix, positive_class="spam", confidence_level=0.95)
    >>> figures["recall"].value, figures["recall"].n, figures["precision"].value
    (0.75, 4, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from schemas.window_report import ClassFigures
from streams.monitored_model import DEFAULT_BETA
from streams.quality import bounds, class_bounds, delta, intervals
from streams.quality.confusion import OTHER, BinaryCounts, ConfusionMatrix
from streams.quality.figure import Bounds, Figure, UndefinedReason

__all__ = [
    "BINARY_METRICS",
    "MULTICLASS_METRICS",
    "binary_figures",
    "multiclass_figures",
    "per_class_figures",
]

_BoundsOfMatrix: TypeAlias = Callable[[ConfusionMatrix], Bounds | None]

AGREEMENT_METRICS = ("accuracy", "balanced_accuracy", "mcc", "cohen_kappa")
POSITIVE_CLASS_METRICS = ("precision", "recall", "specificity", "f1", "fbeta")
AVERAGED_METRICS = tuple(
    f"{metric}_{average}" for metric in ("precision", "recall", "f1") for average in ("macro", "micro", "weighted")
)
BINARY_METRICS = AGREEMENT_METRICS + POSITIVE_CLASS_METRICS
MULTICLASS_METRICS = AGREEMENT_METRICS + AVERAGED_METRICS


def binary_figures(
    matrix: ConfusionMatrix, *, positive_class: str | None, confidence_level: float, beta: float = DEFAULT_BETA
) -> dict[str, Figure]:
    """Return every metric of `BINARY_METRICS` for `positive_class` against all other classes, recall weighing `beta`
    times as much as precision in `fbeta`.

    Accuracy, balanced accuracy, MCC and kappa look at all classes that were seen, also when they are more
    than two. Without a positive class the others are undefined.
    """
    seen = {*matrix.classes, *(predicted for predicted, _ in matrix.unlabelled)}
    one = min(seen, default="") if positive_class is None else positive_class
    counts = matrix.against_rest(one)
    of_two_classes = counts if len(seen | {one}) <= 2 else None
    figures = _agreement_figures(matrix, confidence_level, of_two_classes=of_two_classes)
    if positive_class is None:
        return figures | _all_undefined(POSITIVE_CLASS_METRICS, UndefinedReason.NO_POSITIVE_CLASS)
    if matrix.has_class_overflow:
        return figures | _all_undefined(POSITIVE_CLASS_METRICS, UndefinedReason.CLASS_OVERFLOW)
    positive = {
        "precision": _precision(counts, confidence_level),
        "recall": _recall(counts, confidence_level),
        "specificity": _specificity(counts, confidence_level),
        "f1": _f1(counts, confidence_level),
        "fbeta": _fbeta(counts, beta, confidence_level),
    }
    if any(predicted == OTHER for predicted, _ in matrix.unlabelled):
        # Which side of the positive class these are on is known only if it has a cell of its own.
        positive = {name: msgspec.structs.replace(figure, possible=None) for name, figure in positive.items()}
    if not matrix.labelled:
        positive = {
            name: Figure.missing(UndefinedReason.NO_LABELLED, possible=figure.possible)
            for name, figure in positive.items()
        }
    return figures | positive


def multiclass_figures(matrix: ConfusionMatrix, *, confidence_level: float) -> dict[str, Figure]:
    """Return every metric of `MULTICLASS_METRICS`.

    With one label and one prediction each, the micro averages and weighted recall equal accuracy.
    """
    figures = _agreement_figures(matrix, confidence_level, of_two_classes=None)
    accuracy, recall_macro = figures["accuracy"], figures["balanced_accuracy"]
    averaged = dict.fromkeys(("precision_micro", "recall_micro", "f1_micro", "recall_weighted"), accuracy) | {
        "recall_macro": recall_macro,
        "precision_macro": _per_class_average(
            matrix, _precision_macro, class_bounds.precision_macro_bounds, confidence_level
        ),
        "f1_macro": _per_class_average(matrix, _f1_macro, class_bounds.f1_macro_bounds, confidence_level),
        "precision_weighted": _per_class_average(
            matrix, _precision_weighted, class_bounds.precision_weighted_bounds, confidence_level
        ),
        "f1_weighted": _per_class_average(matrix, _f1_weighted, class_bounds.f1_weighted_bounds, confidence_level),
    }
    return figures | {name: averaged[name] for name in AVERAGED_METRICS}


def per_class_figures(matrix: ConfusionMatrix) -> dict[str, ClassFigures]:
    """Return precision, recall, F1 and support of each class that labelled pairs have, by name.

    Beyond the limit of classes a label may have lost its name, so supports are lower bounds and the rest
    is undefined.
    """
    supports, predicted = matrix.supports, matrix.predicted
    if matrix.has_class_overflow:
        return {
            name: ClassFigures(precision=None, recall=None, f1=None, support=support)
            for name, support in zip(matrix.classes, supports, strict=True)
        }
    return {
        name: ClassFigures(
            precision=matrix.counts[index][index] / predicted[index] if predicted[index] else None,
            recall=matrix.counts[index][index] / supports[index] if supports[index] else None,
            f1=2 * matrix.counts[index][index] / (supports[index] + predicted[index]),
            support=supports[index],
        )
        for index, name in enumerate(matrix.classes)
    }


def _all_undefined(names: Sequence[str], reason: UndefinedReason) -> dict[str, Figure]:
    return dict.fromkeys(names, Figure.missing(reason))


# Agreement over all classes


def _agreement_figures(
    matrix: ConfusionMatrix, confidence_level: float, *, of_two_classes: BinaryCounts | None
) -> dict[str, Figure]:
    def of_both(bounds_of: Callable[[BinaryCounts], Bounds | None]) -> _BoundsOfMatrix:
        return lambda _: bounds_of(of_two_classes) if of_two_classes else None

    recall_bounds = of_both(bounds.balanced_accuracy_bounds) if of_two_classes else class_bounds.recall_macro_bounds
    return {
        "accuracy": _accuracy(matrix, confidence_level),
        "balanced_accuracy": _per_class_average(matrix, _recall_macro, recall_bounds, confidence_level),
        "mcc": _per_class_average(matrix, _mcc, of_both(bounds.mcc_bounds), confidence_level),
        "cohen_kappa": _per_class_average(matrix, _cohen_kappa, of_both(bounds.kappa_bounds), confidence_level),
    }


def _accuracy(matrix: ConfusionMatrix, confidence_level: float) -> Figure:
    n, correct = matrix.labelled, matrix.correct
    possible = bounds.share_bounds(correct=correct, n=n, unlabelled=matrix.unlabelled_total)
    return _proportion(correct, n, UndefinedReason.NO_LABELLED, possible, confidence_level)


def _mcc(matrix: ConfusionMatrix, confidence_level: float) -> Figure:
    n, labels, predicted = matrix.labelled, matrix.supports, matrix.predicted
    spread = (n * n - _dot(labels, labels)) * (n * n - _dot(predicted, predicted))
    if not spread:
        return Figure.missing(UndefinedReason.SINGLE_CLASS, n=n)
    # Integers up to the last step: the difference of two large products keeps every digit.
    value = (matrix.correct * n - _dot(labels, predicted)) / math.sqrt(spread)
    return _composite(matrix, _within(value, lowest=-1.0), delta.mcc_terms, confidence_level, lowest=-1.0)


def _cohen_kappa(matrix: ConfusionMatrix, confidence_level: float) -> Figure:
    n = matrix.labelled
    chance = _dot(matrix.supports, matrix.predicted)
    if n * n == chance:
        return Figure.missing(UndefinedReason.SINGLE_CLASS, n=n)
    value = (matrix.correct * n - chance) / (n * n - chance)
    return _composite(matrix, value, delta.kappa_terms, confidence_level, lowest=-1.0)


def _dot(left: Sequence[int], right: Sequence[int]) -> int:
    return sum(a * b for a, b in zip(left, right, strict=True))


# One class against the rest


def _precision(counts: BinaryCounts, confidence_level: float) -> Figure:
    return _proportion(
        counts.true_positive,
        counts.true_positive + counts.false_positive,
        UndefinedReason.NO_POSITIVE_PREDICTIONS,
        bounds.precision_bounds(counts),
        confidence_level,
    )


def _recall(counts: BinaryCounts, confidence_level: float) -> Figure:
    return _proportion(
        counts.true_positive,
        counts.true_positive + counts.false_negative,
        UndefinedReason.NO_POSITIVE_LABELS,
        bounds.recall_bounds(counts),
        confidence_level,
    )


def _specificity(counts: BinaryCounts, confidence_level: float) -> Figure:
    return _proportion(
        counts.true_negative,
        counts.true_negative + counts.false_positive,
        UndefinedReason.NO_NEGATIVE_LABELS,
        bounds.specificity_bounds(counts),
        confidence_level,
    )


def _f1(counts: BinaryCounts, confidence_level: float) -> Figure:
    errors = counts.false_positive + counts.false_negative
    n = counts.true_positive + errors
    possible = bounds.fbeta_bounds(counts, beta=1.0)
    if not n:
        return Figure.missing(UndefinedReason.NO_POSITIVE_LABELS, possible=possible)
    interval = intervals.f1_interval(
        true_positive=counts.true_positive, errors=errors, confidence_level=confidence_level
    )
    return Figure.of(2 * counts.true_positive / (counts.true_positive + n), interval, n=n, possible=possible)


def _fbeta(counts: BinaryCounts, beta: float, confidence_level: float) -> Figure:
    n = counts.true_positive + counts.false_positive + counts.false_negative
    possible = bounds.fbeta_bounds(counts, beta=beta)
    if not n:
        return Figure.missing(UndefinedReason.NO_POSITIVE_LABELS, possible=possible)
    weight = beta * beta
    both = (1.0 + weight) * counts.true_positive
    value = both / (both + weight * counts.false_negative + counts.false_positive)
    interval = intervals.rescaled_interval(
        value,
        delta.fbeta_effective_sample_size(counts, beta=beta),
        lowest=0.0,
        confidence_level=confidence_level,
    )
    return Figure.of(value, interval, n=n, possible=possible)


def _proportion(
    successes: int, n: int, reason: UndefinedReason, possible: Bounds | None, confidence_level: float
) -> Figure:
    if not n:
        return Figure.missing(reason, possible=possible)
    interval = intervals.wilson_interval(successes / n, n, confidence_level=confidence_level)
    return Figure.of(successes / n, interval, n=n, possible=possible)


# Averages over classes


def _per_class_average(
    matrix: ConfusionMatrix,
    average: Callable[[ConfusionMatrix, float], Figure],
    bounds_of: _BoundsOfMatrix,
    confidence_level: float,
) -> Figure:
    """`average`, unless the classes of the labelled pairs are unknown or there are none."""
    if matrix.has_class_overflow:
        return Figure.missing(UndefinedReason.CLASS_OVERFLOW, n=matrix.labelled)
    # Predictions beyond the limit have classes that are not known.
    possible = None if any(predicted == OTHER for predicted, _ in matrix.unlabelled) else bounds_of(matrix)
    if not matrix.labelled:
        return Figure.missing(UndefinedReason.NO_LABELLED, possible=possible)
    figure = average(matrix, confidence_level)
    if possible is not None and figure.value is not None:
        # Sums in another order may part the two in the last bit.
        possible = min(possible[0], figure.value), max(possible[1], figure.value)
    return msgspec.structs.replace(figure, possible=possible)


def _recall_macro(matrix: ConfusionMatrix, confidence_level: float) -> Figure:
    return _mean_of_proportions(matrix, matrix.supports, confidence_level)


def _precision_macro(matrix: ConfusionMatrix, confidence_level: float) -> Figure:
    return _mean_of_proportions(matrix, matrix.predicted, confidence_level)


def _mean_of_proportions(matrix: ConfusionMatrix, sizes: Sequence[int], confidence_level: float) -> Figure:
    """The mean over classes of the share of each class' `sizes` that is right.

    Given the sizes, the shares of different classes rest on different predictions: they are independent.
    """
    hits = [matrix.counts[index][index] for index, size in enumerate(sizes) if size]
    defined = [size for size in sizes if size]
    mean = math.fsum(count / size for count, size in zip(hits, defined, strict=True)) / len(defined)
    interval = intervals.mean_share_interval(hits, defined, confidence_level=confidence_level)
    return Figure.of(mean, interval, n=matrix.labelled, classes_left_out=_without(matrix, sizes))


def _f1_macro(matrix: ConfusionMatrix, confidence_level: float) -> Figure:
    right = [row[index] for index, row in enumerate(matrix.counts)]
    margins = [sum(pair) for pair in zip(matrix.supports, matrix.predicted, strict=True)]
    errors = [margin - 2 * hits for margin, hits in zip(margins, right, strict=True)]
    values = [2 * hits / margin for hits, margin in zip(right, margins, strict=True)]
    parts = [
        intervals.f1_interval(true_positive=hits, errors=wrong, confidence_level=confidence_level)
        for hits, wrong in zip(right, errors, strict=True)
    ]
    interval = intervals.macro_interval(values, parts, _f1_correlations(matrix, right, errors))
    return Figure.of(math.fsum(values) / len(values), interval, n=matrix.labelled)


def _f1_correlations(matrix: ConfusionMatrix, right: Sequence[int], errors: Sequence[int]) -> list[list[float]]:
    """Correlation of the classes' F1 (delta method): a confusion of two classes is an error of both."""
    weights = [
        math.sqrt(hits / (wrong * (hits + wrong))) if wrong else 0.0 for hits, wrong in zip(right, errors, strict=True)
    ]
    columns = tuple(zip(*matrix.counts, strict=True))
    return [
        [
            1.0 if row == column else (here + there) * weights[row] * weights[column]
            for column, (here, there) in enumerate(zip(matrix.counts[row], columns[row], strict=True))
        ]
        for row in range(len(right))
    ]


def _precision_weighted(matrix: ConfusionMatrix, confidence_level: float) -> Figure:
    supports, predicted = matrix.supports, matrix.predicted
    terms = [
        support * matrix.counts[index][index] / size
        for index, (support, size) in enumerate(zip(supports, predicted, strict=True))
        if size
    ]
    weight = sum(support for support, size in zip(supports, predicted, strict=True) if size)
    if not weight:
        # Whatever was predicted never was the label, and what was the label was never predicted.
        return Figure.missing(UndefinedReason.NO_POSITIVE_PREDICTIONS, n=matrix.labelled)
    figure = _composite(matrix, _within(math.fsum(terms) / weight), delta.precision_weighted_terms, confidence_level)
    return msgspec.structs.replace(figure, classes_left_out=_without(matrix, predicted))


def _f1_weighted(matrix: ConfusionMatrix, confidence_level: float) -> Figure:
    terms = [
        support * 2 * matrix.counts[index][index] / (support + size)
        for index, (support, size) in enumerate(zip(matrix.supports, matrix.predicted, strict=True))
    ]
    value = _within(math.fsum(terms) / matrix.labelled)
    return _composite(matrix, value, delta.f1_weighted_terms, confidence_level)


def _composite(
    matrix: ConfusionMatrix, value: float, terms: delta.Terms, confidence_level: float, *, lowest: float = 0.0
) -> Figure:
    effective_n = delta.effective_sample_size(matrix, terms, lowest=lowest)
    interval = intervals.rescaled_interval(value, effective_n, lowest=lowest, confidence_level=confidence_level)
    return Figure.of(value, interval, n=matrix.labelled)


def _without(matrix: ConfusionMatrix, sizes: Sequence[int]) -> tuple[str, ...]:
    """The classes for which there is nothing to divide by."""
    return tuple(name for name, size in zip(matrix.classes, sizes, strict=True) if not size)


def _within(value: float, *, lowest: float = 0.0) -> float:
    """Undo what rounding in the last bit may have added beyond the range of a metric."""
    return max(lowest, min(1.0, value))
