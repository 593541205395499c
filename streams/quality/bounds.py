"""What a figure can still become: its smallest and largest value over all labels that are missing.

A missing label may turn out to be anything, so the unlabelled predictions decide alone: each one predicted
positive becomes a true or a false positive, each other one a true or a false negative. All bounds here are
exact and reached by some outcome. Outcomes for which the metric is undefined do not count; if there are no
others, there are no bounds.

Balanced accuracy, MCC and kappa of two classes grow with every further right answer, so that the best is that all
are right. The worst is that all are wrong, except of kappa: once it is below 0 it falls as errors are shared out
evenly between the classes, so the worst lies where all errors of one kind happen and some of the other.

    >>> share_bounds(correct=625, n=640, unlabelled=360)
    (0.625, 0.985)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

from streams.quality.confusion import BinaryCounts
from streams.quality.figure import Bounds

__all__ = [
    "balanced_accuracy_bounds",
    "fbeta_bounds",
    "kappa_bounds",
    "mcc_bounds",
    "precision_bounds",
    "recall_bounds",
    "share_bounds",
    "specificity_bounds",
]

_Outcome: TypeAlias = tuple[int, int, int, int]
"""True and false positives, false and true negatives."""


def share_bounds(*, correct: int, n: int, unlabelled: int) -> Bounds | None:
    """Bounds of `correct / n` when each of `unlabelled` more counts once, right or wrong.

    These are the bounds of accuracy, and of the micro averages and weighted recall, which equal it. None
    without predictions.
    """
    total = n + unlabelled
    if not total:
        return None
    return correct / total, (correct + unlabelled) / total


def precision_bounds(counts: BinaryCounts) -> Bounds | None:
    """Bounds of precision: every missing label of a positive prediction false, or every one true."""
    return share_bounds(
        correct=counts.true_positive,
        n=counts.true_positive + counts.false_positive,
        unlabelled=counts.unlabelled_positive,
    )


def recall_bounds(counts: BinaryCounts) -> Bounds | None:
    """Bounds of recall."""
    return _found_bounds(
        found=counts.true_positive,
        missed=counts.false_negative,
        may_be_found=counts.unlabelled_positive,
        may_be_missed=counts.unlabelled_negative,
    )


def specificity_bounds(counts: BinaryCounts) -> Bounds | None:
    """Bounds of specificity, the recall of the rest."""
    return _found_bounds(
        found=counts.true_negative,
        missed=counts.false_positive,
        may_be_found=counts.unlabelled_negative,
        may_be_missed=counts.unlabelled_positive,
    )


def _found_bounds(*, found: int, missed: int, may_be_found: int, may_be_missed: int) -> Bounds | None:
    """Bounds of `found / (found + missed)`, to which the undecided may add, or not belong at all.

    Worst is that nothing more is found and all else is missed, best that all is found and nothing missed.
    Where that leaves nothing to divide by, the only outcomes with a value are wholly of the other kind.
    """
    if found + missed + may_be_found + may_be_missed == 0:
        return None
    worst = found / (found + missed + may_be_missed) if found + missed + may_be_missed else 1.0
    most = found + may_be_found
    best = most / (most + missed) if most + missed else 0.0
    return worst, best


def fbeta_bounds(counts: BinaryCounts, *, beta: float) -> Bounds | None:
    """Bounds of F-beta, which grows with every true positive and falls with every error.

    Worst is that every undecided positive prediction is false and every undecided other one missed.
    """
    weight = beta * beta
    found, missed, invented = counts.true_positive, counts.false_negative, counts.false_positive
    may_be_found, may_be_missed = counts.unlabelled_positive, counts.unlabelled_negative
    if found + missed + invented + may_be_found + may_be_missed == 0:
        return None

    def fbeta(*, found: int, errors: float) -> float:
        # No positive at all is undefined; the only outcomes left then have misses alone, and those score 0.
        return (1.0 + weight) * found / ((1.0 + weight) * found + errors) if found else 0.0

    worst = fbeta(found=found, errors=weight * (missed + may_be_missed) + invented + may_be_found)
    best = fbeta(found=found + may_be_found, errors=weight * missed + invented)
    return worst, best


def balanced_accuracy_bounds(counts: BinaryCounts) -> Bounds | None:
    """Bounds of balanced accuracy between two classes; a class that has no label has no part in it."""
    return _extremes(_balanced_accuracy, _all_wrong(counts), _all_right(counts))


def mcc_bounds(counts: BinaryCounts) -> Bounds | None:
    """Bounds of Matthews' correlation of two classes."""
    return _extremes(_mcc, _all_wrong(counts), _all_right(counts))


