"""Models behind MLflow's scoring protocol, `/invocations`.

Source: MLflow, "Deploy models for online inference": `dataframe_split`, `inputs`; the answer's `predictions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from agents.explainer.guarded_http import GuardedHttp
from agents.explainer.predictors import Inputs, Table, as_outputs
from schemas.explanation import ExplainFailure
from streams.explanation.refusal import Refused

__all__ = ["MlflowScoring"]


class MlflowScoring:
    """A model of such a server. The URL is the whole address, `…/invocations` included."""

    def __init__(self, http: GuardedHttp, version: str | None) -> None:
        self._http = http
        self.version = version
        self.classes: tuple[str, ...] = ()

    def predict(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """See `Predictor`."""
        answer = self._http.post("", _body(inputs))
        try:
            predictions = answer["predictions"]
            if predictions and isinstance(predictions[0], dict):
                self.classes = tuple(str(name) for name in predictions[0])
                predictions = [[row[name] for name in predictions[0]] for row in predictions]
        except (KeyError, TypeError, IndexError) as error:
            raise Refused(
                ExplainFailure.WRONG_SHAPE,
                "the server's answer has no `predictions`, as MLflow's scoring protocol says",
            ) from error
        return as_outputs(predictions, rows=len(inputs))


def _body(inputs: Inputs) -> dict[str, Any]:
    if isinstance(inputs, list):
        return {"inputs": inputs}
    if not isinstance(inputs, Table):
        return {"inputs": inputs.tolist()}
    rows = [[None if value != value else value for value in row] for row in inputs.matrix().tolist()]
    return {"dataframe_split": {"columns": list(inputs.names), "data": rows}}
