"""The confusion matrix of one slice and window: how often each label met each prediction.

Rows are labels, columns are predictions. Classes are those of the labelled pairs, in code point order;
predictions without a label are kept beside the matrix, by predicted class, because they bound what the
figures can still become. The matrices of the parts of a stream add up to the matrix of the stream.

    >>> matrix = ConfusionMatrix.from_cells({("ok", "ok"): 5, ("fraud", "ok"): 1, (None, "ok"): 2})
    >>> matrix.classes, matrix.counts
    (('fraud', 'ok'), ((0, 1), (0, 5)))
    >>> matrix.labelled, matrix.unlabelled
    (6, (('ok', 2),))
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["OTHER", "OTHER_WRONG", "BinaryCounts", "Cell", "ConfusionMatrix"]

OTHER = "__other__"
"""Label of every pair that has a class beyond the limit; prediction of those pairs that agree."""
OTHER_WRONG = "__other_wrong__"
"""Prediction of the pairs beyond the limit that disagree."""

Cell: TypeAlias = tuple[str | None, str]
"""(label, prediction); label None = none yet, or never."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BinaryCounts:
    """One class against the rest, and the predictions of each side that have no label."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    unlabelled_positive: int = 0
    unlabelled_negative: int = 0


@dataclasses.dataclass(frozen=True)
class ConfusionMatrix:
    """Counts of labelled pairs, and of unlabelled predictions by class.

    `counts[i][j]` is how often label `classes[i]` met prediction `classes[j]`. `unlabelled` is sorted by
    class and holds no zeros. `matrix + other` is the matrix of both parts together.
    """

    classes: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()
    unlabelled: tuple[tuple[str, int], ...] = ()

    @classmethod
    def from_cells(cls, cells: Mapping[Cell, int]) -> ConfusionMatrix:
        """Build the matrix of `cells`; cells of 0 are as good as absent.

        Raises:
            ValueError: a count is negative.
        """
        if any(count < 0 for count in cells.values()):
            raise ValueError("a cell of a confusion matrix cannot be negative")
        pairs = {cell: count for cell, count in cells.items() if count}
        classes = tuple(sorted({name for cell in pairs if cell[0] is not None for name in cell if name is not None}))
        counts = tuple(tuple(pairs.get((label, predicted), 0) for predicted in classes) for label in classes)
        unlabelled = tuple(sorted((predicted, count) for (label, predicted), count in pairs.items() if label is None))
        return cls(classes, counts, unlabelled)

    @classmethod
    def from_numpy(cls, classes: Sequence[str], counts: npt.NDArray[np.int64]) -> ConfusionMatrix:
        """Build a matrix of labelled pairs from an array of shape (classes, classes), rows = labels.

        Raises:
            ValueError: the shape is not (len(classes), len(classes)).
        """
        if counts.shape != (len(classes), len(classes)):
            raise ValueError(f"{len(classes)} classes need a square array of that size, not {counts.shape}")
        return cls.from_cells(
            {
                (label, predicted): int(counts[row, column])
                for row, label in enumerate(classes)
                for column, predicted in enumerate(classes)
            }
        )

    def to_numpy(self) -> npt.NDArray[np.int64]:
        """Return the counts as an array of shape (classes, classes), rows = labels."""
        return np.array(self.counts, dtype=np.int64).reshape(len(self.classes), len(self.classes))

    def cells(self) -> dict[Cell, int]:
        """Return the non-zero cells, labelled and unlabelled."""
        found: dict[Cell, int] = {
            (label, predicted): count
            for label, row in zip(self.classes, self.counts, strict=True)
            for predicted, count in zip(self.classes, row, strict=True)
            if count
        }
        return found | {(None, predicted): count for predicted, count in self.unlabelled}

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        return ConfusionMatrix.from_cells(Counter(self.cells()) + Counter(other.cells()))

    @functools.cached_property
    def labelled(self) -> int:
        """How many predictions have a label."""
        return sum(map(sum, self.counts))

    @property
    def unlabelled_total(self) -> int:
        """How many predictions have none."""
        return sum(count for _, count in self.unlabelled)

    @property
    def correct(self) -> int:
        """How many labels equal their prediction; exact also beyond the limit of classes."""
        return sum(row[index] for index, row in enumerate(self.counts))

    @property
    def has_class_overflow(self) -> bool:
        """Whether labelled pairs lost their classes to the limit, so that no figure per class is known."""
        return OTHER in self.classes

    @functools.cached_property
    def supports(self) -> tuple[int, ...]:
        """How many labels each class has."""
        return tuple(map(sum, self.counts))

    @functools.cached_property
    def predicted(self) -> tuple[int, ...]:
        """How many labelled predictions each class has."""
        return tuple(map(sum, zip(*self.counts, strict=True)))

    def against_rest(self, positive_class: str) -> BinaryCounts:
        """Return the counts of `positive_class` against all others; a class never seen has none."""
        positive = sum(count for predicted, count in self.unlabelled if predicted == positive_class)
        labels = predictions = both = 0
        if positive_class in self.classes:
            index = self.classes.index(positive_class)
            labels, predictions = self.supports[index], self.predicted[index]
            both = self.counts[index][index]
        return BinaryCounts(
            true_positive=both,
            false_positive=predictions - both,
            false_negative=labels - both,
            true_negative=self.labelled - labels - predictions + both,
            unlabelled_positive=positive,
            unlabelled_negative=self.unlabelled_total - positive,
        )
