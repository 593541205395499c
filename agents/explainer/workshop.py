"""Explains requests from beginning to end: read back, ask the child, three attempts, and a reason whatever happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agents.explainer.child_process import ChildFailed, ChildProcess
from agents.explainer.jobs import Item, Job, Subject
from agents.explainer.record_log import RecordLog
from agents.settings import Settings
from schemas.classes import class_name
from schemas.codec import read_features
from schemas.errors import Rejected
from schemas.explain_request import ExplainRequest
from schemas.explanation import ExplainFailure, Explanation
from schemas.prediction import Prediction
from streams.explanation.outcome import Outcome, explanation_of
from streams.explanation.refusal import Refused
from streams.explanation.terms import ExplainTerms, InputKind
from streams.monitored_model import Task
from streams.ports import Clock

__all__ = ["Workshop"]

ATTEMPTS = 3
MARGIN_SECONDS = 0.8
"""Of the time for a job, what one answer of a model server may take: so that its slowness is told as such."""


class NeverReady(ChildFailed):
    """The child was gone before it could explain anything."""


class Workshop:
    """One child and what it is asked.

    Args:
        log: shared with others; reads predictions back.
        child: this workshop's own.
    """

    def __init__(self, settings: Settings, log: RecordLog, child: ChildProcess, clock: Clock) -> None:
        self._settings = settings
        self._log = log
        self._child = child
        self._clock = clock
        self._background: tuple[str, Sequence[Mapping[str, Any]]] = ("", ())

    async def explain(self, requests: Sequence[ExplainRequest]) -> list[Explanation]:
        """Explain requests about one model version; every one gets an explanation, if only of why there is none.

        Raises: TemporaryFailure if Kafka does not answer; nothing is lost then.
        """
        outcomes: list[Outcome | None] = [None] * len(requests)
        predictions: list[Prediction | None] = [None] * len(requests)
        inputs: list[Mapping[str, Any] | None] = [None] * len(requests)
        asked = list(requests)
        model = self._settings.model(requests[0].model)
        terms = model.explanation
        ready: dict[int, Item] = {}
        for at, request in enumerate(requests):
            try:
                if terms is None:
                    raise _not_configured(request)
                predictions[at] = prediction = await self._log.prediction(request)
                asked[at] = self._with_class(request, prediction)
                inputs[at] = features = read_features(prediction)
                predicted = asked[at].predicted
                ready[at] = Item(
                    features=_taken(features, terms),
                    predicted=predicted,
                    answered=self._answered(prediction, predicted),
                )
            except Refused as refused:
                outcomes[at] = _failed(refused.reason, refused.message)
        if ready:
            found = await self._attempts(asked[next(iter(ready))], list(ready.values()))
            for at, outcome in zip(ready, found, strict=True):
                outcomes[at] = outcome
        now_ms = self._clock.now_ms()
        return [
            explanation_of(
                request,
                outcome,
                prediction=prediction,
                features=features,
                terms=terms,
                segments=model.segments,
                now_ms=now_ms,
            )
            for request, outcome, prediction, features in zip(asked, outcomes, predictions, inputs, strict=True)
            if outcome is not None
        ]

    async def _attempts(self, request: ExplainRequest, items: Sequence[Item]) -> list[Outcome]:
        """All together first; if that fails, each alone, so that one cannot take the others with it."""
        try:
            return await self._once(request, items)
        except ChildFailed:
            outcomes: list[Outcome] = []
        for item in items:
            found, is_ready = await self._alone(request, item)
            outcomes.append(found)
            if not is_ready:
                # What cannot even get ready is no matter of one prediction.
                return outcomes + [found] * (len(items) - len(outcomes))
        return outcomes

    async def _alone(self, request: ExplainRequest, item: Item) -> tuple[Outcome, bool]:
        """The outcome of one item after the attempts that are left, and whether the model ever got ready for it."""
        is_ready = False
        for attempt in range(2, ATTEMPTS + 1):
            try:
                (outcome,) = await self._once(request, [item])
                return outcome, True
            except ChildFailed as failure:
                is_ready = is_ready or not isinstance(failure, NeverReady)
                if attempt == ATTEMPTS:
                    return _failed(failure.reason, f"{failure}; tried {ATTEMPTS} times"), is_ready
        raise AssertionError("there is always a second attempt")

    async def _once(self, request: ExplainRequest, items: Sequence[Item]) -> list[Outcome]:
        subject = self._subject(request)
        generation = self._clock.now_ms() // self._settings.explainer.pool_lifetime_ms
        pool = f"{generation} {request.model} {request.model_version}"
        pool_ms = 0.0
        if self._child.ready.get(subject.named) != pool:
            try:
                (prepared,) = await self._child.run(await self._preparing(request, subject, pool))
            except ChildFailed as failed:
                raise NeverReady(failed.reason, str(failed)) from failed
            if prepared.failure is not None:
                return [prepared] * len(items)
            pool_ms = prepared.pool_ms
        outcomes = await self._child.run(Job(subject=subject, pool=pool, background=(), items=items))
        return [msgspec.structs.replace(outcomes[0], pool_ms=pool_ms), *outcomes[1:]]

    async def _preparing(self, request: ExplainRequest, subject: Subject, pool: str) -> Job:
        """The job that gets a child ready for a model version, and again if it ends."""
        known, background = self._background
        if known != pool:
            background = ()
            if subject.terms.input is InputKind.TABULAR and subject.terms.statistics is None:
                background = await self._log.background(request, wanted=self._settings.explainer.background)
            self._background = pool, background
        return Job(subject=subject, pool=pool, background=background, items=())

    def _subject(self, request: ExplainRequest) -> Subject:
        model = self._settings.model(request.model)
        explainer = self._settings.explainer
        assert model.explanation is not None
        return Subject(
            model=request.model,
            model_version=request.model_version,
            terms=model.explanation,
            task=model.task,
            positive_class=model.positive_class,
            classes=model.class_names,
            allowed_hosts=explainer.allowed_hosts,
            answer_seconds=explainer.timeout_ms / 1000 * MARGIN_SECONDS,
            answer_bytes=explainer.answer_mib << 20,
        )

    def _with_class(self, request: ExplainRequest, prediction: Prediction) -> ExplainRequest:
        """The request with the predicted class, which somebody who asks need not know."""
        model = self._settings.model(request.model)
        if not model.task.counts_classes:
            return msgspec.structs.replace(request, predicted=None)
        try:
            predicted = None
            if prediction.prediction is not None:
                predicted = class_name(prediction.prediction, model.class_aliases)
        except Rejected as rejected:
            raise Refused(ExplainFailure.UNKNOWN_CLASS, rejected.message) from rejected
        return msgspec.structs.replace(request, predicted=predicted)

    def _answered(self, prediction: Prediction, predicted: str | None) -> float | None:
        """The probability that the prediction gave its class."""
        model = self._settings.model(prediction.model)
        named = {model.class_aliases.get(name, name): share for name, share in (prediction.probabilities or {}).items()}
        if predicted in named or prediction.score is None or predicted is None:
            return named.get(predicted or "")
        is_other = model.task is Task.BINARY and model.positive_class not in (None, predicted)
        return 1 - prediction.score if is_other else prediction.score


def _taken(features: Mapping[str, Any], terms: ExplainTerms) -> Mapping[str, Any]:
    """Features as far as the model takes them.

    Raises: Refused with `no_features`.
    """
    taken = {name: features[name] for name in terms.features if name in features} if terms.features else features
    if not taken:
        wanted = f"none of {', '.join(terms.features[:5])}" if terms.features else "none"
        raise Refused(
            ExplainFailure.NO_FEATURES,
            f"the prediction came with {wanted}; publish `features` with each prediction, as the model got them",
        )
    return taken


def _not_configured(request: ExplainRequest) -> Refused:
    return Refused(
        ExplainFailure.NOT_CONFIGURED,
        f"the configuration has no explain.predictor for the model {request.model!r}; say how it is asked",
    )


def _failed(reason: ExplainFailure, message: str) -> Outcome:
    return Outcome(failure=reason, message=message)
