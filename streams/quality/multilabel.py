"""Figures of sets of classes, from the sums that `streams.pair_sums.lists` adds up.

Defined as in scikit-learn on the indicator matrix of the classes, with the two differences of `classification`: a zero
denominator is undefined, and an average over classes leaves out those for which it is. The classes are those that the
configuration names and those that were seen.

Predictions vary, not single classes of them, so intervals rest on how much predictions differ:

- `subset_accuracy`: Wilson's. `hamming_loss`, a mean of shares: Wilson's at the effective sample size.
- micro averages, ratios of sums over predictions: Wilson's at the effective sample size that the delta method says,
  with one pseudo-observation.
- macro averages: as of multiclass models, Wilson's at the effective sample size of precision and recall and MOVER of
  F1, with as many fewer observations as the micro average varies more than independent classes would.

    >>> sums = {"n": 1, "F=a": 1, "I=b": 1, "FF": 1, "FP": 2, "FL": 1, "PP": 4, "PL": 2, "LL": 1}
    >>> figures = multilabel_figures(sums, class_names=(), unlabelled=0, confidence_level=0.95)
    >>> figures["precision_micro"].value, figures["recall_micro"].value, figures["hamming_loss"].value
    (0.5, 1.0, 0.5)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from schemas.window_report import ClassFigures
from streams.quality import bounds, intervals
from streams.quality.confusion import OTHER
from streams.quality.figure import Bounds, Figure, UndefinedReason
from streams.quality.mean_intervals import share_interval

__all__ = ["MULTILABEL_METRICS", "multilabel_class_figures", "multilabel_figures"]

MULTILABEL_METRICS = (
    "subset_accuracy",
    "hamming_loss",
    "precision_micro",
    "recall_micro",
    "f1_micro",
    "precision_macro",
    "recall_macro",
    "f1_macro",
)

_Class = tuple[int, int, int]
"""How often a class was found, invented and missed."""


def multilabel_figures(
    sums: Mapping[str, int], *, class_names: Iterable[str], unlabelled: int, confidence_level: float
) -> dict[str, Figure]:
    """Return every metric of `MULTILABEL_METRICS`.

    Args:
        sums: fields of `multilabel_contribution`, classes by name, added up over the labelled predictions.
        class_names: classes that exist whether they were seen or not.
        unlabelled: how many predictions have no label.
        confidence_level: of the intervals, e.g. 0.95.
    """
    sets = _Sets.of(sums, class_names, unlabelled, confidence_level)
    if not sets.n:
        possible = bounds.share_bounds(correct=0, n=0, unlabelled=unlabelled)
        figures = dict.fromkeys(MULTILABEL_METRICS, Figure.missing(UndefinedReason.NO_LABELLED))
        return figures | {"subset_accuracy": msgspec.structs.replace(figures["subset_accuracy"], possible=possible)}
    return {
        "subset_accuracy": sets.subset_accuracy(),
        "hamming_loss": sets.hamming_loss(),
        **{f"{name}_micro": ratio.figure(sets) for name, ratio in _RATIOS.items()},
        **{f"{name}_macro": ratio.mean_of_classes(sets) for name, ratio in _RATIOS.items()},
    }


def multilabel_class_figures(sums: Mapping[str, int]) -> dict[str, ClassFigures]:
    """Return precision, recall, F1 and support of each class that was seen, by name; of those beyond the limit of
    classes together."""
    return {
        name: ClassFigures(
            precision=found / (found + invented) if found + invented else None,
            recall=found / (found + missed) if found + missed else None,
            f1=2 * found / (2 * found + invented + missed),
            support=found + missed,
        )
        for name, (found, invented, missed) in _classes(sums).items()
    }


def _classes(sums: Mapping[str, int]) -> dict[str, _Class]:
    """Those that were seen, in code point order."""
    names = sorted({name[2:] for name in sums if name[1:2] == "="})
    return {name: (sums.get(f"F={name}", 0), sums.get(f"I={name}", 0), sums.get(f"M={name}", 0)) for name in names}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Sets:
    """The labelled sets of a window."""

    n: int
    equal: int
    classes: Mapping[str, _Class]
    is_declared: bool
    has_overflow: bool
    moments: Mapping[str, int]
    unlabelled: int
    confidence_level: float

    @classmethod
    def of(cls, sums: Mapping[str, int], class_names: Iterable[str], unlabelled: int, confidence_level: float) -> _Sets:
        seen, declared = _classes(sums), dict.fromkeys(class_names, (0, 0, 0))
        return cls(
            n=sums.get("n", 0),
            equal=sums.get("s", 0),
            classes=dict(sorted((declared | seen).items())),
            is_declared=seen.keys() <= declared.keys(),
            has_overflow=OTHER in seen,
            moments={name: sums.get(name, 0) for name in ("FF", "FP", "FL", "PP", "PL", "LL")},
            unlabelled=unlabelled,
            confidence_level=confidence_level,
        )

    def total(self) -> _Class:
        found, invented, missed = (sum(each[part] for each in self.classes.values()) for part in range(3))
        return found, invented, missed

    def subset_accuracy(self) -> Figure:
        share = self.equal / self.n
        return Figure.of(
            share,
            intervals.wilson_interval(share, self.n, confidence_level=self.confidence_level),
            n=self.n,
            possible=bounds.share_bounds(correct=self.equal, n=self.n, unlabelled=self.unlabelled),
        )

    def hamming_loss(self) -> Figure:
        size = len(self.classes)
        if self.has_overflow:
            return Figure.missing(UndefinedReason.CLASS_OVERFLOW, n=self.n)
        if not size:
            return Figure.missing(UndefinedReason.NO_POSITIVE_LABELS, n=self.n)
        _, invented, missed = self.total()
        errors, moments = invented + missed, self.moments
        squares = (
            moments["PP"] + moments["LL"] + 2 * moments["PL"] + 4 * (moments["FF"] - moments["FP"] - moments["FL"])
        )
        share = errors / (self.n * size)
        # Classes that nobody declared may still come, and make the matrix wider.
        possible = (
            bounds.share_bounds(correct=errors, n=self.n * size, unlabelled=self.unlabelled * size)
            if self.is_declared
            else None
        )
        interval = share_interval(share, squares / (self.n * size**2), n=self.n, confidence_level=self.confidence_level)
        return Figure.of(share, interval, n=self.n, possible=possible)


@dataclasses.dataclass(frozen=True, slots=True)
class _Ratio:
    """Precision, recall or F1: `weight` times the classes found, over those predicted and those in the labels as far as
    it looks at them."""

    looks_at_predicted: bool
    looks_at_label: bool
    undefined: UndefinedReason

    @property
    def weight(self) -> int:
        return self.looks_at_predicted + self.looks_at_label

    def parts(self, of: _Class) -> tuple[int, int]:
        """Numerator and denominator."""
        found, invented, missed = of
        return self.weight * found, self.weight * found + self.looks_at_predicted * invented + (
            self.looks_at_label * missed
        )

    def figure(self, sets: _Sets) -> Figure:
        """Of all classes in one."""
        above, below = self.parts(sets.total())
        if not below:
            return Figure.missing(self.undefined, n=sets.n)
        value = above / below
        # As with every proportion that may be 0 or 1, one observation more that may be anywhere.
        anywhere = (below / sets.n) ** 2 * ((value - 0.5) ** 2 + 1.0 / 12.0)
        shrunk = (above + 0.5) / (below + 1.0)
        effective_n = shrunk * (1.0 - shrunk) * below**2 / (self._spread(sets, value) + anywhere)
        interval = intervals.wilson_interval(value, effective_n, confidence_level=sets.confidence_level)
        return Figure.of(value, interval, n=sets.n)

    def _spread(self, sets: _Sets, value: float) -> float:
        """The sum over predictions of (numerator - value * denominator) ** 2."""
        moments, p, q = sets.moments, self.looks_at_predicted, self.looks_at_label
        crossed = p * moments["FP"] + q * moments["FL"]
        squares = p * moments["PP"] + 2 * p * q * moments["PL"] + q * moments["LL"]
        return max(0.0, self.weight**2 * moments["FF"] - 2 * self.weight * value * crossed + value**2 * squares)

    def mean_of_classes(self, sets: _Sets) -> Figure:
        """The plain mean of the classes that have it."""
        if sets.has_overflow:
            return Figure.missing(UndefinedReason.CLASS_OVERFLOW, n=sets.n)
        parts = {name: self.parts(each) for name, each in sets.classes.items()}
        defined = {name: part for name, part in parts.items() if part[1]}
        if not defined:
            return Figure.missing(self.undefined, n=sets.n)
        values = [above / below for above, below in defined.values()]
        value = math.fsum(values) / len(values)
        return Figure.of(
            value,
            self._interval_of_mean(sets, value, values, defined),
            n=sets.n,
            classes_left_out=tuple(name for name in parts if name not in defined),
        )

    def _interval_of_mean(
        self, sets: _Sets, value: float, values: Sequence[float], defined: Mapping[str, tuple[int, int]]
    ) -> Bounds:
        excess = self._excess_variance(sets)
        if self.weight == 1:
            hits, sizes = ([part[side] / excess for part in defined.values()] for side in range(2))
            return intervals.mean_share_interval(hits, sizes, confidence_level=sets.confidence_level)
        limits = [
            intervals.f1_interval(true_positive=found, errors=invented + missed, confidence_level=sets.confidence_level)
            for found, invented, missed in map(sets.classes.__getitem__, defined)
        ]
        low, high = intervals.macro_interval(values, limits)
        wider = math.sqrt(excess)
        return max(0.0, value - wider * (value - low)), min(1.0, value + wider * (high - value))

    def _excess_variance(self, sets: _Sets) -> float:
        """How many times the variance of independent classes the micro average has; 1 at the least."""
        above, below = self.parts(sets.total())
        value = above / below
        if self.weight == 2:
            # F1 is 2j / (1 + j) of the proportion j = found / (found + errors).
            independent = value * (1.0 - value) * (2.0 - value) * below
        else:
            independent = value * (1.0 - value) * below
        return max(1.0, self._spread(sets, value) / independent) if independent else 1.0


_RATIOS: Mapping[str, _Ratio] = {
    "precision": _Ratio(True, False, UndefinedReason.NO_POSITIVE_PREDICTIONS),
    "recall": _Ratio(False, True, UndefinedReason.NO_POSITIVE_LABELS),
    "f1": _Ratio(True, True, UndefinedReason.NO_POSITIVE_LABELS),
}
