"""The contributions of many labelled lists at once: the sum of what `lists` says of each.

Lists come in blocks whose rows have as many items of each kind. Signs are 1 for pairs that are added and -1 for those
that are taken back.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from schemas.limits import LIST_ENTRIES
from streams.pair_sums.lists import GAIN_UNITS, MOMENTS
from streams.pair_sums.many import Sums

__all__ = ["multilabel_sums", "ranking_sums"]

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

_GAIN_UNITS = np.array(GAIN_UNITS, dtype=np.int64)
_PLACES = LIST_ENTRIES + 1
"""A rank and a number of relevant items are one number, rank * _PLACES + relevant."""


def multilabel_sums(*, found: Hashes, invented: Hashes, missed: Hashes, signs: Integers) -> Mapping[str, int]:
    """What labelled sets of classes add; see `lists.multilabel_contribution`.

    Args:
        found: hashes of the classes in both, as big-endian numbers, shape (pairs, classes found of each).
        invented: likewise of those predicted alone.
        missed: likewise of those in the label alone.
        signs: shape (pairs,).
    """
    sums = Sums()
    pairs = int(signs.sum())
    sums.increase("n", pairs)
    sums.increase("s", 0 if invented.shape[1] or missed.shape[1] else pairs)
    for prefix, classes in (("F", found), ("I", invented), ("M", missed)):
        names, which = np.unique(classes, return_inverse=True)
        counts = np.zeros(len(names), dtype=np.int64)
        np.add.at(counts, which.reshape(classes.shape), signs[:, np.newaxis])
        for name, count in zip(names.tolist(), counts.tolist(), strict=True):
            sums.increase(f"{prefix}={name:016x}", count)
    both = found.shape[1]
    sizes = {"F": both, "P": both + invented.shape[1], "L": both + missed.shape[1]}
    for moment in MOMENTS:
        sums.increase(moment, pairs * sizes[moment[0]] * sizes[moment[1]])
    return sums.increments


def ranking_sums(ranks: Integers, relevant: Integers, signs: Integers) -> Mapping[str, int]:
    """What labelled rankings add; see `lists.ranking_contribution`.

    Args:
        ranks: of the relevant items that were ranked, ascending, shape (rankings, hits of each).
        relevant: how many items are relevant, shape (rankings,).
        signs: shape (rankings,).
    """
    sums = Sums()
    sums.count("n", signs)
    sums.count("e", signs[relevant == 0])
    if ranks.shape[1]:
        sums.count_each("f", ranks[:, 0], signs)
    gain = np.zeros(len(ranks), dtype=np.int64)
    for above in range(ranks.shape[1]):
        rank = ranks[:, above]
        worth = _GAIN_UNITS[rank]
        places, which = np.unique(rank * _PLACES + relevant, return_inverse=True)
        for prefix, values in (("h", signs), ("x", 2 * above * signs), ("y", 2 * worth * gain * signs)):
            totals = np.zeros(len(places), dtype=np.int64)
            np.add.at(totals, which, values)
            for place, total in zip(places.tolist(), totals.tolist(), strict=True):
                sums.increase(f"{prefix}{place // _PLACES}.{place % _PLACES}", total)
        gain += worth
    return sums.increments
