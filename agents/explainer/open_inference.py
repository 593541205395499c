"""Models behind the Open Inference Protocol v2 over HTTP: KServe, MLServer, Triton, Seldon.

The model's metadata say what it takes: one tensor of all features, or one tensor per feature by its name. A server
that describes nothing gets one tensor of 64-bit floats.

Source: Open Inference Protocol (V2), `rest/http` specification, inference and model metadata.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.explainer.guarded_http import GuardedHttp
from agents.explainer.predictors import Inputs, Table, as_outputs
from schemas.explanation import ExplainFailure
from streams.explanation.refusal import Refused

__all__ = ["OpenInference"]

REQUEST_ROWS = 1000
"""Of one request: some servers take no more than a few megabytes."""
USUAL_OUTPUTS = ("predict_proba", "probabilities", "probability", "scores")
TYPES = {"FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BYTES"}


class OpenInference:
    """A model of such a server.

    Args:
        output: the name of the output to read; None: the one that is named like probabilities, else the first.
    """

    def __init__(self, http: GuardedHttp, *, output: str | None) -> None:
        self._http = http
        self._output = output
        self._described: list[tuple[str, str]] | None = None
        self.version: str | None = None
        self.classes: tuple[str, ...] = ()

    def predict(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """See `Predictor`."""
        if self._described is None:
            self._described = self._describe()
        parts = [
            self._infer(
                inputs.slice(start, start + REQUEST_ROWS)
                if isinstance(inputs, Table)
                else inputs[start : start + REQUEST_ROWS]
            )
            for start in range(0, len(inputs), REQUEST_ROWS)
        ]
        return np.concatenate(parts)

    def _describe(self) -> list[tuple[str, str]]:
        """Name and data type of each input; none if the server does not say."""
        try:
            metadata = self._http.get()
        except Refused as refused:
            if refused.reason is not ExplainFailure.HTTP_ERROR:
                raise
            return []
        if self._output is None:
            names = [output.get("name") for output in metadata.get("outputs") or []]
            self._output = next((name for name in USUAL_OUTPUTS if name in names), None)
        described = [(str(each.get("name")), str(each.get("datatype"))) for each in metadata.get("inputs") or []]
        return [(name, kind) for name, kind in described if kind in TYPES]

    def _infer(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        body: dict[str, Any] = {
            "id": "latelabel-synthetic",
            "parameters": {"latelabel_synthetic": True},
            "inputs": self._tensors(inputs),
        }
        if self._output is not None:
            body["outputs"] = [{"name": self._output}]
        answer = self._http.post("/infer", body)
        try:
            self.version = answer.get("model_version") or None
            outputs = {output["name"]: output for output in answer["outputs"]}
            chosen = outputs[self._output] if self._output is not None else _likeliest(list(outputs.values()))
            shape = [int(size) for size in chosen["shape"]]
            flat = np.asarray(chosen["data"], dtype=np.float64).reshape(shape)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise Refused(
                ExplainFailure.WRONG_SHAPE,
                f"the server's answer is not of the Open Inference Protocol, or lacks the output {self._output!r}:"
                f" {type(error).__name__} {error}; see explain.output",
            ) from error
        return as_outputs(flat, rows=len(inputs))

    def _tensors(self, inputs: Inputs) -> list[dict[str, Any]]:
        described = self._described or []
        name, kind = described[0] if described else ("input-0", "")
        if isinstance(inputs, list):
            return [_tensor(name, "BYTES", [len(inputs), 1], inputs)]
        if not isinstance(inputs, Table):
            return [_tensor(name, kind or "UINT8", list(inputs.shape), inputs.reshape(-1).tolist())]
        by_name = dict(described)
        if set(inputs.names) == set(by_name) and (len(by_name) > 1 or len(inputs.names) == 1):
            return [
                _tensor(name, by_name[name], [len(inputs), 1], _plain(column, by_name[name]))
                for name, column in zip(inputs.names, inputs.columns, strict=True)
            ]
        matrix = inputs.matrix()
        kind = kind or ("BYTES" if matrix.dtype == object else "FP64")
        if matrix.dtype == object and kind != "BYTES":
            raise Refused(
                ExplainFailure.WRONG_FEATURES,
                f"the model takes one tensor of {kind}, but features are text; it has to take an input per feature",
            )
        return [_tensor(name, kind, list(matrix.shape), _plain(matrix.reshape(-1), kind))]


def _tensor(name: str, kind: str, shape: Sequence[int], content: Sequence[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": kind, "shape": shape, "data": content}


def _plain(column: npt.NDArray[Any], kind: str) -> list[Any]:
    """Values as JSON of a tensor has them: whole numbers for integer types; a missing one is null."""
    values = column.tolist()
    if kind == "BYTES":
        return ["" if value is None else str(value) for value in values]
    if kind.startswith(("INT", "UINT")):
        return [None if value is None or value != value else int(value) for value in values]
    return [None if value is None or math.isnan(value) else value for value in values]


def _likeliest(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """The output that looks like probabilities: named so, else of two dimensions, else the first."""
    for name in USUAL_OUTPUTS:
        for output in outputs:
            if output["name"] == name:
                return output
    return next((output for output in outputs if len(output["shape"]) == 2 and output["shape"][1] > 1), outputs[0])
