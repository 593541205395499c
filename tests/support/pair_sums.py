"""Sums of windows, made pair by pair as the ledger makes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from streams.pair_sums.contribution import regression_contribution, score_contribution

__all__ = ["added", "sums_of_numbers", "sums_of_scores"]


def added(contributions: Iterable[Mapping[str, int]]) -> Counter[str]:
    """The sum of some contributions."""
    sums: Counter[str] = Counter()
    for contribution in contributions:
        sums.update(contribution)
    return sums


def sums_of_scores(scores: Iterable[float], happened: Iterable[bool]) -> Counter[str]:
    """The sums of a window of scores."""
    pairs = zip(scores, happened, strict=True)
    return added(score_contribution(float(score), happened=bool(event)) for score, event in pairs)


def sums_of_numbers(labels: Iterable[float], predictions: Iterable[float]) -> Counter[str]:
    """The sums of a window of predicted numbers."""
    pairs = zip(labels, predictions, strict=True)
    return added(regression_contribution(predicted=float(number), label=float(label)) for label, number in pairs)
