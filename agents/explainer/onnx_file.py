"""Models in ONNX files, run by ONNX Runtime: `pip install onnxruntime`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from agents.explainer.predictors import Inputs, Table, as_outputs
from schemas.classes import class_name
from schemas.explanation import ExplainFailure
from streams.explanation.refusal import Refused

__all__ = ["OnnxFile"]

TYPES = {"tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(uint8)": np.uint8, "tensor(string)": object}
"""Of inputs; all others get 32-bit floats."""


class OnnxFile:
    """A model with one input for all features, or one per feature by its name.

    Args:
        output: the output to read; None: the last, where classifiers have their probabilities.
    """

    def __init__(self, path: str, version: str | None, *, output: str | None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise Refused(
                ExplainFailure.NOT_INSTALLED, f"{path} needs ONNX Runtime: pip install onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise Refused(ExplainFailure.NOT_LOADABLE, f"{path}: {type(error).__name__}: {error}") from error
        self._inputs = {each.name: TYPES.get(each.type, np.float32) for each in self._session.get_inputs()}
        outputs = [each.name for each in self._session.get_outputs()]
        if output is not None and output not in outputs:
            raise Refused(
                ExplainFailure.NOT_LOADABLE,
                f"{path} has the outputs {', '.join(outputs)}, not {output}; see explain.output",
            )
        self._output = output or outputs[-1]
        self.version = version
        self.classes: tuple[str, ...] = ()

    def predict(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """See `Predictor`."""
        (answer,) = self._session.run([self._output], self._fed(inputs))
        if isinstance(answer, list) and answer and isinstance(answer[0], dict):
            self.classes = tuple(class_name(name) for name in answer[0])
            answer = [list(row.values()) for row in answer]
        return as_outputs(answer, rows=len(inputs))

    def _fed(self, inputs: Inputs) -> dict[str, npt.NDArray[Any]]:
        (first, kind), *others = self._inputs.items()
        if isinstance(inputs, list):
            return {first: np.array(inputs, dtype=object)[:, None]}
        if not isinstance(inputs, Table):
            return {first: inputs.astype(kind)}
        if not others and first not in inputs.names:
            return {first: inputs.matrix().astype(kind)}
        columns = dict(zip(inputs.names, inputs.columns, strict=True))
        if columns.keys() != self._inputs.keys():
            raise Refused(
                ExplainFailure.WRONG_FEATURES,
                f"the model takes {', '.join(self._inputs)}; list these in explain.features",
            )
        return {name: columns[name].astype(kind)[:, None] for name, kind in self._inputs.items()}
