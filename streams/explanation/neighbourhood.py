"""Draws the neighbourhood that all explanations of one model version share.

With its default settings LIME draws neighbours from the marginals of the training data, not around the instance; what
depends on the instance is only which neighbours are "the same" in a feature, and so how much each weighs. So the rows,
and what the model answers to them, are made once. The distribution of every explanation is LIME's; explanations that
share a neighbourhood share its sampling error, which is why its id is published and it is drawn anew from time to
time.

Source: Ribeiro, Singh, Guestrin, "Why should I trust you?", 2016; `lime` 0.2.0.1, `LimeTabularExplainer`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from streams.explanation.features import Categories, Feature, Numbers, Value

__all__ = ["Draws", "draw", "seed_of"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Rows to ask the model about.

    Shapes: `codes` (rows, features), the bin or category of each value. `columns`, one array per feature: floats, NaN
    where missing, for numbers; objects, None where missing, for categories.
    """

    features: tuple[Feature, ...]
    seed: int
    codes: npt.NDArray[np.int32]
    columns: tuple[npt.NDArray[np.float64] | npt.NDArray[np.object_], ...]

    def rows(self) -> list[tuple[Value, ...]]:
        """The same, row by row."""
        lists = [
            [None if value != value else value for value in column.tolist()] if column.dtype != object
            else column.tolist()
            for column in self.columns
        ]  # fmt: skip
        return list(zip(*lists, strict=True))


def seed_of(*, pool: str, features: Sequence[Feature]) -> int:
    """The seed of a neighbourhood by its name: whoever knows the same draws the same."""
    content = msgspec.json.encode([pool, features])
    return int.from_bytes(hashlib.blake2b(content, digest_size=4).digest())


def draw(features: Sequence[Feature], *, samples: int, seed: int, with_missing: bool = False) -> Draws:
    """Draw rows, each feature by itself from what is known about it.

    Args:
        samples: how many rows.
        seed: equal seeds draw equal rows.
        with_missing: let values be missing as often as they are, for models that take them.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    codes = np.empty((samples, len(features)), dtype=np.int32)
    columns: list[npt.NDArray[np.float64] | npt.NDArray[np.object_]] = []
    for index, feature in enumerate(features):
        share = feature.missing_share if with_missing else 0.0
        codes[:, index] = _codes(feature, samples, share, generator)
        if isinstance(feature, Categories):
            choices = np.array([*feature.values, None], dtype=object)
            columns.append(choices[codes[:, index]])
        else:
            columns.append(_numbers(feature, codes[:, index], generator))
    return Draws(tuple(features), seed, codes, tuple(columns))


def _codes(
    feature: Feature, samples: int, missing_share: float, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    shares = np.array([*(share * (1 - missing_share) for share in feature.shares), missing_share])
    return generator.choice(len(shares), size=samples, p=shares / shares.sum())


def _numbers(feature: Numbers, codes: npt.NDArray[np.int32], generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Numbers inside their bins: normal, cut at the edges; without bins just normal."""
    uniform = generator.random(len(codes))
    if not feature.edges and len(feature.shares) == 1 and feature.deviation:
        numbers = feature.mean + feature.deviation * ndtri(np.clip(uniform, 1e-15, 1 - 1e-15))
    else:
        edges = np.array(feature.edges)
        lows, highs = np.array([feature.least, *edges]), np.array([*edges, feature.most])
        means, deviations = np.array(feature.means), np.array(feature.deviations)
        inside = np.minimum(codes, len(means) - 1)
        low, high, mean, deviation = lows[inside], highs[inside], means[inside], deviations[inside]
        least, most = ndtr((low - mean) / deviation), ndtr((high - mean) / deviation)
        numbers = mean + deviation * ndtri(least + uniform * (most - least))
        numbers = np.clip(np.where(np.isfinite(numbers), numbers, mean), low, high)
    return np.where(codes == len(feature.shares), np.nan, numbers)
