"""What explaining one prediction came to, and the explanation that is published of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from schemas.explain_request import ExplainRequest
from schemas.explanation import (
    FAILURES,
    Attribution,
    Cost,
    ExplainFailure,
    Explanation,
    Failure,
    Fit,
    Note,
    Source,
    explanation_id,
)
from schemas.prediction import Prediction
from schemas.times import format_time
from streams.explanation.instance import told
from streams.explanation.terms import ExplainTerms

__all__ = ["Outcome", "explanation_of"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Of one prediction: what was found, or why nothing."""

    failure: ExplainFailure | None = None
    message: str = ""
    method: Literal["lime", "shap"] = "lime"
    explained_class: str | None = None
    answer: float = 0.0
    outputs: Mapping[str, float] | None = None
    answered_version: str | None = None
    attributions: tuple[Attribution, ...] = ()
    fit: Fit | None = None
    imputed: Mapping[str, Any] = {}
    notes: tuple[Note, ...] = ()
    total_ms: float = 0.0
    model_ms: float = 0.0
    pool_ms: float = 0.0


def explanation_of(
    request: ExplainRequest,
    outcome: Outcome,
    *,
    prediction: Prediction | None,
    features: Mapping[str, Any] | None,
    terms: ExplainTerms | None,
    segments: Collection[str],
    now_ms: int,
) -> Explanation:
    """The explanation to publish; it tells no feature that the terms do not let out.

    Args:
        prediction: that was asked about; None if it could not be read.
        features: of the prediction; None if they could not be read.
        terms: of the model; None if it is not explained.
        segments: names that the model declares; no other part of a prediction's segment is told.
    """
    explanation = Explanation(
        request_id=request.request_id,
        instance=request.instance,
        model=request.model,
        model_version=request.model_version,
        event_time=None if prediction is None else format_time(prediction.event_time_ms),
        source=Source(request.topic, request.partition, request.offset),
        reason=request.reason,
        rate=request.rate,
        predicted=request.predicted,
        label=request.label,
        failure=None if outcome.failure is None else Failure(outcome.failure, _message(outcome, terms)),
        segment=UNSET if prediction is None else _declared(prediction.segment, segments),
        inputs=UNSET if features is None or terms is None else _told(features, terms),
        event_id="",
        produced_at=format_time(now_ms),
    )
    if outcome.failure is None and terms is not None:
        explanation = msgspec.structs.replace(
            explanation,
            method=outcome.method,
            explained_class=outcome.explained_class,
            answer=outcome.answer,
            outputs=UNSET if outcome.outputs is None else outcome.outputs,
            answered_version=outcome.answered_version,
            attributions=tuple(_attribution(each, terms) for each in outcome.attributions),
            fit=UNSET if outcome.fit is None else outcome.fit,
            imputed=_told(outcome.imputed, terms) if outcome.imputed else UNSET,
            notes=outcome.notes,
            cost=Cost(
                total_ms=round(outcome.total_ms, 3),
                model_ms=round(outcome.model_ms, 3),
                pool_ms=round(outcome.pool_ms, 3),
            ),
        )
    return msgspec.structs.replace(explanation, event_id=explanation_id(msgspec.to_builtins(explanation)))


def _declared(segment: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: value for name, value in segment.items() if name in names}


def _told(values: Mapping[str, Any], terms: ExplainTerms) -> dict[str, Any]:
    return told(values, shown=terms.shown, hashed=terms.hashed)


def _attribution(attribution: Attribution, terms: ExplainTerms) -> Attribution:
    """As far as it may be told: the rule of a hidden feature would tell its bin or its value."""
    # Words and super-pixels are parts of the one feature that the model has.
    name = attribution.feature if terms.input == "tabular" else terms.features[0]
    if (terms.shown is None or name in terms.shown) and name not in terms.hashed:
        return msgspec.structs.replace(attribution, **told({"value": attribution.value}, shown=None, hashed=()))
    hidden = _told({name: attribution.value}, terms).get(name)
    named = attribution.feature if terms.input == "tabular" else name
    return msgspec.structs.replace(attribution, feature=named, value=hidden, rule=named)


def _message(outcome: Outcome, terms: ExplainTerms | None) -> str:
    """What a model says when it fails may quote its inputs."""
    is_hiding = terms is not None and (terms.shown is not None or bool(terms.hashed))
    if outcome.failure is ExplainFailure.MODEL_FAILED and is_hiding:
        return FAILURES[ExplainFailure.MODEL_FAILED]
    return outcome.message
