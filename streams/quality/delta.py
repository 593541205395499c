"""How much the composite metrics vary from sample to sample: the delta method on the confusion counts.

Each of these metrics is a smooth function of the cells that does not change when all cells grow alike, so
its variance is `sum(cell * derivative ** 2)`: by Euler's theorem the derivatives average to zero, and the
multinomial's covariance term with them. From the variance follows the effective sample size, the n of a
proportion that would vary as much.
"""

from __future__ import annotations

from collections.abc import Callable
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
Terms: TypeAlias = Callable[[Array], tuple[float, Array]]
"""Positive cells, shape (classes, classes) -> the metric and its derivative by each cell, same shape."""

PSEUDO_OBSERVATIONS = 1.0
"""Spread over all cells before differentiating. Without it a window with no error has no variance; with
much more, the rare class of an unbalanced window looks better known than it is."""


def effective_sample_size(matrix: ConfusionMatrix, terms: Terms, *, lowest: float = 0.0) -> float:
    """Return the n of a proportion that varies as much as a metric that ranges from `lowest` to 1."""
    cells = matrix.to_numpy().astype(np.float64)
    return _effective_sample_size(cells, terms, lowest=lowest)


def fbeta_effective_sample_size(counts: BinaryCounts, *, beta: float) -> float:
    """Return the n of a proportion that varies as much as F-beta."""

    def terms(cells: Array) -> tuple[float, Array]:
        both, missed, invented = cells[1, 1], cells[1, 0], cells[0, 1]
        errors = beta**2 * missed + invented
        scale = (1.0 + beta**2) / ((1.0 + beta**2) * both + errors)
        value = scale * both
        by_error = -value * scale / (1.0 + beta**2)
        slopes = np.array([[0.0, by_error], [beta**2 * by_error, scale - value * scale]])
        return float(value), slopes

    cells = np.array(
        [[counts.true_negative, counts.false_positive], [counts.false_negative, counts.true_positive]],
        dtype=np.float64,
    )
    return _effective_sample_size(cells, terms, lowest=0.0)


def _effective_sample_size(cells: Array, terms: Terms, *, lowest: float) -> float:
    if cells.size < 2:  # one class only: nothing varies, and every answer was right
        return float(cells.sum())
    smoothed = cells + PSEUDO_OBSERVATIONS / cells.size
    value, slopes = terms(smoothed)
    span = 1.0 - lowest
    share = (value - lowest) / span
    variance = float((smoothed * slopes * slopes).sum()) / span**2
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
