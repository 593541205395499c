"""Tabular LIME through a shared neighbourhood: built once per model version, then a matrix product per explanation.

    draws ── the model answers ──> Pool ── one instance and its answer ──> LocalFit

Equal draws and answers give equal bytes, whatever the order in which instances are explained.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.explanation.features import Categories, Feature, Numbers, Value
from streams.explanation.local_fit import LocalFit, Repeats, fit_locally
from streams.explanation.neighbourhood import Draws

__all__ = ["Pool"]

Array = npt.NDArray[np.float64]

KERNEL_WIDTH = 0.75
"""Times the square root of the number of features, as in stock LIME."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Draws and what the model answered to them.

    `outputs` has a row per draw and a column per class, or one for regression. Numbers without bins are compared by
    their distance in standard deviations, everything else by being in the same bin or category.
    """

    draws: Draws
    outputs: Array
    pool_id: str
    _codes: npt.NDArray[np.signedinteger[Any]]
    _scaled: Mapping[int, Array]
    _likeness: Array
    _repeats: Repeats

    @classmethod
    def built(cls, draws: Draws, outputs: Array) -> Pool:
        """Prepare everything that does not depend on an instance."""
        digest = hashlib.sha256(np.int64(draws.seed).tobytes() + draws.codes.tobytes() + outputs.tobytes())
        scaled = {
            at: (column.astype(np.float64) - feature.mean) / feature.deviation
            for at, (feature, column) in enumerate(zip(draws.features, draws.columns, strict=True))
            if isinstance(feature, Numbers) and not feature.edges
        }
        # Each explanation compares them all; in bytes they are compared four times as fast.
        most_codes = max(len(feature.shares) for feature in draws.features)
        code_type: type[np.signedinteger[Any]] = np.int8 if most_codes <= np.iinfo(np.int8).max else np.int32
        differing = np.arange(len(draws.features), -1.0, -1.0)
        return cls(
            draws=draws,
            outputs=outputs,
            pool_id=digest.hexdigest()[:16],
            _codes=np.ascontiguousarray(draws.codes.T, dtype=code_type),
            _scaled=scaled,
            _likeness=_kernel(differing, len(draws.features)),
            _repeats=Repeats.drawn(draws.seed),
        )

    def explain(self, row: Sequence[Value], answer: float, *, output: int, most_features: int) -> LocalFit:
        """Fit around one instance.

        Args:
            row: its values in the order of the features.
            answer: what the model answered to it in column `output`.
            output: which column of `outputs` is explained.
            most_features: how many features to name.

        Raises: Refused if a value is not of its feature's type.
        """
        features = self.draws.features
        own_codes = np.array(
            [feature.code(value) for feature, value in zip(features, row, strict=True)], dtype=self._codes.dtype
        )
        same = self._codes == own_codes[:, None]
        design = np.empty((len(features) + 2, same.shape[1]))
        design[0] = 1.0
        design[1:-1] = same
        design[-1] = self.outputs[:, output]
        centre = np.ones(len(features) + 2)
        centre[-1] = answer
        if self._scaled:
            for at, scaled in self._scaled.items():
                design[1 + at] = scaled
                centre[1 + at] = _scaled_value(features[at], row[at])
            kernel = _kernel(((design[1:-1] - centre[1:-1, None]) ** 2).sum(axis=0), len(features))
        else:
            kernel = self._likeness[same.view(np.uint8).sum(axis=0, dtype=np.uint16)]
        return fit_locally(design, kernel, centre, self._repeats, most_features=most_features)

    def unseen(self, row: Sequence[Value]) -> tuple[str, ...]:
        """Features of an instance whose category was never seen."""
        return tuple(
            feature.name
            for feature, value in zip(self.draws.features, row, strict=True)
            if isinstance(feature, Categories) and feature.code(value) < 0
        )


def _kernel(squared_distances: Array, features: int) -> Array:
    kernel: Array = np.exp(-squared_distances / (2 * KERNEL_WIDTH**2 * features))
    return kernel


def _scaled_value(feature: Feature, value: Value) -> float:
    assert isinstance(feature, Numbers)
    number = feature.number(value)
    return 0.0 if number is None else (number - feature.mean) / feature.deviation
