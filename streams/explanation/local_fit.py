"""The local model: a weighted ridge over neighbours, its standard errors, and how stable its choice of features is.

Everything is solved from one weighted Gram matrix, which is a sum over ten blocks of rows. Drawing blocks again instead
of rows tells what another neighbourhood of the same size would have chosen, at nearly no cost.

Source: `lime` 0.2.0.1, `LimeBase` (selection by `highest_weights`: ridge 0.01, then ridge 1 on the chosen). Standard
errors: White, 1980 (sandwich), because neighbours are weighted by likeness and not by precision, and the local model is
wrong away from its centre by design.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCKS", "LocalFit", "Repeats", "fit_locally"]

Array = npt.NDArray[np.float64]

BLOCKS = 10
REPEATS = 10
SELECTION_PENALTY = 0.01
PENALTY = 1.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LocalFit:
    """A local linear model.

    `chosen` are places of features by falling size of their weight, `weights` and `standard_errors` theirs. `r2` is
    None where the model answers the same everywhere; `stability` is the mean share of `chosen` that another
    neighbourhood would choose too, in [0, 1].
    """

    chosen: tuple[int, ...]
    weights: Array
    standard_errors: Array
    intercept: float
    local_prediction: float
    r2: float | None
    stability: float


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Repeats:
    """How often each block stands in each repeat: shape (repeats, blocks)."""

    counts: Array

    @classmethod
    def drawn(cls, seed: int) -> Repeats:
        """Ten draws of ten blocks with replacement."""
        generator = np.random.Generator(np.random.PCG64(seed ^ 0x5EED))
        return cls(generator.multinomial(BLOCKS, np.full(BLOCKS, 1 / BLOCKS), size=REPEATS).astype(np.float64))


def fit_locally(neighbours: Array, centre: Array, repeats: Repeats, *, most_features: int) -> LocalFit:
    """Fit around one instance.

    Args:
        neighbours: (blocks, 1 + features + 1, rows) in ten blocks: ones, features, the model's answers, each times the
            root of the neighbour's weight. So that one array holds all, and Gram matrices are symmetric products.
        centre: (1 + features + 1), the same of the instance, whose weight is 1.
        most_features: how many to choose.
    """
    size = len(centre)
    blocks = neighbours @ neighbours.transpose(0, 2, 1)
    own = np.outer(centre, centre)
    gram = blocks.sum(axis=0) + own
    selection = _choose(gram[None], centre, most_features)[0]
    used = np.concatenate(([0], 1 + selection))
    penalty = np.full(len(used), PENALTY)
    penalty[0] = 0.0
    normal = gram[np.ix_(used, used)] + np.diag(penalty)
    coefficients = np.linalg.solve(normal, gram[used, -1])
    scores = neighbours[:, used]
    residuals = neighbours[:, -1] - coefficients @ scores
    scores *= residuals[:, None]
    own_residual = centre[-1] - coefficients @ centre[used]
    errors = _standard_errors(normal, scores, centre[used] * own_residual)
    again = (repeats.counts @ blocks.reshape(BLOCKS, -1)).reshape(-1, size, size) + own
    order = np.argsort(-np.abs(coefficients[1:]), kind="stable")
    return LocalFit(
        chosen=tuple(selection[order].tolist()),
        weights=coefficients[1:][order],
        standard_errors=errors[1:][order],
        intercept=float(coefficients[0]),
        local_prediction=float(coefficients @ centre[used]),
        r2=_r2(gram, float(np.vdot(residuals, residuals) + own_residual**2)),
        stability=_overlap(selection, _choose(again, centre, most_features), features=size - 2),
    )


def _choose(grams: Array, centre: Array, most_features: int) -> npt.NDArray[np.int64]:
    """For each Gram matrix, the features that contribute most: shape (grams, chosen)."""
    features = grams.shape[-1] - 2
    if features <= most_features:
        return np.tile(np.arange(features), (len(grams), 1))
    penalty = np.full(features + 1, SELECTION_PENALTY)
    penalty[0] = 0.0
    coefficients = np.linalg.solve(grams[:, :-1, :-1] + np.diag(penalty), grams[:, :-1, -1:])[:, 1:, 0]
    contributions = -np.abs(coefficients * centre[1:-1])
    return np.argsort(contributions, axis=1, kind="stable")[:, :most_features]


def _standard_errors(normal: Array, scores: Array, own: Array) -> Array:
    blocks, used, rows = scores.shape
    middle = (scores @ scores.transpose(0, 2, 1)).sum(axis=0) + np.outer(own, own)
    bread = np.linalg.inv(normal)
    spread = bread @ middle @ bread * (blocks * rows / max(blocks * rows - used, 1))
    errors: Array = np.sqrt(np.maximum(np.diag(spread), 0.0))
    return errors


def _r2(gram: Array, residual: float) -> float | None:
    total = gram[-1, -1] - gram[0, -1] ** 2 / gram[0, 0]
    # A sum of squares that is rounding and nothing else: the answers are all one.
    return None if total <= 1e-12 * max(gram[-1, -1], 1e-300) else float(1 - residual / total)


def _overlap(selection: npt.NDArray[np.int64], others: npt.NDArray[np.int64], *, features: int) -> float:
    is_selected = np.zeros(features, dtype=np.bool_)
    is_selected[selection] = True
    return float(is_selected[others].mean())
