"""What a figure can still become: its smallest and largest value over all labels that are missing.

A missing label may turn out to be anything, so the unlabelled predictions decide alone: each one predicted
positive becomes a true or a false positive, each other one a true or a false negative. All bounds here are
exact and reached by some outcome. Outcomes for which the metric is undefined do not count; if there are no
others, there are no bounds.

    >>> share_bounds(correct=625, n=640, unlabelled=360)
    (0.625, 0.985)
"""

from __future__ import annotations

from streams.quality.confusion import BinaryCounts
from streams.quality.figure import Bounds

__all__ = ["fbeta_bounds", "precision_bounds", "recall_bounds", "share_bounds", "specificity_bounds"]


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
