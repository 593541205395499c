"""What an average over classes can still become, whatever classes the missing labels turn out to be.

The prediction of a missing label is known, its label may be any class, also one that was never seen, or never come.
So the predictions of each class are bounded exactly and its labels are not: a missing label is a miss of any class.

- The largest value of the macro averages and all of `precision_macro` are reached by some outcome: every missing
  label right, or every one wrong.
- The other bounds hold, and are exact once nothing is missing. They let every class have its worst (or best) at once.

    >>> matrix = ConfusionMatrix.from_cells({("a", "a"): 3, ("b", "a"): 1, ("b", "b"): 4, (None, "b"): 2})
    >>> precision_macro_bounds(matrix)
    (0.7083333333333333, 0.875)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from streams.quality.confusion import ConfusionMatrix
from streams.quality.figure import Bounds

__all__ = [
    "f1_macro_bounds",
    "f1_weighted_bounds",
    "precision_macro_bounds",
    "precision_weighted_bounds",
    "recall_macro_bounds",
]


@dataclasses.dataclass(frozen=True, slots=True)
class _Class:
    """Of one class: pairs that agree, labels, labelled predictions, predictions whose label is missing."""

    right: int
    labels: int
    predicted: int
    missing: int


def recall_macro_bounds(matrix: ConfusionMatrix) -> Bounds | None:
    """Bounds of the mean recall, which balanced accuracy is too; None without predictions."""
    classes, missing = _classes(matrix), matrix.unlabelled_total
    labelled = [each for each in classes if each.labels]
    worst = math.fsum(each.right / (each.labels + missing - each.missing) for each in labelled)
    best = [(each.right + each.missing) / most for each in classes if (most := each.labels + each.missing)]
    # Worst, each missing label is a class of its own that was never predicted.
    return _means(worst, len(labelled) + missing, best)


def precision_macro_bounds(matrix: ConfusionMatrix) -> Bounds | None:
    """Bounds of the mean precision; None without predictions."""
    answered = [each for each in _classes(matrix) if each.predicted + each.missing]
    worst = math.fsum(each.right / (each.predicted + each.missing) for each in answered)
    best = [(each.right + each.missing) / (each.predicted + each.missing) for each in answered]
    return _means(worst, len(answered), best)


def f1_macro_bounds(matrix: ConfusionMatrix) -> Bounds | None:
    """Bounds of the mean F1; None without predictions."""
    classes, missing = _classes(matrix), matrix.unlabelled_total
    seen = [each for each in classes if each.labels + each.predicted]
    worst = math.fsum(2 * each.right / (each.labels + each.predicted + missing) for each in seen)
    best = [2 * (each.right + each.missing) / (each.labels + each.predicted + 2 * each.missing) for each in classes]
    return _means(worst, len(classes) + missing, best)


def precision_weighted_bounds(matrix: ConfusionMatrix) -> Bounds | None:
    """Bounds of the precision averaged over labels; None if no class can have a precision and a label."""
    answered, missing = [each for each in _classes(matrix) if each.predicted + each.missing], matrix.unlabelled_total
    worst = [each.right / (each.predicted + each.missing) for each in answered]
    best = [(each.right + each.missing) / (each.predicted + each.missing) for each in answered]
    weights = [each.labels for each in answered]
    if not sum(weights) + missing:
        return None
    # Every missing label adds its weight to the class with the smallest precision, or the largest.
    total = sum(weights) + missing
    return (_dot(weights, worst) + missing * min(worst)) / total, (_dot(weights, best) + missing * max(best)) / total


def f1_weighted_bounds(matrix: ConfusionMatrix) -> Bounds | None:
    """Bounds of the F1 averaged over labels; None without predictions."""
    classes, missing = _classes(matrix), matrix.unlabelled_total
    total = matrix.labelled + missing
    if not total:
        return None
    worst = math.fsum(
        2 * each.right * each.labels / (each.labels + each.predicted + each.missing) for each in classes if each.labels
    )
    # What the labels of a class lack of 1 grows with its errors; with its hits it grows or shrinks.
    lacking = math.fsum(
        min(_lack(each, more) for more in (0, each.missing)) for each in classes if each.labels + each.predicted
    )
    return worst / total, 1.0 - lacking / total


def _lack(each: _Class, more: int) -> float:
    labels, predicted = each.labels + more, each.predicted + more
    return labels * (1.0 - 2 * (each.right + more) / (labels + predicted))


def _classes(matrix: ConfusionMatrix) -> list[_Class]:
    missing = dict(matrix.unlabelled)
    seen = [
        _Class(matrix.counts[index][index], labels, predicted, missing.pop(name, 0))
        for index, (name, labels, predicted) in enumerate(
            zip(matrix.classes, matrix.supports, matrix.predicted, strict=True)
        )
    ]
    return seen + [_Class(0, 0, 0, count) for count in missing.values()]


def _means(worst: float, worst_size: int, best: Sequence[float]) -> Bounds | None:
    if not best:
        return None
    # Rounding must not part what nothing can change any more.
    mean = math.fsum(best) / len(best)
    return min(worst / worst_size, mean), mean


def _dot(weights: Sequence[int], values: Sequence[float]) -> float:
    return math.fsum(weight * value for weight, value in zip(weights, values, strict=True))
