"""scikit-learn models from files: skops with a list of trusted types, pickles only where somebody said so.

Neither is a boundary: a crafted skops file can still crash its reader, a pickle runs what it likes. Both are opened in
the child process alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.explainer.predictors import Inputs, Table, as_outputs
from schemas.classes import class_name
from schemas.explanation import ExplainFailure
from streams.explanation.refusal import Refused

__all__ = ["SklearnFile"]


class SklearnFile:
    """A fitted estimator in a file.

    Args:
        trusted: types that a skops file may hold beyond those that skops trusts.
        allow_pickle: whether a pickle may be opened, which runs code.
    """

    def __init__(self, path: str, version: str | None, *, trusted: Collection[str], allow_pickle: bool) -> None:
        self.model: Any = _load_skops(path, trusted) if path.endswith(".skops") else _load_pickle(path, allow_pickle)
        self.version = version
        self.classes = tuple(class_name(name) for name in np.asarray(getattr(self.model, "classes_", ())).tolist())

    def predict(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """See `Predictor`."""
        rows = inputs.matrix() if isinstance(inputs, Table) else inputs
        answer = getattr(self.model, "predict_proba", self.model.predict)(rows)
        return as_outputs(answer, rows=len(inputs))


def _load_skops(path: str, trusted: Collection[str]) -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise Refused(ExplainFailure.NOT_INSTALLED, f"{path} needs skops: pip install skops") from error
    try:
        found = skops.io.get_untrusted_types(file=path)
        unknown = [name for name in found if name not in trusted]
        loaded = None if unknown else skops.io.load(path, trusted=found)
    except Exception as error:
        raise Refused(ExplainFailure.NOT_LOADABLE, f"{path}: {type(error).__name__}: {error}") from error
    if unknown:
        raise Refused(
            ExplainFailure.NOT_TRUSTED,
            f"{path} holds {', '.join(unknown[:5])}; list them in explain.trusted if you know what they do",
        )
    return loaded


def _load_pickle(path: str, allow_pickle: bool) -> Any:
    if not allow_pickle:
        raise Refused(
            ExplainFailure.NOT_TRUSTED,
            f"{path} is a pickle, which runs whatever its maker wanted; export it as .skops or .onnx, or set"
            " explain.allow_pickle: true",
        )
    try:
        if path.endswith(".joblib"):
            import joblib

            return joblib.load(path)
        return pickle.loads(Path(path).read_bytes())  # noqa: S301  (the switch above)
    except Exception as error:
        raise Refused(ExplainFailure.NOT_LOADABLE, f"{path}: {type(error).__name__}: {error}") from error
