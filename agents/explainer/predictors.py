"""One port for every way to ask a model, and the choice among them by how `explain.predictor` is written.

http://…/v2/models/NAME[/versions/{version}]     Open Inference Protocol
http://…/invocations                             MLflow
module:function                                  a function in this environment
PATH.onnx, PATH.skops, PATH.pkl                  a model file
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from agents.explain_settings import MODEL_FILES
from agents.explainer.guarded_http import GuardedHttp, with_version
from agents.explainer.jobs import Subject
from schemas.explanation import ExplainFailure
from streams.explanation.features import Value
from streams.explanation.refusal import Refused

__all__ = ["Inputs", "Predictor", "Table", "as_outputs", "predictor_of"]

URL = re.compile(r"https?://.+")
FUNCTION = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")
LARGEST_OUTPUT = 1e100
"""Of an answer's size: beyond, the squares of which fits are made would overflow."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows to ask about: one column per feature, floats with NaN for missing, or objects with None."""

    names: tuple[str, ...]
    columns: Sequence[npt.NDArray[Any]]

    @classmethod
    def of_rows(cls, names: tuple[str, ...], rows: Sequence[Sequence[Value]], like: Table) -> Table:
        """Rows of values, typed as another table's columns are."""
        columns = [
            np.array([np.nan if value is None and pattern.dtype != object else value for value in column])
            if pattern.dtype != object
            else np.array([*column, None], dtype=object)[:-1]
            for column, pattern in zip(zip(*rows, strict=True), like.columns, strict=True)
        ]
        return cls(names, columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    def slice(self, start: int, end: int) -> Table:
        """Some of the rows."""
        return Table(self.names, [column[start:end] for column in self.columns])

    def matrix(self) -> npt.NDArray[Any]:
        """(rows, features): floats where all features are numbers, else objects."""
        if any(column.dtype == object for column in self.columns):
            return np.column_stack([column.astype(object) for column in self.columns])
        return np.column_stack([column.astype(np.float64) for column in self.columns])


Inputs: TypeAlias = Table | list[str] | npt.NDArray[np.uint8]
"""A table, texts, or images as (images, height, width, 3)."""


class Predictor(Protocol):
    """A model that answers. May block; raises `Refused` for what went wrong. Keeps nothing of what it is asked."""

    @property
    def version(self) -> str | None:
        """Which version gave the last answer; None if that is not known."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of its outputs in their order; empty if it does not say."""

    def predict(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """Answers of shape (inputs, outputs)."""


def predictor_of(subject: Subject) -> Predictor:
    """The predictor that the settings name.

    Raises: Refused if it is not allowed, cannot be reached or loaded.
    """
    spec = with_version(subject.terms.predictor, subject.model_version)
    version = subject.model_version if spec != subject.terms.predictor else None
    if URL.fullmatch(spec):
        http = GuardedHttp(
            spec,
            allowed_hosts=subject.allowed_hosts,
            answer_seconds=subject.answer_seconds,
            answer_bytes=subject.answer_bytes,
        )
        if spec.rstrip("/").endswith("/invocations"):
            from agents.explainer.mlflow_scoring import MlflowScoring

            return MlflowScoring(http, version)
        from agents.explainer.open_inference import OpenInference

        return OpenInference(http, output=subject.terms.output)
    if FUNCTION.fullmatch(spec):
        from agents.explainer.entry_point import EntryPoint

        return EntryPoint(spec, version)
    if spec.endswith(".onnx"):
        from agents.explainer.onnx_file import OnnxFile

        return OnnxFile(spec, version, output=subject.terms.output)
    if spec.endswith(MODEL_FILES):
        from agents.explainer.sklearn_file import SklearnFile

        return SklearnFile(spec, version, trusted=subject.terms.trusted, allow_pickle=subject.terms.allow_pickle)
    raise Refused(
        ExplainFailure.NOT_LOADABLE,
        f"explain.predictor {spec!r} is no URL, no module:function and no file of {', '.join(MODEL_FILES)}",
    )


def as_outputs(answer: Any, *, rows: int) -> npt.NDArray[np.float64]:
    """What a model answered as (rows, outputs).

    Raises: Refused with `wrong_shape` or `not_finite`.
    """
    try:
        outputs = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Refused(
            ExplainFailure.WRONG_SHAPE,
            f"the model answers with {type(answer).__name__} that are no numbers: {error}; it has to give them",
        ) from error
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    if outputs.ndim != 2 or len(outputs) != rows or not outputs.shape[1]:
        raise Refused(
            ExplainFailure.WRONG_SHAPE,
            f"the model answers {rows} rows with shape {outputs.shape}; expected ({rows}, outputs)",
        )
    is_sound = (np.abs(outputs) <= LARGEST_OUTPUT).all(axis=1)
    if not is_sound.all():
        raise Refused(
            ExplainFailure.NOT_FINITE,
            f"{int((~is_sound).sum())} of {rows} answers of the model are NaN, infinite or beyond {LARGEST_OUTPUT:.0e}",
        )
    return outputs
