"""An explanation: which features pushed one prediction where, how sure that is, or why there is none.

Weights are LIME's: how much the answer for `explained_class` changes, near this prediction, when the feature is as it
is here instead of as it usually is. With SHAP they are shares of the difference to the mean answer.
"""

from __future__ import annotations

import enum
import hashlib
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from schemas.explain_request import WhyAsked
from schemas.window_report import NAMESPACE

__all__ = [
    "FAILURES",
    "NOTES",
    "Attribution",
    "Cost",
    "ExplainFailure",
    "Explanation",
    "Failure",
    "Fit",
    "Note",
    "Source",
    "explanation_id",
]


class ExplainFailure(enum.StrEnum):
    """Every reason for which there is no explanation; programs may match on the text."""

    RETENTION_PASSED = "retention_passed"
    OFFSET_BEYOND_LOG = "offset_beyond_log"
    RECORD_CHANGED = "record_changed"
    NOT_CONFIGURED = "not_configured"
    NO_FEATURES = "no_features"
    WRONG_FEATURES = "wrong_features"
    MISSING_VALUES = "missing_values"
    NO_BACKGROUND = "no_background"
    UNKNOWN_CLASS = "unknown_class"
    URL_NOT_ALLOWED = "url_not_allowed"
    UNREACHABLE = "unreachable"
    REDIRECTED = "redirected"
    HTTP_ERROR = "http_error"
    TOO_LARGE = "too_large"
    WRONG_SHAPE = "wrong_shape"
    NOT_FINITE = "not_finite"
    NOT_TRUSTED = "not_trusted"
    NOT_LOADABLE = "not_loadable"
    NOT_INSTALLED = "not_installed"
    MODEL_FAILED = "model_failed"
    OUT_OF_MEMORY = "out_of_memory"
    TOO_SLOW = "too_slow"
    CRASHED = "crashed"


FAILURES: Mapping[ExplainFailure, str] = MappingProxyType(
    {
        ExplainFailure.RETENTION_PASSED: "Kafka no longer has the record.",
        ExplainFailure.OFFSET_BEYOND_LOG: "The log ends before the offset: the topic is a new one, or lost its end.",
        ExplainFailure.RECORD_CHANGED: "Another record stands at the offset, or none.",
        ExplainFailure.NOT_CONFIGURED: "The configuration names no `explain.predictor` for the model.",
        ExplainFailure.NO_FEATURES: "The prediction came without features.",
        ExplainFailure.WRONG_FEATURES: "Features are not what the model takes: a name, a type or a size.",
        ExplainFailure.MISSING_VALUES: "Features have no value, and `explain.missing` is `refuse`.",
        ExplainFailure.NO_BACKGROUND: "Too little is known of the features from which neighbours are drawn.",
        ExplainFailure.UNKNOWN_CLASS: "The predicted class is none of those that the model gives probabilities for.",
        ExplainFailure.URL_NOT_ALLOWED: "The predictor's host is not in `explainer.allowed_hosts`.",
        ExplainFailure.UNREACHABLE: "The predictor's host does not answer.",
        ExplainFailure.REDIRECTED: "The predictor answered with a redirect, which is not followed.",
        ExplainFailure.HTTP_ERROR: "The predictor answered with an error, or with what its protocol does not know.",
        ExplainFailure.TOO_LARGE: "An answer, a text or an image is beyond the limit.",
        ExplainFailure.WRONG_SHAPE: "The model answered with other rows or columns than it was asked for.",
        ExplainFailure.NOT_FINITE: "The model answered with NaN or infinity.",
        ExplainFailure.NOT_TRUSTED: "The model file may run code, and nobody said that this one may.",
        ExplainFailure.NOT_LOADABLE: "The model's file or function cannot be loaded.",
        ExplainFailure.NOT_INSTALLED: "A library that is needed is not installed.",
        ExplainFailure.MODEL_FAILED: "The model raised an error.",
        ExplainFailure.OUT_OF_MEMORY: "The model needed more than `explainer.memory`.",
        ExplainFailure.TOO_SLOW: "The explanation took longer than `explainer.timeout`.",
        ExplainFailure.CRASHED: "The model ended its process, three times.",
    }
)
"""For people. The last three were tried three times."""


