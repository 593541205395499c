"""Figures of scores, from the bins and sums that `streams.pair_sums.contribution` adds up.

A score is the probability of an event: that the label is the positive class, or, of a multiclass model, that
the prediction is right. Of the latter only the calibration error is defined; the others would need the scores
of every class.

Ranking (`roc_auc`, `average_precision`) comes from the bins. What the order within a bin could change is the
`bracket`; the value is its middle, and equals that of the scores wherever each has a bin of its own. `log_loss`
and `brier` come from exact sums. `expected_calibration_error` is the mean distance between score and frequency
over ten equal tenths [0, 0.1), ..., [0.9, 1], weighted by their counts.

Intervals, each widened by the bracket:

- `roc_auc`: Wilson's at the effective sample size that DeLong's variance implies, with one pseudo-observation
  of each class ranked anywhere (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988).
- `average_precision`: Wilson's with as many observations as positive labels (after Boyd, Eng and Page,
  ECML 2013, who take the logit of the same variance).
- `log_loss`: gamma interval of a mean of sizes. `brier`: Wilson's at the effective sample size, with the
  variance of the middles of the bins.
- `expected_calibration_error`: noise makes a good calibration look bad, never the other way on average. Upwards
  the normal interval; downwards what the noise of the tenths adds up to, so that 0 stays inside when nothing
  but noise was measured. It holds the truth at least as often as it says.

Coverage of the nominal 95 % by simulation at n = 200, repeated by the tests: 93-97 % for `log_loss` and `brier`,
96-100 % for the others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from streams.pair_sums.exact_sum import totals
from streams.pair_sums.score_bins import BIN_COUNT, BIN_EDGES, DECILES, bin_decile
from streams.quality.average_precision import average_precision_bracket
from streams.quality.figure import Bounds, Figure, UndefinedReason
from streams.quality.intervals import normal_quantile, rescaled_interval, wilson_interval
from streams.quality.mean_intervals import size_interval

__all__ = ["SCORE_METRICS", "binary_score_figures", "multiclass_score_figures"]

SCORE_METRICS = ("roc_auc", "average_precision", "log_loss", "brier", "expected_calibration_error")

_Counts = npt.NDArray[np.int64]

_LOWEST, _HIGHEST = np.array(BIN_EDGES).T
_MIDDLES = (_LOWEST + _HIGHEST) / 2.0
_IS_WIDE = _LOWEST < _HIGHEST
_DECILE_OF_BIN = np.array([bin_decile(number) for number in range(BIN_COUNT)])


def binary_score_figures(
    sums: Mapping[str, int], *, labelled: int, positive_class: str | None, confidence_level: float
) -> dict[str, Figure]:
    """Return every metric of `SCORE_METRICS`.

    Args:
        sums: fields of `score_contribution`, added up over the labelled predictions that have a score.
        labelled: how many predictions have a label, with or without a score.
        positive_class: whose probability the scores are.
        confidence_level: of the intervals, e.g. 0.95.
    """
    reason = _why_undefined(sums, labelled)
    if labelled and positive_class is None:
        reason = UndefinedReason.NO_POSITIVE_CLASS
    if reason:
        return dict.fromkeys(SCORE_METRICS, Figure.missing(reason))
    scored = _Scored.of(sums, confidence_level)
    return {
        "roc_auc": _roc_auc(scored),
        "average_precision": _average_precision(scored),
        "log_loss": _log_loss(scored),
        "brier": _brier(scored),
        "expected_calibration_error": _expected_calibration_error(scored),
    }


def multiclass_score_figures(sums: Mapping[str, int], *, labelled: int, confidence_level: float) -> dict[str, Figure]:
    """Return every metric of `SCORE_METRICS`, of scores of the predicted class: all but one undefined.

    Args: as of `binary_score_figures`.
    """
    reason = _why_undefined(sums, labelled)
    if reason:
        return dict.fromkeys(SCORE_METRICS, Figure.missing(reason))
    scored = _Scored.of(sums, confidence_level)
    ranking = Figure.missing(UndefinedReason.NO_POSITIVE_CLASS, n=scored.n)
    of_every_class = Figure.missing(UndefinedReason.NO_SCORES, n=scored.n)
    return {
        "roc_auc": ranking,
        "average_precision": ranking,
        "log_loss": of_every_class,
        "brier": of_every_class,
        "expected_calibration_error": _expected_calibration_error(scored),
    }


def _why_undefined(sums: Mapping[str, int], labelled: int) -> UndefinedReason | None:
    if not labelled:
        return UndefinedReason.NO_LABELLED
    if sums.get("x", 0):
        return UndefinedReason.BAD_PROBABILITIES
    return None if any(sums.values()) else UndefinedReason.NO_SCORES


@dataclasses.dataclass(frozen=True, slots=True)
class _Scored:
    """Counts by bin, ascending, of scores whose event happened and of the others; exact totals by name."""

    happened: _Counts
    others: _Counts
    totals: Mapping[str, Fraction]
    confidence_level: float

    @classmethod
    def of(cls, sums: Mapping[str, int], confidence_level: float) -> _Scored:
        counts = {side: np.zeros(BIN_COUNT, dtype=np.int64) for side in "pn"}
        for field, count in sums.items():
            if field[0] in counts:
                counts[field[0]][int(field[1:])] = count
        return cls(counts["p"], counts["n"], totals(sums), confidence_level)

    @property
    def positives(self) -> int:
        return int(self.happened.sum())

    @property
    def negatives(self) -> int:
        return int(self.others.sum())

    @property
    def n(self) -> int:
        return self.positives + self.negatives

    def mean(self, name: str) -> float:
        return float(self.totals.get(name, Fraction(0)) / self.n)


def _bracketed(bracket: Bounds, interval: Bounds, *, n: int) -> Figure:
    """The figure in the middle of `bracket`, its interval moved apart by as much."""
    lowest, highest = bracket
    value = (lowest + highest) / 2.0
    low, high = max(0.0, interval[0] - (value - lowest)), min(1.0, interval[1] + (highest - value))
    return Figure.of(value, (low, high), n=n, bracket=bracket)


# Ranking


def _roc_auc(scored: _Scored) -> Figure:
    positives, negatives = scored.positives, scored.negatives
    if not positives:
        return Figure.missing(UndefinedReason.NO_POSITIVE_LABELS, n=scored.n)
    if not negatives:
        return Figure.missing(UndefinedReason.NO_NEGATIVE_LABELS, n=scored.n)
    below = np.cumsum(scored.others) - scored.others
    won, tied, unknown = (
        _dot(scored.happened, row) for row in (below, scored.others * ~_IS_WIDE, scored.others * _IS_WIDE)
    )
    pairs = 2 * positives * negatives
    bracket = (2 * won + tied) / pairs, (2 * won + tied + 2 * unknown) / pairs
    value = (2 * won + tied + unknown) / pairs
    interval = wilson_interval(value, _auc_effective_n(scored, value, below), confidence_level=scored.confidence_level)
    return _bracketed(bracket, interval, n=scored.n)


def _dot(left: _Counts, right: _Counts) -> int:
    """The exact sum of products, also beyond 2 ** 63."""
    if int(left.sum()) * int(right.max()) < 2**63:
        return int(left @ right)
    return sum(a * b for a, b in zip(left.tolist(), right.tolist(), strict=True))


def _auc_effective_n(scored: _Scored, value: float, below: _Counts) -> float:
    positives, negatives = scored.positives, scored.negatives
    above = positives - np.cumsum(scored.happened)
    ranks = (below + scored.others / 2.0) / negatives, (above + scored.happened / 2.0) / positives
    anywhere = (value - 0.5) ** 2 + 1.0 / 12.0
    variance = sum(
        (float(counts @ (rank - value) ** 2) + anywhere) / size**2
        for counts, rank, size in zip((scored.happened, scored.others), ranks, (positives, negatives), strict=True)
    )
    fewest = min(positives, negatives)
    shrunk = (fewest * value + 0.5) / (fewest + 1.0)
    return shrunk * (1.0 - shrunk) / variance


def _average_precision(scored: _Scored) -> Figure:
    positives = scored.positives
    if not positives:
        return Figure.missing(UndefinedReason.NO_POSITIVE_LABELS, n=scored.n)
    filled = np.flatnonzero(scored.happened + scored.others)[::-1]
    bracket = average_precision_bracket(
        scored.happened[filled].tolist(), scored.others[filled].tolist(), is_tie=(~_IS_WIDE)[filled].tolist()
    )
    interval = wilson_interval(sum(bracket) / 2.0, positives, confidence_level=scored.confidence_level)
    return _bracketed(bracket, interval, n=scored.n)


# Probabilities


def _log_loss(scored: _Scored) -> Figure:
    value, n = scored.mean("l"), scored.n
    # Knowing nothing is the score 1/2, whatever happens.
    interval = size_interval(
        value, scored.mean("lr"), n=n, confidence_level=scored.confidence_level, ignorance=math.log(2.0)
    )
    return Figure.of(value, interval, n=n)


def _brier(scored: _Scored) -> Figure:
    value, n = scored.mean("b"), scored.n
    squares = float(scored.happened @ (1.0 - _MIDDLES) ** 4 + scored.others @ _MIDDLES**4)
    # The pseudo-observation is the score 1/2.
    variance = max(0.0, squares / n - value * value) + (0.25 - value) ** 2 / n
    effective_n = n * value * (1.0 - value) / variance if variance else math.inf
    if not math.isfinite(effective_n):
        return Figure.of(value, (value, value), n=n)
    interval = rescaled_interval(value, effective_n, lowest=0.0, confidence_level=scored.confidence_level)
    return Figure.of(value, interval, n=n)


def _expected_calibration_error(scored: _Scored) -> Figure:
    n = scored.n
    happened, others = (
        np.bincount(_DECILE_OF_BIN, weights=row, minlength=DECILES) for row in (scored.happened, scored.others)
    )
    scores = [scored.totals.get(f"c{tenth}", Fraction(0)) for tenth in range(DECILES)]
    distances = np.array([abs(float(int(hits) - total)) for hits, total in zip(happened, scores, strict=True)])
    value = math.fsum(distances) / n
    sizes = happened + others
    # Laplace's rule, so that a tenth in which everything happened still has some noise.
    frequencies = (happened + 1.0) / (sizes + 2.0)
    noise = np.sqrt(sizes * frequencies * (1.0 - frequencies)) / n
    gaps = np.divide(distances, sizes, out=np.zeros(DECILES), where=sizes > 0)
    mixing = float(sizes @ (gaps - value) ** 2) / n**2
    z = normal_quantile(scored.confidence_level)
    up = z * math.sqrt(float(noise @ noise) + mixing)
    # Mean and variance of the size of a normal deviate.
    down = math.sqrt(2.0 / math.pi) * float(noise.sum())
    down += z * math.sqrt((1.0 - 2.0 / math.pi) * float(noise @ noise) + mixing)
    return Figure.of(value, (max(0.0, value - down), min(1.0, value + up)), n=n)
