"""How much the composite metrics vary from sample to sample: the delta method on the confusion counts.

Each of these metrics is a smooth function of the cells that does not change when all cells grow alike, so
its variance is `sum(cell * derivative ** 2)`: by Euler's theorem the derivatives average to zero, and the
multinomial's covariance term with them. From the variance follows the effective sample size, the n of a
proportion that would vary as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from streams.quality.confusion import BinaryCounts, ConfusionMatrix

__all__ = [
    "effective_sample_size",
    "f1_weighted_terms",
    "fbeta_effective_sample_size",
    "kappa_terms",
    "mcc_terms",
    "precision_weighted_terms",
]

Array: TypeAlias = npt.NDArray[np.float64]
_Four: TypeAlias = tuple[float, float, float, float]
_TermsOfTwo: TypeAlias = Callable[[_Four], tuple[float, _Four]]
"""As `Terms`, of the cells of two classes row by row."""
Terms: TypeAlias = Callable[[Array], tuple[float, Array]]
"""Positive cells, shape (classes, classes) -> the metric and its derivative by each cell, same shape."""

PSEUDO_OBSERVATIONS = 1.0
"""Spread over all cells before differentiating. Without it a window with no error has no variance; with
much more, the rare class of an unbalanced window looks better known than it is."""


def effective_sample_size(matrix: ConfusionMatrix, terms: Terms, *, lowest: float = 0.0) -> float:
    """Return the n of a proportion that varies as much as a metric that ranges from `lowest` to 1."""
    of_two = _TERMS_OF_TWO.get(terms) if len(matrix.classes) == 2 else None
    if of_two is not None:
        (a, b), (c, d) = matrix.counts
        return _effective_sample_size_of_two((a, b, c, d), of_two, lowest=lowest)
    cells = matrix.to_numpy().astype(np.float64)
    return _effective_sample_size(cells, terms, lowest=lowest)


def fbeta_effective_sample_size(counts: BinaryCounts, *, beta: float) -> float:
    """Return the n of a proportion that varies as much as F-beta."""

    def terms(cells: _Four) -> tuple[float, _Four]:
        _, invented, missed, both = cells
        errors = beta**2 * missed + invented
        scale = (1.0 + beta**2) / ((1.0 + beta**2) * both + errors)
        value = scale * both
        by_error = -value * scale / (1.0 + beta**2)
        return value, (0.0, by_error, beta**2 * by_error, scale - value * scale)

    cells = counts.true_negative, counts.false_positive, counts.false_negative, counts.true_positive
    return _effective_sample_size_of_two(cells, terms, lowest=0.0)


def _effective_sample_size(cells: Array, terms: Terms, *, lowest: float) -> float:
    if cells.size < 2:  # one class only: nothing varies, and every answer was right
        return float(cells.sum())
    smoothed = cells + PSEUDO_OBSERVATIONS / cells.size
    value, slopes = terms(smoothed)
    span = 1.0 - lowest
    share = (value - lowest) / span
    variance = float((smoothed * slopes * slopes).sum()) / span**2
    return share * (1.0 - share) / variance


def _effective_sample_size_of_two(cells: _Four, terms: _TermsOfTwo, *, lowest: float) -> float:
    """As above, in the same order of steps: for four cells arrays cost more than they save."""
    a, b, c, d = (cell + PSEUDO_OBSERVATIONS / 4 for cell in cells)
    value, (by_a, by_b, by_c, by_d) = terms((a, b, c, d))
    span = 1.0 - lowest
    share = (value - lowest) / span
    variance = (a * by_a * by_a + b * by_b * by_b + c * by_c * by_c + d * by_d * by_d) / span**2
    return share * (1.0 - share) / variance


def mcc_terms(cells: Array) -> tuple[float, Array]:
    """Matthews' correlation for any number of classes (Gorodkin's R_K)."""
    n, correct, labels, predictions = _margins(cells)
    of_predictions, of_labels = n * n - predictions @ predictions, n * n - labels @ labels
    root = np.sqrt(of_predictions * of_labels)
    value = (correct * n - labels @ predictions) / root
    slopes = _covariance_slopes(cells) / root - value * (
        ((n - predictions) / of_predictions)[np.newaxis, :] + ((n - labels) / of_labels)[:, np.newaxis]
    )
    return float(value), slopes


def kappa_terms(cells: Array) -> tuple[float, Array]:
    """Cohen's kappa."""
    n, correct, labels, predictions = _margins(cells)
    chance = labels @ predictions
    value = (correct * n - chance) / (n * n - chance)
    of_chance = predictions[:, np.newaxis] + labels[np.newaxis, :]
    slopes = (_covariance_slopes(cells) - value * (2.0 * n - of_chance)) / (n * n - chance)
    return float(value), slopes


