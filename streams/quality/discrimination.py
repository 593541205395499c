"""How well scores tell positives from negatives, from their counts by bin: `roc_auc` and `average_precision`.

What the order within a bin could change is the `bracket`; the value is its middle, and equals that of the scores
wherever each has a bin of its own. Two things make a figure uncertain, and `low` and `high` allow for both:

- Which predictions were labelled. Both figures are smooth functions of the counts by bin, so the interval around the
  value has the width that the counts' own variance gives it.
- The order within bins. Scores of a bin differ so little that the truth lies near the middle of the bracket, and
  adding all of it to the interval would count an order that nobody expects as if it were likely. So the interval is
  widened only to where it holds the whole bracket: the value of the labelled scores themselves is always inside.

The methods:

- `roc_auc`: Wilson's interval at the effective sample size that DeLong's variance implies, with three tenths of a
  pseudo-observation of each class ranked anywhere (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988).
- `average_precision`: the normal interval of its log odds (as Boyd, Eng and Page recommend, ECML 2013), with the
  variance that the delta method gives and half a pseudo-observation of each class that lies like all scores. To it is
  added what one positive more would change whose precision may be anything between that of chance and 1: where
  positives are rare, windows have not seen the ones that matter.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streams.pair_sums.score_bins import BIN_EDGES
from streams.quality.average_precision import average_precision_bracket
from streams.quality.figure import Bounds, Figure, UndefinedReason
from streams.quality.intervals import normal_quantile, wilson_interval

__all__ = ["average_precision", "roc_auc"]

_Counts = npt.NDArray[np.int64]
_Reals = npt.NDArray[np.float64]

_IS_WIDE = np.array([low < high for low, high in BIN_EDGES])
_IS_NARROW = ~_IS_WIDE

ANYWHERE = 0.3
"""Pseudo-observations of each class that may rank anywhere. More of them, and ten labels of a class pass for fewer."""
LIKE_ALL = 0.5
"""Pseudo-observations of each class spread over the bins as all scores are."""
FARTHEST = 500.0
"""In log odds: beyond it a share is 0 or 1."""


def roc_auc(positives: _Counts, negatives: _Counts, *, confidence_level: float) -> Figure:
    """Return the area under the ROC curve.

    Args:
        positives: counts by bin, lowest scores first, shape (BIN_COUNT,).
        negatives: likewise.
        confidence_level: of the interval, e.g. 0.95.
    """
    n, many, few = _sizes(positives, negatives)
    if not many:
        return Figure.missing(UndefinedReason.NO_POSITIVE_LABELS, n=n)
    if not few:
        return Figure.missing(UndefinedReason.NO_NEGATIVE_LABELS, n=n)
    below = negatives.cumsum() - negatives
    pairs = 2 * many * few
    won, tied, unknown = (
        _dot(positives, row, most=pairs) for row in (below, negatives * _IS_NARROW, negatives * _IS_WIDE)
    )
    bracket = (2 * won + tied) / pairs, (2 * won + tied + 2 * unknown) / pairs
    value = (2 * won + tied + unknown) / pairs
    above = many - positives.cumsum()
    # Of each positive the share of negatives below it, and of each negative the share of positives above it.
    placed = (positives, (below + negatives / 2.0) / few, many), (negatives, (above + positives / 2.0) / many, few)
    unseen = ANYWHERE * ((value - 0.5) ** 2 + 1.0 / 12.0)
    variance = sum(
        (float(counts @ (places - value) ** 2) + unseen) / (size + ANYWHERE) ** 2 for counts, places, size in placed
    )
    fewest = min(many, few)
    shrunk = (fewest * value + ANYWHERE / 2.0) / (fewest + ANYWHERE)
    interval = wilson_interval(value, shrunk * (1.0 - shrunk) / variance, confidence_level=confidence_level)
    return _holding(bracket, interval, n=n)


def average_precision(positives: _Counts, negatives: _Counts, *, confidence_level: float) -> Figure:
    """Return the mean precision over the recall that the scores reach.

    Args: as of `roc_auc`.
    """
    n, many, _ = _sizes(positives, negatives)
    if not many:
        return Figure.missing(UndefinedReason.NO_POSITIVE_LABELS, n=n)
    filled = (positives + negatives).nonzero()[0][::-1]
    here, there = positives[filled], negatives[filled]
    bracket = average_precision_bracket(here.tolist(), there.tolist(), is_tie=_IS_NARROW[filled].tolist())
    like_all = LIKE_ALL * (here + there) / n
    smoothed, variance = _average_precision_variance(here + like_all, there + like_all)
    chance = many / n
    variance += max(0.0, smoothed - chance) * (1.0 - smoothed) / many**2
    odds = math.log(smoothed / (1.0 - smoothed))
    reach = normal_quantile(confidence_level) * math.sqrt(variance) / (smoothed * (1.0 - smoothed))
    return _holding(bracket, (_share(odds - reach), _share(odds + reach)), n=n)


def _average_precision_variance(positives: _Reals, negatives: _Reals) -> tuple[float, float]:
    """Average precision of counts by bin, highest first, and its variance by the delta method.

    The scores of a bin count as if they stood in its middle. Since the figure does not change when all counts grow
    alike, the variance is the sum of counts times squared slopes, as in `delta`.
    """
    total = positives.sum()
    both = positives + negatives
    hits, seen = positives.cumsum() - positives / 2.0, both.cumsum() - both / 2.0
    precision = hits / seen
    value = float(positives @ precision / total)
    # What a further hit, or a further score, above them changes in the precision of all positives of a bin.
    by_hit, by_score = _below(positives / seen), _below(-positives * precision / seen)
    of_positive, of_negative = precision - value + by_hit + by_score, by_score
    variance = float(positives @ of_positive**2 + negatives @ of_negative**2) / float(total) ** 2
    return value, variance


def _below(terms: _Reals) -> _Reals:
    """The sums over each bin and those with lower scores, the bin itself counting half."""
    sums: _Reals = terms[::-1].cumsum()[::-1] - terms / 2.0
    return sums


def _share(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-FARTHEST, min(FARTHEST, odds))))


def _sizes(positives: _Counts, negatives: _Counts) -> tuple[int, int, int]:
    many, few = int(positives.sum()), int(negatives.sum())
    return many + few, many, few


def _dot(left: _Counts, right: _Counts, *, most: int) -> int:
    """The exact sum of products, also beyond 2 ** 63; it is at most `most`."""
    if most < 2**63:
        return int(left @ right)
    return sum(a * b for a, b in zip(left.tolist(), right.tolist(), strict=True))


def _holding(bracket: Bounds, interval: Bounds, *, n: int) -> Figure:
    """The figure in the middle of `bracket`, with an interval that holds it."""
    value = sum(bracket) / 2.0
    return Figure.of(value, (min(interval[0], bracket[0]), max(interval[1], bracket[1])), n=n, bracket=bracket)