def kappa_bounds(counts: BinaryCounts) -> Bounds | None:
    """Bounds of Cohen's kappa of two classes."""
    return _extremes(_kappa, _errors_shared_out(counts), _all_right(counts))


def _extremes(
    value_of: Callable[[_Outcome], float | None], worst: Iterator[_Outcome], best: Iterator[_Outcome]
) -> Bounds | None:
    lows, highs = ([value for each in some if (value := value_of(each)) is not None] for some in (worst, best))
    return (min(lows), max(highs)) if lows and highs else None


def _all_right(counts: BinaryCounts) -> Iterator[_Outcome]:
    """Every missing label right, or all but one: without any error a metric may be undefined."""
    positive, negative = counts.unlabelled_positive, counts.unlabelled_negative
    for wrong_positive, wrong_negative in ((0, 0), (1, 0), (0, 1)):
        if wrong_positive <= positive and wrong_negative <= negative:
            yield (
                counts.true_positive + positive - wrong_positive,
                counts.false_positive + wrong_positive,
                counts.false_negative + wrong_negative,
                counts.true_negative + negative - wrong_negative,
            )


def _all_wrong(counts: BinaryCounts) -> Iterator[_Outcome]:
    """Every missing label wrong, or all but one."""
    positive, negative = counts.unlabelled_positive, counts.unlabelled_negative
    for right_positive, right_negative in ((0, 0), (1, 0), (0, 1)):
        if right_positive <= positive and right_negative <= negative:
            yield (
                counts.true_positive + right_positive,
                counts.false_positive + positive - right_positive,
                counts.false_negative + negative - right_negative,
                counts.true_negative + right_negative,
            )


def _errors_shared_out(counts: BinaryCounts) -> Iterator[_Outcome]:
    """All missing labels of one prediction wrong and, of the other, as many as make kappa smallest; the rest stay
    missing."""
    tp, fp, fn, tn = counts.true_positive, counts.false_positive, counts.false_negative, counts.true_negative
    most_fp, most_fn = fp + counts.unlabelled_positive, fn + counts.unlabelled_negative
    for other in _worst_errors(most_fp, right=(tp, tn), least=fn, most=most_fn):
        yield tp, most_fp, other, tn
    for other in _worst_errors(most_fn, right=(tp, tn), least=fp, most=most_fp):
        yield tp, other, most_fn, tn


def _worst_errors(errors: int, *, right: tuple[int, int], least: int, most: int) -> Iterator[int]:
    """The whole numbers around the zero of kappa's derivative by the errors of the other kind."""
    both, product = sum(right), math.prod(right)
    root = float(most)
    if errors:
        rest = errors**3 + both * errors**2 + 2 * product * errors + product * both
        root = (product + math.sqrt(product**2 + errors * rest)) / errors
    for nearest in (math.floor(root), math.ceil(root)):
        yield max(least, min(most, nearest))


def _balanced_accuracy(outcome: _Outcome) -> float | None:
    tp, fp, fn, tn = outcome
    recalls = [right / (right + missed) for right, missed in ((tp, fn), (tn, fp)) if right + missed]
    return math.fsum(recalls) / len(recalls) if recalls else None


def _mcc(outcome: _Outcome) -> float | None:
    tp, fp, fn, tn = outcome
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(spread) if spread else None


def _kappa(outcome: _Outcome) -> float | None:
    tp, fp, fn, tn = outcome
    spread = (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn)
    return 2 * (tp * tn - fp * fn) / spread if spread else None