def precision_weighted_terms(cells: Array) -> tuple[float, Array]:
    """Precision, averaged over the labels' classes."""
    n, _, labels, predictions = _margins(cells)
    precision = cells.diagonal() / predictions
    value = labels @ precision / n
    slopes = (precision - value)[:, np.newaxis] - (labels * precision / predictions)[np.newaxis, :]
    slopes = slopes + np.diag(labels / predictions)
    return float(value), slopes / n


def f1_weighted_terms(cells: Array) -> tuple[float, Array]:
    """F1, averaged over the labels' classes."""
    n, _, labels, predictions = _margins(cells)
    both = labels + predictions
    f1 = 2.0 * cells.diagonal() / both
    value = labels @ f1 / n
    by_margin = labels * f1 / both
    slopes = (f1 - value - by_margin)[:, np.newaxis] - by_margin[np.newaxis, :] + np.diag(2.0 * labels / both)
    return float(value), slopes / n


def _margins(cells: Array) -> tuple[float, float, Array, Array]:
    """Total, trace, labels by class, predictions by class."""
    return float(cells.sum()), float(cells.trace()), cells.sum(axis=1), cells.sum(axis=0)


def _covariance_slopes(cells: Array) -> Array:
    """Derivative of `trace * total - labels @ predictions`, the numerator of MCC and of kappa."""
    n, correct, labels, predictions = _margins(cells)
    slopes: Array = correct - predictions[:, np.newaxis] - labels[np.newaxis, :] + np.diag(np.full(len(cells), n))
    return slopes


def _mcc_terms_of_two(cells: _Four) -> tuple[float, _Four]:
    n, correct, (label_0, label_1), (predicted_0, predicted_1) = _margins_of_two(cells)
    of_predictions = n * n - (predicted_0 * predicted_0 + predicted_1 * predicted_1)
    of_labels = n * n - (label_0 * label_0 + label_1 * label_1)
    root = math.sqrt(of_predictions * of_labels)
    value = (correct * n - (label_0 * predicted_0 + label_1 * predicted_1)) / root
    a, b, c, d = _covariance_slopes_of_two(cells)
    by_0, by_1 = (n - predicted_0) / of_predictions, (n - predicted_1) / of_predictions
    of_0, of_1 = (n - label_0) / of_labels, (n - label_1) / of_labels
    return value, (
        a / root - value * (by_0 + of_0),
        b / root - value * (by_1 + of_0),
        c / root - value * (by_0 + of_1),
        d / root - value * (by_1 + of_1),
    )


def _kappa_terms_of_two(cells: _Four) -> tuple[float, _Four]:
    n, correct, (label_0, label_1), (predicted_0, predicted_1) = _margins_of_two(cells)
    chance = label_0 * predicted_0 + label_1 * predicted_1
    rest = n * n - chance
    value = (correct * n - chance) / rest
    a, b, c, d = _covariance_slopes_of_two(cells)
    return value, (
        (a - value * (2.0 * n - (predicted_0 + label_0))) / rest,
        (b - value * (2.0 * n - (predicted_0 + label_1))) / rest,
        (c - value * (2.0 * n - (predicted_1 + label_0))) / rest,
        (d - value * (2.0 * n - (predicted_1 + label_1))) / rest,
    )


def _margins_of_two(cells: _Four) -> tuple[float, float, tuple[float, float], tuple[float, float]]:
    a, b, c, d = cells
    return a + b + c + d, a + d, (a + b, c + d), (a + c, b + d)


def _covariance_slopes_of_two(cells: _Four) -> _Four:
    n, correct, (label_0, label_1), (predicted_0, predicted_1) = _margins_of_two(cells)
    return (
        correct - predicted_0 - label_0 + n,
        correct - predicted_0 - label_1,
        correct - predicted_1 - label_0,
        correct - predicted_1 - label_1 + n,
    )


_TERMS_OF_TWO: Mapping[Terms, _TermsOfTwo] = {mcc_terms: _mcc_terms_of_two, kappa_terms: _kappa_terms_of_two}
