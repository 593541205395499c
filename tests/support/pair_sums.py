"""Sums of windows, made pair by pair as the ledger makes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from streams.identity import class_hash
from streams.pair_sums.contribution import regression_contribution, score_contribution
from streams.pair_sums.lists import class_of, multilabel_contribution, named_by

__all__ = ["added", "sums_of_numbers", "sums_of_scores", "sums_of_sets"]


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


def sums_of_sets(found: Collection[str], invented: Collection[str], missed: Collection[str]) -> dict[str, int]:
    """The sums of one set of classes, by their names, as reports have them."""
    names = {class_hash(name): name for name in (*found, *invented, *missed)}
    hashes = ([class_hash(name) for name in some] for some in (found, invented, missed))
    sums = multilabel_contribution(**dict(zip(("found", "invented", "missed"), hashes, strict=True)))
    return {
        name if (hashed := class_of(name.encode())) is None else named_by(name, names[hashed]): count
        for name, count in sums.items()
    }
