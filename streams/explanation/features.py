"""What is known about a model's features: of numbers their bins, of categories their shares.

A neighbourhood is drawn from this alone, so that no training row has to be shipped. Statistics are learnt from rows
that the stream brought, or read from a file that somebody made of the training data by the same function.

Bins are `(edge, next edge]`; the first and the last are open. A missing value is None, in rows and in statistics.
"""

from __future__ import annotations

import bisect
import enum
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.explanation import ExplainFailure
from streams.explanation.refusal import Refused

__all__ = ["MISSING", "Categories", "Discretizer", "Feature", "Numbers", "Value", "learn", "order_of"]

Value: TypeAlias = str | float | None
"""Of one feature; true and false are the categories `true` and `false`."""

MISSING = "__missing__"
LEAST_ROWS = 20
"""Fewer say nothing about the world from which neighbours are to be drawn."""
LEAST_DEVIATION = 1e-11
"""As stock LIME has it, so that a bin of equal numbers is one."""


class Discretizer(enum.StrEnum):
    """Whether a number is explained by the bin in which it is, or as it is."""

    QUARTILE = "quartile"
    DECILE = "decile"
    NONE = "none"

    @property
    def quantiles(self) -> npt.NDArray[np.float64]:
        """In per cent."""
        return {"quartile": np.arange(25.0, 100, 25), "decile": np.arange(10.0, 100, 10), "none": np.empty(0)}[self]


class Numbers(msgspec.Struct, frozen=True, kw_only=True, tag="numbers"):
    """A numeric feature.

    Of b bins: b - 1 `edges`, and b of `shares` (they sum to 1), `means`, `deviations`; `least` and `most` bound all
    values. `mean` and `deviation` are over all bins. `missing_share` is that of rows without a value.
    """

    name: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    least: float
    most: float
    mean: float
    deviation: float
    missing_share: float = 0.0

    def code(self, value: Value) -> int:
        """The bin of a value; one past the last for a missing one.

        Raises: Refused for text that is no number.
        """
        number = self.number(value)
        return len(self.shares) if number is None else bisect.bisect_left(self.edges, number)

    def number(self, value: Value) -> float | None:
        """The value as a number.

        Raises: Refused for text that is none.
        """
        if value is None:
            return None
        if isinstance(value, str):
            raise Refused(
                ExplainFailure.WRONG_FEATURES,
                f"feature {self.name!r} is text here and a number elsewhere; list it in explain.categorical",
            )
        return float(value)

    def rule(self, value: Value) -> str:
        """What the attribution is about, for people."""
        code = self.code(value)
        if value is None:
            return f"{self.name} is missing"
        if not self.edges:
            return self.name
        low = f"{self.edges[code - 1]:.4g} < " if code else ""
        high = f" ≤ {self.edges[code]:.4g}" if code < len(self.edges) else ""
        return f"{low}{self.name}{high}"

    @property
    def usual(self) -> float:
        """What stands in for a missing value where that is wanted."""
        return self.mean


class Categories(msgspec.Struct, frozen=True, kw_only=True, tag="categories"):
    """A categorical feature: `values` and their `shares`, which sum to 1, most frequent first."""

    name: str
    values: tuple[str | float, ...]
    shares: tuple[float, ...]
    missing_share: float = 0.0

    def code(self, value: Value) -> int:
        """The place of a value; one past the last for a missing one, -1 for one that was never seen."""
        if value is None:
            return len(self.values)
        return self.values.index(value) if value in self.values else -1

    def rule(self, value: Value) -> str:
        """What the attribution is about, for people."""
        return f"{self.name} is missing" if value is None else f"{self.name} = {value}"

    @property
    def usual(self) -> str | float:
        """What stands in for a missing value where that is wanted."""
        return self.values[0]


Feature: TypeAlias = Numbers | Categories


def order_of(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names that all rows together have, sorted: the order for models that do not say theirs."""
    return tuple(sorted({name for row in rows for name in row}))


def learn(
    rows: Sequence[Mapping[str, Value]],
    *,
    names: Sequence[str],
    categorical: Collection[str] = (),
    discretizer: Discretizer = Discretizer.QUARTILE,
) -> tuple[Feature, ...]:
    """Learn what has to be known about each feature.

    Args:
        rows: values by name, at least twenty rows; what is not there is missing.
        names: the features, in the order in which the model takes them.
        categorical: those whose numbers are names; those with text in them are categorical anyway.

    Raises: Refused with `no_background` if the rows are too few, or a feature has no value in any of them.
    """
    if len(rows) < LEAST_ROWS:
        raise Refused(
            ExplainFailure.NO_BACKGROUND,
            f"{len(rows)} predictions with features are known of this model version, {LEAST_ROWS} are needed;"
            " name a file of statistics in explain.statistics, or wait",
        )
    return tuple(_learnt(name, [row.get(name) for row in rows], name in categorical, discretizer) for name in names)


def _learnt(name: str, column: Sequence[Value], is_categorical: bool, discretizer: Discretizer) -> Feature:
    present = [value for value in column if value is not None]
    if not present:
        raise Refused(
            ExplainFailure.NO_BACKGROUND, f"feature {name!r} has no value in {len(column)} predictions; drop it"
        )
    missing_share = (len(column) - len(present)) / len(column)
    if is_categorical or any(isinstance(value, str) for value in present):
        counts = sorted(Counter(present).items(), key=lambda entry: (-entry[1], str(entry[0])))
        return Categories(
            name=name,
            values=tuple(value for value, _ in counts),
            shares=tuple(count / len(present) for _, count in counts),
            missing_share=missing_share,
        )
    return _numbers(name, np.array(present, dtype=np.float64), missing_share, discretizer)


def _numbers(name: str, values: npt.NDArray[np.float64], missing_share: float, discretizer: Discretizer) -> Numbers:
    quantiles = discretizer.quantiles
    edges = np.unique(np.percentile(values, quantiles)) if len(quantiles) else np.empty(0)
    bins = [values[np.searchsorted(edges, values) == code] for code in range(len(edges) + 1)]
    deviation = float(values.std())
    return Numbers(
        name=name,
        edges=tuple(edges.tolist()),
        shares=tuple(len(inside) / len(values) for inside in bins),
        means=tuple(float(inside.mean()) if len(inside) else 0.0 for inside in bins),
        deviations=tuple((float(inside.std()) if len(inside) else 0.0) + LEAST_DEVIATION for inside in bins),
        least=float(values.min()),
        most=float(values.max()),
        mean=math.fsum(values.tolist()) / len(values),
        deviation=deviation if deviation > 0 else 1.0,
        missing_share=missing_share,
    )