class Note(enum.StrEnum):
    """What a reader of an explanation should know beforehand."""

    CONSTANT_ANSWER = "constant_answer"
    SUM_NOT_ONE = "sum_not_one"
    VERSION_DIFFERS = "version_differs"
    VERSION_UNKNOWN = "version_unknown"
    ANSWER_DIFFERS = "answer_differs"
    UNSEEN_VALUE = "unseen_value"


NOTES: Mapping[Note, str] = MappingProxyType(
    {
        Note.CONSTANT_ANSWER: "The model answered the same to every neighbour: nothing near here matters to it.",
        Note.SUM_NOT_ONE: "The model's probabilities do not sum to 1; they are explained as they came.",
        Note.VERSION_DIFFERS: "Another version answered than the one that predicted.",
        Note.VERSION_UNKNOWN: "The predictor did not say which version answered.",
        Note.ANSWER_DIFFERS: "Asked again, the model answers otherwise than it did: by another version, by other"
        " features, or with `explain.classes` in another order.",
        Note.UNSEEN_VALUE: "A category was never seen before, so no neighbour shares it.",
    }
)


class Source(msgspec.Struct, frozen=True):
    """Where the prediction stands."""

    topic: str
    partition: int
    offset: int


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """One feature's signed share."""

    feature: str
    value: Any
    rule: str
    weight: float
    standard_error: float | None
    span: tuple[int, int] | UnsetType = UNSET
    box: tuple[int, int, int, int] | UnsetType = UNSET


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The local model, and how far it can be trusted."""

    intercept: float
    local_prediction: float
    r2: float | None
    stability: float | None
    samples: int
    seed: int
    pool_id: str


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What it took, in milliseconds; `pool_ms` is 0 where the pool was there already."""

    total_ms: float
    model_ms: float
    pool_ms: float


class Failure(msgspec.Struct, frozen=True):
    """Why there is no explanation."""

    reason: ExplainFailure
    message: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why one prediction came out as it did; where `failure` says why not, most fields below it are absent.

    `segment` is the prediction's, as far as it is declared; absent if it could not be read.
    """

    request_id: str
    instance: int
    model: str
    model_version: str
    event_time: str | None = None
    source: Source
    reason: WhyAsked
    rate: float
    predicted: str | None
    label: str | None
    failure: Failure | None
    segment: Mapping[str, str] | UnsetType = UNSET
    method: Literal["lime", "shap"] | UnsetType = UNSET
    explained_class: str | UnsetType | None = UNSET
    answer: float | UnsetType = UNSET
    outputs: Mapping[str, float] | UnsetType = UNSET
    answered_version: str | UnsetType | None = UNSET
    attributions: tuple[Attribution, ...] | UnsetType = UNSET
    fit: Fit | UnsetType = UNSET
    imputed: Mapping[str, Any] | UnsetType = UNSET
    inputs: Mapping[str, Any] | UnsetType = UNSET
    notes: tuple[Note, ...] | UnsetType = UNSET
    cost: Cost | UnsetType = UNSET
    event_id: str
    produced_at: str


_NOT_CONTENT = frozenset({"cost", "event_id", "produced_at"})


def explanation_id(content: Mapping[str, Any]) -> str:
    """The id of an explanation: equal for equal content, timings aside.

    Args:
        content: as plain types (`msgspec.to_builtins`).
    """
    kept = {name: value for name, value in content.items() if name not in _NOT_CONTENT}
    digest = hashlib.sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return str(uuid.uuid5(NAMESPACE, digest))
