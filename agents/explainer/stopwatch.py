"""How long things took, and how much of it was the model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agents.clock import SystemClock
from agents.explainer.predictors import Inputs, Predictor
from schemas.explanation import ExplainFailure
from streams.explanation.refusal import Refused

__all__ = ["TimedPredictor", "milliseconds_since", "now_seconds"]

now_seconds = SystemClock().monotonic_seconds


def milliseconds_since(started_seconds: float) -> float:
    """Since a moment that `now_seconds` gave."""
    return (now_seconds() - started_seconds) * 1000


class TimedPredictor:
    """A predictor that knows how long it took, and whose errors are all refusals."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._spent_ms = 0.0

    @property
    def version(self) -> str | None:
        """See `Predictor`."""
        return self._predictor.version

    @property
    def classes(self) -> tuple[str, ...]:
        """See `Predictor`."""
        return self._predictor.classes

    def predict(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """See `Predictor`."""
        started = now_seconds()
        try:
            return self._predictor.predict(inputs)
        except (Refused, MemoryError):
            raise
        except Exception as error:
            raise Refused(
                ExplainFailure.MODEL_FAILED, f"the model raised {type(error).__name__}: {error}"[:500]
            ) from error
        finally:
            self._spent_ms += milliseconds_since(started)

    def spent_ms(self) -> float:
        """Time spent since this was asked last."""
        spent, self._spent_ms = self._spent_ms, 0.0
        return spent
