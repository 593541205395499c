"""Models behind a function of this environment, `module:function`: rows in, probabilities out."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.explainer.predictors import Inputs, Table, as_outputs
from schemas.explanation import ExplainFailure
from streams.explanation.refusal import Refused

__all__ = ["EntryPoint"]


class EntryPoint:
    """A function that takes (rows, features), a list of texts, or (images, height, width, 3).

    An attribute `classes` of the function, where there is one, says the order of its outputs, `version` which it is.
    """

    def __init__(self, spec: str, version: str | None) -> None:
        module, _, name = spec.partition(":")
        try:
            self._function: Any = getattr(importlib.import_module(module), name)
        except Exception as error:
            raise Refused(
                ExplainFailure.NOT_LOADABLE,
                f"{spec} cannot be imported ({type(error).__name__}: {error}); check PYTHONPATH of the explainer",
            ) from error
        self.version = version or getattr(self._function, "version", None)
        self.classes = tuple(str(name) for name in getattr(self._function, "classes", ()))

    def predict(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """See `Predictor`."""
        return as_outputs(self._function(inputs.matrix() if isinstance(inputs, Table) else inputs), rows=len(inputs))
