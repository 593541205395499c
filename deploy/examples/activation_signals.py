"""Signals of what happens inside a network, from arrays: what the examples for PyTorch and Keras have in common.

Arrays have one row for each prediction. NumPy is all that this takes, so copy it beside your model.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["attention_entropy", "dead_share", "layer_norm"]

Floats = npt.NDArray[np.float64]
Signals = npt.NDArray[np.float64]
"""One number for each prediction."""


def layer_norm(activations: npt.ArrayLike) -> Signals:
    """Euclidean norm of each row by the root of its length, so that layers of any width compare.

    Grows when inputs leave what the network has learned from, and is not finite when it overflows.

    >>> layer_norm([[3.0, 4.0], [0.0, 0.0]]).round(3).tolist()
    [3.536, 0.0]
    """
    rows = _rows(activations)
    return np.asarray(np.sqrt(np.mean(np.square(rows), axis=1)))


def dead_share(activations: npt.ArrayLike) -> Signals:
    """Share of units that are exactly 0 in each row, behind a ReLU or its like.

    >>> dead_share([[0.0, 0.0, 1.5, 0.0], [1.0, 2.0, 3.0, 4.0]]).tolist()
    [0.75, 0.0]
    """
    return np.asarray(np.mean(_rows(activations) == 0.0, axis=1))


def attention_entropy(weights: npt.ArrayLike) -> Signals:
    """Mean entropy of the attention of each row's heads and queries, by that of attention to everything alike.

    Args:
        weights: row, head, query, key (or row, query, key); along keys they add up to 1.

    1 is attention that is spread evenly, 0 is all on one key. With a single key there is nothing to spread: NaN.

    >>> attention_entropy([[[0.5, 0.5]], [[1.0, 0.0]]]).tolist()
    [1.0, 0.0]
    """
    found = np.asarray(weights, dtype=np.float64)
    keys = found.shape[-1]
    if keys < 2:
        return np.full(len(found), np.nan)
    logs = np.log(found, out=np.zeros_like(found), where=found > 0.0)
    entropies = -np.sum(found * logs, axis=-1) / np.log(keys)
    return np.asarray(np.mean(entropies.reshape(len(found), -1), axis=1))


def _rows(activations: npt.ArrayLike) -> Floats:
    found = np.asarray(activations, dtype=np.float64)
    return found.reshape(len(found), -1)
