"""Explains tabular predictions of one model version: learns what is usual, asks the model once, fits many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agents.explainer.answers import Answers, version_notes
from agents.explainer.jobs import Item, Subject
from agents.explainer.predictors import Predictor, Table
from agents.explainer.stopwatch import TimedPredictor, milliseconds_since, now_seconds
from schemas.explanation import Attribution, ExplainFailure, Fit, Note
from streams.explanation.features import Feature, Value, learn, order_of
from streams.explanation.instance import Instance, instance_of, values_by_name
from streams.explanation.local_fit import BLOCKS, LocalFit
from streams.explanation.neighbourhood import draw, seed_of
from streams.explanation.outcome import Outcome
from streams.explanation.refusal import Refused
from streams.explanation.tabular import Pool
from streams.explanation.terms import MissingValues

__all__ = ["TabularSubject", "learnt_features"]


class TabularSubject:
    """A model version whose neighbourhood has been drawn.

    Args:
        background: features of other predictions, to learn from unless a file of statistics is named.
        pool: the neighbourhood's name; another name draws other neighbours, also from the same statistics.

    Raises: Refused if too little is known of the features, or the model cannot answer.
    """

    def __init__(
        self, subject: Subject, predictor: Predictor, background: Sequence[Mapping[str, Any]], *, pool: str
    ) -> None:
        started = now_seconds()
        terms = subject.terms
        self._subject = subject
        self._predictor = TimedPredictor(predictor)
        self._features = learnt_features(subject, background)
        self._names = tuple(feature.name for feature in self._features)
        draws = draw(
            self._features,
            samples=-(-terms.samples // BLOCKS) * BLOCKS,
            seed=seed_of(pool=pool, features=self._features),
            with_missing=terms.missing is MissingValues.KEEP,
        )
        self._table = Table(self._names, draws.columns)
        self._answers = Answers.of(self._predictor.predict(self._table), subject, self._predictor)
        self._pool = Pool.built(draws, self._answers.outputs)
        self.pool_ms = milliseconds_since(started)
        self._predictor.spent_ms()

    def explain(self, items: Sequence[Item]) -> list[Outcome]:
        """Explain predictions; one that cannot be explained does not disturb the others."""
        started = now_seconds()
        outcomes: list[Outcome | None] = [None] * len(items)
        instances: dict[int, Instance] = {}
        for at, item in enumerate(items):
            try:
                values = values_by_name(item.features)
                instances[at] = instance_of(values, self._features, self._subject.terms.missing)
                for feature, value in zip(self._features, instances[at].values, strict=True):
                    feature.code(value)
            except Refused as refused:
                instances.pop(at, None)
                outcomes[at] = Outcome(failure=refused.reason, message=refused.message)
        if instances:
            rows = [instance.values for instance in instances.values()]
            outputs = self._predictor.predict(Table.of_rows(self._names, rows, self._table))
            answers = Answers.of(outputs, self._subject, self._predictor)
            for row, (at, instance) in enumerate(instances.items()):
                outcomes[at] = self._outcome(items[at], instance, answers, row)
        each_ms = milliseconds_since(started) / len(items)
        model_ms = self._predictor.spent_ms() / len(items)
        return [
            msgspec.structs.replace(outcome, total_ms=each_ms, model_ms=model_ms)
            for outcome in outcomes
            if outcome is not None
        ]

    def _outcome(self, item: Item, instance: Instance, answers: Answers, row: int) -> Outcome:
        terms = self._subject.terms
        try:
            column = answers.column_of(item.predicted, row)
            answer = float(answers.outputs[row, column])
            fit = self._pool.explain(instance.values, answer, output=column, most_features=terms.most_features)
        except Refused as refused:
            return Outcome(failure=refused.reason, message=refused.message)
        notes = [*answers.notes(row, column, item), *version_notes(self._subject, self._predictor)]
        if fit.r2 is None:
            notes.append(Note.CONSTANT_ANSWER)
        if self._pool.unseen(instance.values):
            notes.append(Note.UNSEEN_VALUE)
        return Outcome(
            explained_class=answers.classes[column] if answers.classes else None,
            answer=answer,
            outputs=answers.told(row),
            answered_version=self._predictor.version,
            attributions=tuple(self._attributions(fit, instance, item)),
            fit=self._fit(fit),
            imputed=dict(instance.imputed),
            notes=tuple(notes),
        )

    def _attributions(self, fit: LocalFit, instance: Instance, item: Item) -> list[Attribution]:
        return [
            Attribution(
                feature=self._names[place],
                value=item.features.get(self._names[place]),
                rule=self._features[place].rule(instance.values[place]),
                weight=float(weight),
                standard_error=float(error),
            )
            for place, weight, error in zip(fit.chosen, fit.weights, fit.standard_errors, strict=True)
        ]

    def _fit(self, fit: LocalFit) -> Fit:
        return Fit(
            intercept=fit.intercept,
            local_prediction=fit.local_prediction,
            r2=fit.r2,
            stability=fit.stability,
            samples=len(self._pool.outputs),
            seed=self._pool.draws.seed,
            pool_id=self._pool.pool_id,
        )


def learnt_features(subject: Subject, background: Sequence[Mapping[str, Any]]) -> tuple[Feature, ...]:
    """What is known of the features: from the file that the settings name, else learnt from the background."""
    terms = subject.terms
    if terms.statistics is not None:
        try:
            return msgspec.json.decode(Path(terms.statistics).read_bytes(), type=tuple[Feature, ...])
        except (OSError, msgspec.DecodeError) as error:
            raise Refused(
                ExplainFailure.NO_BACKGROUND, f"explain.statistics {terms.statistics} cannot be read: {error}"
            ) from error
    rows = [row for row in map(_readable, background) if row is not None]
    names = terms.features or order_of(rows)
    return learn(rows, names=names, categorical=terms.categorical, discretizer=terms.discretizer)


def _readable(features: Mapping[str, Any]) -> dict[str, Value] | None:
    try:
        return values_by_name(features)
    except Refused:
        return None
