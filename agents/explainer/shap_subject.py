"""Explains trees and linear models in files with SHAP, which knows the model and so draws nothing: `pip install shap`.

Shares sum to the difference between the answer and the mean answer over the background.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.explainer.answers import Answers, version_notes
from agents.explainer.jobs import Item, Subject
from agents.explainer.predictors import Predictor, Table
from agents.explainer.stopwatch import TimedPredictor, milliseconds_since, now_seconds, timed_outcomes
from agents.explainer.tabular_subject import learnt_features
from schemas.explanation import Attribution, ExplainFailure, Fit
from streams.explanation.instance import instance_of, values_by_name
from streams.explanation.outcome import Outcome
from streams.explanation.refusal import Refused

__all__ = ["ShapSubject"]

BACKGROUND_ROWS = 100


class ShapSubject:
    """A model version whose model is at hand."""

    def __init__(self, subject: Subject, predictor: Predictor, background: Sequence[Mapping[str, Any]]) -> None:
        started = now_seconds()
        self._subject = subject
        self._predictor = TimedPredictor(predictor)
        self._features = learnt_features(subject, background)
        self._names = tuple(feature.name for feature in self._features)
        rows = [values_by_name(row) for row in background[:BACKGROUND_ROWS]]
        usual = [tuple(row.get(feature.name) or feature.usual for feature in self._features) for row in rows]
        try:
            self._usual = np.array(usual, dtype=np.float64)
        except ValueError as error:
            raise Refused(
                ExplainFailure.WRONG_FEATURES, "SHAP explains models of numbers; use explain.method: lime"
            ) from error
        self._explainer = _explainer(getattr(predictor, "model", None), self._usual)
        self.pool_ms = milliseconds_since(started)

    def explain(self, items: Sequence[Item]) -> list[Outcome]:
        """See `ExplainedSubject`."""
        return timed_outcomes(items, self._explained, self._predictor)

    def _explained(self, item: Item) -> Outcome:
        terms = self._subject.terms
        instance = instance_of(values_by_name(item.features), self._features, terms.missing)
        row = np.array([instance.values], dtype=np.float64)
        answers = Answers.of(self._predictor.predict(Table(self._names, list(row.T))), self._subject, self._predictor)
        column = answers.column_of(item.predicted, 0)
        shares, base = self._shares(row, column, answers)
        chosen = np.argsort(-np.abs(shares), kind="stable")[: terms.most_features]
        return Outcome(
            method="shap",
            explained_class=answers.classes[column] if answers.classes else None,
            answer=float(answers.outputs[0, column]),
            outputs=answers.told(0),
            answered_version=self._predictor.version,
            attributions=tuple(
                Attribution(
                    feature=self._names[place],
                    value=item.features.get(self._names[place]),
                    rule=f"{self._names[place]} = {instance.values[place]}",
                    weight=float(shares[place]),
                    standard_error=None,
                )
                for place in chosen.tolist()
            ),
            fit=Fit(
                intercept=base,
                local_prediction=base + float(shares.sum()),
                r2=None,
                stability=None,
                samples=len(self._usual),
                seed=0,
                pool_id="",
            ),
            imputed=dict(instance.imputed),
            notes=(*answers.notes(0, column, item), *version_notes(self._subject, self._predictor)),
        )

    def _shares(
        self, row: npt.NDArray[np.float64], column: int, answers: Answers
    ) -> tuple[npt.NDArray[np.float64], float]:
        """Of the answer in a column, and the mean answer. One output stands for the last of two classes."""
        found = self._explainer(row)
        values, base = np.asarray(found.values)[0], np.ravel(found.base_values)
        if values.ndim == 2:
            return values[:, column], float(base[column])
        sign = -1.0 if len(answers.classes) == 2 and column == 0 else 1.0
        return sign * values, sign * float(base[0])


def _explainer(model: Any, usual: npt.NDArray[np.float64]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries that it draws with
            import shap
    except ImportError as error:
        raise Refused(ExplainFailure.NOT_INSTALLED, "explain.method: shap needs SHAP: pip install shap") from error
    if model is None:
        raise Refused(
            ExplainFailure.NOT_LOADABLE, "SHAP explains models in .skops and .pkl files; use explain.method: lime"
        )
    if hasattr(model, "coef_"):
        return shap.LinearExplainer(model, usual)
    try:
        return shap.TreeExplainer(model)
    except Exception as error:
        raise Refused(
            ExplainFailure.NOT_LOADABLE,
            f"SHAP knows trees and linear models, not {type(model).__name__}; use explain.method: lime",
        ) from error
