"""The metrics of a report of kind `attribution`: what each is, and why it may be undefined."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from streams.monitored_model import Task
from streams.quality.definitions import Better, Definition

__all__ = [
    "ATTRIBUTION_DEFINITIONS",
    "ATTRIBUTION_REASONS",
    "DRIFT",
    "ERROR_DIFFERENCE",
    "LEAST_EXPLAINED",
    "RANK_CORRELATION",
    "AttributionReason",
]

ERROR_DIFFERENCE = "attribution_error_difference"
DRIFT = "attribution_drift"
RANK_CORRELATION = "attribution_rank_correlation"
LEAST_EXPLAINED = 20
"""Explanations in each sample that is compared; means of fewer move too much to be told apart."""


class AttributionReason(enum.StrEnum):
    """Why a figure has no value."""

    TOO_FEW_EXPLANATIONS = "too_few_explanations"
    NO_EARLIER_WINDOW = "no_earlier_window"
    NO_ATTRIBUTION = "no_attribution"
    TOO_FEW_FEATURES = "too_few_features"


ATTRIBUTION_REASONS: Mapping[AttributionReason, str] = MappingProxyType(
    {
        AttributionReason.TOO_FEW_EXPLANATIONS: f"Fewer than {LEAST_EXPLAINED} explanations in a sample.",
        AttributionReason.NO_EARLIER_WINDOW: "No earlier window of this model version is complete and has enough"
        " explanations.",
        AttributionReason.NO_ATTRIBUTION: "All attributions of a sample are 0.",
        AttributionReason.TOO_FEW_FEATURES: "An order of fewer than three features, or of equal ones, tells nothing.",
    }
)

_TASKS = (Task.BINARY, Task.MULTICLASS, Task.REGRESSION)
_TRIANGLE = "triangle inequality over the features' standard errors"

ATTRIBUTION_DEFINITIONS: Mapping[str, Definition] = MappingProxyType(
    {
        ERROR_DIFFERENCE: Definition(
            "How differently wrong predictions are decided from predictions in general: half the sum of the differences"
            " of each feature's share in the mean absolute attributions; 0 alike, 1 by other features altogether.",
            (Task.BINARY, Task.MULTICLASS),
            _TRIANGLE,
            Better.LESS,
        ),
        DRIFT: Definition(
            "The same between predictions in general now and in the last window before that is complete.",
            _TASKS,
            _TRIANGLE,
            Better.LESS,
        ),
        RANK_CORRELATION: Definition(
            "Spearman's correlation of the mean absolute attributions with those of that window.",
            _TASKS,
            "parametric bootstrap",
            Better.MORE,
        ),
    }
)
"""By name."""
