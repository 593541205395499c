"""Tabular LIME through a shared neighbourhood: built once per model version, then a matrix product per explanation.

    draws ── the model answers ──> Pool ── one instance and its answer ──> LocalFit

Equal draws and answers give equal bytes, whatever the order in which instances are explained.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.explanation import ExplainFailure
from streams.explanation.features import Categories, Feature, Numbers, Value
from streams.explanation.local_fit import BLOCKS, LocalFit, Repeats, fit_locally
from streams.explanation.neighbourhood import Draws
from streams.explanation.refusal import Refused

__all__ = ["Pool"]

Array = npt.NDArray[np.float64]

KERNEL_WIDTH = 0.75
"""Times the square root of the number of features, as in stock LIME."""
FAR_DEVIATIONS = 1e9
"""A number that is farther from the mean has no neighbours with a weight either, and its square would overflow."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Draws and what the model answered to them.

    `outputs` has a row per draw and a column per class, or one for regression. Numbers without bins are compared by
    their distance in standard deviations, everything else by being in the same bin or category.

    Explanations are worked out in memory that the pool keeps, as memory taken anew costs more than what is worked out
    in it. So only one thread may explain.
    """

    draws: Draws
    outputs: Array
    pool_id: str
    _columns: _Columns
    _likeness: Array
    _repeats: Repeats
    _same: npt.NDArray[np.bool_]
    _neighbours: Array

    @classmethod
    def built(cls, draws: Draws, outputs: Array) -> Pool:
        """Prepare everything that does not depend on an instance.

        Args:
            draws: a multiple of ten rows.
        """
        digest = hashlib.sha256(np.int64(draws.seed).tobytes() + draws.codes.tobytes() + outputs.tobytes())
        features = len(draws.features)
        columns = _Columns.of(draws, outputs)
        shape = (BLOCKS, features, len(outputs) // BLOCKS)
        return cls(
            draws=draws,
            outputs=outputs,
            pool_id=digest.hexdigest()[:16],
            _columns=columns,
            _likeness=_root_of_kernel(np.arange(features, -1.0, -1.0), features),
            _repeats=Repeats.drawn(draws.seed),
            _same=np.empty(shape, dtype=np.bool_),
            _neighbours=np.empty((shape[0], shape[1] + 2, shape[2])),
        )

    def explain(self, row: Sequence[Value], answer: float, *, output: int, most_features: int) -> LocalFit:
        """Fit around one instance.

        Args:
            row: its values in the order of the features.
            answer: what the model answered to it in column `output`.
            output: which column of `outputs` is explained.
            most_features: how many features to name.

        Raises: Refused if a value is not of its feature's type, or too far from all that is known.
        """
        features, columns = self.draws.features, self._columns
        own_codes = np.array(
            [feature.code(value) for feature, value in zip(features, row, strict=True)], dtype=columns.codes.dtype
        )
        own_codes[columns.scaled_places] = 0
        same = np.equal(columns.codes, own_codes[:, None], out=self._same)
        count_type: type[np.unsignedinteger[Any]] = np.uint8 if len(features) <= np.iinfo(np.uint8).max else np.uint32
        in_common: npt.NDArray[np.unsignedinteger[Any]] = same.view(np.uint8).sum(axis=1, dtype=count_type)
        root: Array = self._likeness[in_common]
        centre = np.ones(len(features) + 2)
        centre[-1] = answer
        if len(columns.scaled_places):
            own = np.array([_scaled_value(features[at], row[at]) for at in columns.scaled_places])
            own = np.clip(own, -FAR_DEVIATIONS, FAR_DEVIATIONS)
            centre[1 + columns.scaled_places] = own
            root *= _root_of_kernel(columns.squared_distances(own), len(features))
            _require_neighbours(root)
        neighbours = self._neighbours
        neighbours[:, 0] = root
        neighbours[:, 1:-1] = same
        neighbours[:, 1 + columns.scaled_places] = columns.scaled
        neighbours[:, 1:-1] *= root[:, None]
        np.multiply(columns.answers[output], root, out=neighbours[:, -1])
        return fit_locally(neighbours, centre, self._repeats, most_features=most_features)

    def unseen(self, row: Sequence[Value]) -> tuple[str, ...]:
        """Features of an instance whose category was never seen."""
        return tuple(
            feature.name
            for feature, value in zip(self.draws.features, row, strict=True)
            if isinstance(feature, Categories) and feature.code(value) < 0
        )


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """The draws by blocks, as each explanation reads them.

    Shapes: `codes` (blocks, features, rows), all 0 where a feature is a number without bins. Such are at
    `scaled_places`, and `scaled` (blocks, places, rows) in standard deviations, 0 where missing; `squared_norms`
    (blocks, rows) are theirs. `answers` (outputs, blocks, rows).
    """

    codes: npt.NDArray[np.signedinteger[Any]]
    scaled_places: npt.NDArray[np.intp]
    scaled: Array
    squared_norms: Array
    answers: Array

    @classmethod
    def of(cls, draws: Draws, outputs: Array) -> _Columns:
        places = [at for at, feature in enumerate(draws.features) if isinstance(feature, Numbers) and not feature.edges]
        scaled = np.empty((len(places), len(outputs)))
        for target, at in zip(scaled, places, strict=True):
            feature = draws.features[at]
            assert isinstance(feature, Numbers)
            target[:] = np.nan_to_num((draws.columns[at].astype(np.float64) - feature.mean) / feature.deviation)
        # Each explanation compares them all; in bytes they are compared four times as fast.
        most_codes = max(len(feature.shares) for feature in draws.features)
        code_type: type[np.signedinteger[Any]] = np.int8 if most_codes <= np.iinfo(np.int8).max else np.int32
        codes = draws.codes.T.astype(code_type)
        codes[places] = 0
        by_block = _by_block(scaled)
        return cls(
            codes=_by_block(codes),
            scaled_places=np.array(places, dtype=np.intp),
            scaled=by_block,
            squared_norms=(by_block**2).sum(axis=1),
            answers=np.ascontiguousarray(outputs.T).reshape(outputs.shape[1], BLOCKS, -1),
        )

    def squared_distances(self, own: Array) -> Array:
        """Of each draw from an instance, over the numbers without bins."""
        distances: Array = self.squared_norms - 2 * (own @ self.scaled) + own @ own
        return distances


def _by_block(columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of columns (columns, rows) those of each block: (blocks, columns, rows)."""
    count, rows = columns.shape
    return np.ascontiguousarray(columns.reshape(count, BLOCKS, rows // BLOCKS).transpose(1, 0, 2))


def _root_of_kernel(squared_distances: Array, features: int) -> Array:
    root: Array = np.exp(-squared_distances / (4 * KERNEL_WIDTH**2 * features))
    return root


def _require_neighbours(root: Array) -> None:
    """Raises: Refused if the instance weighs more than all its neighbours: a fit would tell of nothing but itself."""
    if np.vdot(root, root) < 1.0:
        raise Refused(
            ExplainFailure.WRONG_FEATURES,
            "numbers are so far from all that is known of them that no neighbour is near; set explain.discretizer to"
            " quartile, or look why they are so large",
        )


def _scaled_value(feature: Feature, value: Value) -> float:
    assert isinstance(feature, Numbers)
    number = feature.number(value)
    return 0.0 if number is None else (number - feature.mean) / feature.deviation
