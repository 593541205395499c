"""Answers jobs, whatever is explained and however: keeps what is known of the last model versions."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Protocol

from agents.explainer.jobs import Item, Job
from agents.explainer.predictors import predictor_of
from schemas.explanation import ExplainFailure
from streams.explanation.outcome import Outcome
from streams.explanation.refusal import Refused
from streams.explanation.terms import InputKind, Method

__all__ = ["Explaining"]


class ExplainedSubject(Protocol):
    """A model version that is ready to be explained. `pool_ms` is what that took, `explain` never raises `Refused`."""

    pool_ms: float

    def explain(self, items: Sequence[Item]) -> list[Outcome]:
        """An outcome for each item."""


class Explaining:
    """All that this process knows: of each model version the last neighbourhood."""

    def __init__(self) -> None:
        self._ready: dict[tuple[str, str], tuple[str, ExplainedSubject]] = {}

    def explain(self, job: Job) -> list[Outcome]:
        """An outcome for each item of the job, one of a job without items; whatever fails, fails for a reason."""
        count = max(len(job.items), 1)
        try:
            subject = self._subject(job)
            return subject.explain(job.items) if job.items else [Outcome(pool_ms=subject.pool_ms)]
        except Refused as refused:
            return [Outcome(failure=refused.reason, message=refused.message)] * count
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  (a model's data may surprise us, and must not end us)
            where = traceback.extract_tb(error.__traceback__)[-1]
            message = f"explaining failed with {type(error).__name__}: {error} ({where.name}, line {where.lineno})"
            return [Outcome(failure=ExplainFailure.MODEL_FAILED, message=message[:500])] * count

    def _subject(self, job: Job) -> ExplainedSubject:
        pool, subject = self._ready.get(job.subject.named, ("", None))
        if subject is None or pool != job.pool:
            # Model and neighbourhood take megabytes, and what is replaced is not asked for again.
            del subject
            self._ready.pop(job.subject.named, None)
            subject = _prepared(job)
            self._ready[job.subject.named] = job.pool, subject
        return subject


def _prepared(job: Job) -> ExplainedSubject:
    subject = job.subject
    predictor = predictor_of(subject)
    if subject.terms.input is not InputKind.TABULAR:
        from agents.explainer.media_subject import ImageSubject, TextSubject

        return (TextSubject if subject.terms.input is InputKind.TEXT else ImageSubject)(subject, predictor)
    if subject.terms.method is Method.SHAP:
        from agents.explainer.shap_subject import ShapSubject

        return ShapSubject(subject, predictor, job.background)
    from agents.explainer.tabular_subject import TabularSubject

    return TabularSubject(subject, predictor, job.background, pool=job.pool)
