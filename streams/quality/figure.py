"""One figure of a report: a value with its interval and sample size, or the reason why there is none."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

__all__ = ["Bounds", "Figure", "UndefinedReason"]

Bounds: TypeAlias = tuple[float, float]
"""(smallest, largest)."""


class UndefinedReason(enum.StrEnum):
    """Why a figure has no value. Closed: readers may branch on it."""

    NO_LABELLED = "no_labelled"
    NO_POSITIVE_LABELS = "no_positive_labels"
    NO_POSITIVE_PREDICTIONS = "no_positive_predictions"
    SINGLE_CLASS = "single_class"
    NO_SCORES = "no_scores"
    NO_POSITIVE_CLASS = "no_positive_class"
    CLASS_OVERFLOW = "class_overflow"
    NO_NEGATIVE_LABELS = "no_negative_labels"
    NEGATIVE_VALUES = "negative_values"
    ZERO_LABELS = "zero_labels"
    CONSTANT_LABELS = "constant_labels"
    BAD_PROBABILITIES = "bad_probabilities"
    NO_LATENCIES = "no_latencies"
    NO_REQUESTS = "no_requests"
    WINDOW_OPEN = "window_open"
    INPUT_LOST = "input_lost"
    NO_VALUES = "no_values"
    SINGLE_VALUE = "single_value"
    NO_REFERENCE = "no_reference"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of one slice and window.

    Either `value`, `low` and `high` are there and `low <= value <= high`, or all three are None and `undefined` says
    why; only a quantile of few latencies or values has a value without `high` or `low`. `n` is how many labelled
    predictions (of figures about latency, failures and signals: how many predictions) the figure rests on, the
    denominator of a proportion. `possible` is the smallest and largest value that the missing labels leave possible,
    None where that is not computed. `bracket` holds the value that the scores or latencies themselves have, where bins
    tell it only up to their width; `low` and `high` lie around it. `classes_left_out` are those for which a macro or
    weighted average has no term.
    """

    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    undefined: UndefinedReason | None = None
    possible: Bounds | None = None
    bracket: Bounds | None = None
    classes_left_out: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        value: float,
        interval: Bounds,
        *,
        n: int,
        possible: Bounds | None = None,
        bracket: Bounds | None = None,
        classes_left_out: tuple[str, ...] = (),
    ) -> Figure:
        """A figure that is defined."""
        low, high = interval
        return cls(
            n=n,
            value=value,
            low=low,
            high=high,
            possible=possible,
            bracket=bracket,
            classes_left_out=classes_left_out,
        )

    @classmethod
    def missing(cls, reason: UndefinedReason, *, n: int = 0, possible: Bounds | None = None) -> Figure:
        """A figure that is undefined."""
        return cls(n=n, undefined=reason, possible=possible)
