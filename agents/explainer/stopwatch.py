"""How long things took, and how much of it was the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from agents.clock import SystemClock
from agents.explainer.jobs import Item
from agents.explainer.predictors import Inputs, Predictor
from schemas.explanation import ExplainFailure
from streams.explanation.outcome import Outcome
from streams.explanation.refusal import Refused

__all__ = ["TimedPredictor", "milliseconds_since", "now_seconds", "timed_outcomes"]

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


def timed_outcomes(
    items: Sequence[Item], explain: Callable[[Item], Outcome], predictor: TimedPredictor
) -> list[Outcome]:
    """What `explain` makes of each item, refusals among it, with how long it took and how much of that the model."""
    return [_timed(item, explain, predictor) for item in items]


def _timed(item: Item, explain: Callable[[Item], Outcome], predictor: TimedPredictor) -> Outcome:
    started = now_seconds()
    try:
        outcome = explain(item)
    except Refused as refused:
        outcome = Outcome(failure=refused.reason, message=refused.message)
    return msgspec.structs.replace(outcome, total_ms=milliseconds_since(started), model_ms=predictor.spent_ms())
