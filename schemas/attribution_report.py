"""The report on what decided a model version's answers in one window: where it was wrong, and in general.

Its head is that of every report (`schemas.window_report`). Its figures are estimates from a sample: each explanation
weighs as many predictions as it stands for, one over the rate at which it was drawn. A feature that an explanation does
not name counts as 0 in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from schemas.window_report import Metric, Window

__all__ = [
    "AttributionReport",
    "AttributionSample",
    "FeatureAttribution",
    "FeatureDifference",
    "FeatureShare",
    "Interval",
]


class AttributionSample(msgspec.Struct, frozen=True, kw_only=True):
    """Explanations that stand for predictions of one kind.

    `effective` is how many evenly drawn ones would tell as much: (sum of weights)² / sum of squared weights.
    """

    explained: int
    failed: int
    stands_for: float
    effective: float | None
    stability: float | None


class FeatureShare(msgspec.Struct, frozen=True, kw_only=True):
    """One feature's attribution over a sample: weighted means, and the share of explanations that name it."""

    mean: float
    mean_absolute: float
    standard_error: float | None
    named: float


class Interval(msgspec.Struct, frozen=True):
    """A difference with its interval; low and high are None where one sample has fewer than two explanations."""

    value: float
    low: float | None
    high: float | None


class FeatureDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Wrong less base."""

    mean: Interval
    mean_absolute: Interval


class FeatureAttribution(msgspec.Struct, frozen=True, kw_only=True):
    """One feature in both samples; None where a sample has no explanation."""

    feature: str
    wrong: FeatureShare | None
    base: FeatureShare | None
    difference: FeatureDifference | None


class AttributionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What decided, in one window of predictions.

    `features` by falling mean absolute attribution in the base sample, then in the wrong one. `compared_with` is the
    earlier window that the metrics of drift compare with, None if there is none.
    """

    kind: Literal["attribution"] = "attribution"
    model: str
    model_version: str
    segment: Mapping[str, str]
    window: Window
    status: Literal["open", "provisional", "final"]
    revision: int
    event_id: str
    wrong: AttributionSample
    base: AttributionSample
    features: tuple[FeatureAttribution, ...]
    features_left_out: int
    compared_with: Window | None
    metrics: Mapping[str, Metric]
    undefined: Mapping[str, str]
    config_hash: str
    produced_at: str
