"""Means of attributions over samples that were drawn at different rates, their differences, and how far to trust both.

    mean       Σ w x / Σ w, w = 1 / rate                                     Hájek's ratio estimator
    its error  Σ w² (x - mean)² / (Σ w)² · k / (k - 1), k = (Σ w)² / Σ w²    linearised, as for draws with replacement
    a - b      Welch's t with k for the sample sizes: with equal weights Welch's interval exactly

Intervals are for the drawing of predictions. What the explanations themselves are unsure of is part of the spread, but
for the error that explanations of one pool share, and which a difference within one pool largely takes away.

Source: Hájek, 1971; Särndal, Swensson, Wretman, "Model assisted survey sampling", 1992, 5.7; Welch, 1947; Kish, 1965
(effective size).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from streams.explanation.attribution_sample import Row

__all__ = [
    "Estimates",
    "WeighedSample",
    "normalised_difference",
    "rank_correlation",
    "welch",
]

Array = npt.NDArray[np.float64]

REDRAWS = 400
HALF_NORMAL_MEAN = math.sqrt(2 / math.pi)
HALF_NORMAL_DEVIATION = math.sqrt(1 - 2 / math.pi)
LEAST_RANKED = 3


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Estimated means, one per feature; `errors` are their standard errors, None from fewer than two explanations.

    `size` is the effective number of explanations.
    """

    means: Array
    errors: Array | None
    size: float

    @classmethod
    def of(cls, values: Array, weights: Array) -> Estimates:
        """Estimate from at least one explanation.

        Args:
            values: shape (explanations, features).
            weights: shape (explanations), above 0.
        """
        share = weights / weights.sum()
        size = float(1 / (share**2).sum())
        means: Array = share @ values
        # Two whose weights differ beyond measure are hardly one.
        if len(weights) < 2 or size <= 1.0 + 1e-9:
            return cls(means, None, size)
        variances = share**2 @ (values - means) ** 2 * (size / (size - 1))
        return cls(means, np.sqrt(variances), size)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class WeighedSample:
    """The explanations of one sample; `shares` has the shape (explained, features), `named` says which are named."""

    explained: int
    failed: int
    weights: Array
    shares: Array
    named: Array
    stability: float | None

    @classmethod
    def of(cls, rows: Sequence[Row], features: Sequence[str]) -> WeighedSample:
        """Lay rows out; a feature that an explanation does not name is 0 in it."""
        good = [row for row in rows if row.shares is not None]
        place = {name: at for at, name in enumerate(features)}
        shares = np.zeros((len(good), len(features)))
        named = np.zeros_like(shares)
        for at, row in enumerate(good):
            where = [place[name] for name in row.shares or ()]
            shares[at, where] = list((row.shares or {}).values())
            named[at, where] = 1.0
        known = [(row.weight, row.stability) for row in good if row.stability is not None]
        total = math.fsum(weight for weight, _ in known)
        return cls(
            explained=len(good),
            failed=len(rows) - len(good),
            weights=np.array([row.weight for row in good]),
            shares=shares,
            named=named,
            stability=math.fsum(weight * each for weight, each in known) / total if known else None,
        )

    def signed(self) -> Estimates:
        """Of the attributions."""
        return Estimates.of(self.shares, self.weights)

    def absolute(self) -> Estimates:
        """Of their sizes."""
        return Estimates.of(np.abs(self.shares), self.weights)

    def naming(self) -> Array:
        """The weighted share of explanations that name each feature."""
        naming: Array = self.weights @ self.named / self.weights.sum()
        return naming


def welch(one: Estimates, other: Estimates, *, confidence_level: float) -> tuple[Array, Array] | None:
    """Lower and upper ends of the difference one - other, per feature; None if either has no errors."""
    if one.errors is None or other.errors is None:
        return None
    variances = one.errors**2 + other.errors**2
    parts = one.errors**4 / (one.size - 1) + other.errors**4 / (other.size - 1)
    # Without any spread the difference is what it is, whatever the degrees of freedom.
    freedom = np.where(parts > 0, variances**2 / np.where(parts > 0, parts, 1.0), 1.0)
    half = special.stdtrit(freedom, (1 + confidence_level) / 2) * np.sqrt(variances)
    difference = one.means - other.means
    return difference - half, difference + half


def normalised_difference(
    one: Estimates, other: Estimates, *, confidence_level: float
) -> tuple[float, float, float] | None:
    """Half the sum of the differences between shares of mean absolute attributions: value, low, high, all in [0, 1].

    Sampling alone makes any two samples differ; the triangle inequality bounds by how much: by half the sum of the
    errors of the features' differences, which are normal. `low` above 0 is more than that explains.

    None if all attributions of a sample are 0, or one has no errors.

    >>> rows = np.array([[3.0, 1.0], [3.0, 1.0]])
    >>> value, low, high = normalised_difference(
    ...     Estimates.of(rows, np.ones(2)), Estimates.of(rows[:, ::-1], np.ones(2)), confidence_level=0.95
    ... )
    >>> round(value, 6), round(low, 6), round(high, 6)
    (0.5, 0.5, 0.5)
    """
    if one.errors is None or other.errors is None or not one.means.sum() or not other.means.sum():
        return None
    value = float(np.abs(one.means / one.means.sum() - other.means / other.means.sum()).sum() / 2)
    errors = np.hypot(one.errors / one.means.sum(), other.errors / other.means.sum())
    quantile = float(special.ndtri((1 + confidence_level) / 2))
    spread = HALF_NORMAL_DEVIATION * float(np.sqrt((errors**2).sum()))
    half = (HALF_NORMAL_MEAN * float(errors.sum()) + quantile * spread) / 2
    return value, max(0.0, value - half), min(1.0, value + half)


def rank_correlation(one: Estimates, other: Estimates, *, confidence_level: float) -> tuple[float, float, float] | None:
    """Spearman's correlation of two orders of features: value, low, high.

    The interval is what drawing both samples again would give, their means being normal. It holds the value.

    None for fewer than three features, for means that are all equal, or if one sample has no errors.
    """
    if one.errors is None or other.errors is None or len(one.means) < LEAST_RANKED:
        return None
    ranks = np.stack([_ranks(one.means), _ranks(other.means)])
    if (np.ptp(ranks, axis=1) == 0).any():
        return None
    value = float(_correlations(ranks[:1], ranks[1:])[0])
    # The same numbers whenever it is asked: a figure has to be a function of its samples.
    normal = np.random.Generator(np.random.PCG64(0)).standard_normal((2, REDRAWS, len(one.means)))
    drawn = (_orders(each.means + each.errors * noise) for each, noise in zip((one, other), normal, strict=True))
    again = _correlations(*drawn)
    low, high = np.quantile(again, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    return value, min(value, float(low)), max(value, float(high))


def _ranks(values: Array) -> Array:
    """Ranks from 1 on, equals having the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = ((last - counts + 1 + last) / 2)[inverse]
    return ranks


def _orders(values: Array) -> Array:
    """Ranks of each row; there are no equals among drawn numbers, and where there are, any order will do."""
    return values.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable").astype(np.float64)


def _correlations(one: Array, other: Array) -> Array:
    one, other = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
    correlations: Array = (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return correlations
