"""The messages of the demo in the order in which life would have sent them.

A prediction leaves at scheduled departure, its label at landing. Both kinds share one timeline, so labels
interleave with later flights' predictions exactly as they would have:

    08:00 prediction A    08:05 prediction B    09:10 label B    09:30 prediction C    10:40 label A

The values are what any publisher would send: plain JSON, no library of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from agents.demo.classifier import MODEL, MODEL_VERSION, NEGATIVE, POSITIVE, Prediction, features

__all__ = ["LABELS", "PREDICTIONS", "Message", "Timeline"]

PREDICTIONS = "predictions"
LABELS = "labels"


class Message(NamedTuple):
    """One record to publish; `role` says to which topic."""

    role: str
    key: bytes
    value: bytes


class Timeline:
    """All messages about some predictions, in event-time order; encoded only when they are due.

    >>> Timeline([]).messages_until(0, instant=0.0)
    (0, [])
    """

    def __init__(self, predictions: Sequence[Prediction]) -> None:
        self._predictions = predictions
        predicted = [p.flight.scheduled_departure.timestamp() for p in predictions]
        landed = [(i, p.flight.landing) for i, p in enumerate(predictions) if p.flight.landing]
        instants = np.array(predicted + [landing.timestamp() for _, landing in landed])
        subjects = np.array(list(range(len(predictions))) + [i for i, _ in landed], dtype=np.int64)
        order = np.argsort(instants, kind="stable")
        self._instants: NDArray[np.float64] = instants[order]
        self._subjects: NDArray[np.int64] = subjects[order]
        self._is_label: NDArray[np.bool_] = (np.arange(len(instants)) >= len(predictions))[order]

    def __len__(self) -> int:
        return len(self._instants)

    @property
    def start(self) -> float:
        """Return the event time of the first message, in seconds since the epoch."""
        return float(self._instants[0])

    @property
    def end(self) -> float:
        """Return the event time of the last message, in seconds since the epoch."""
        return float(self._instants[-1])

    def messages_until(self, position: int, *, instant: float) -> tuple[int, list[Message]]:
        """Return the messages from `position` up to an event time, and the position after them.

        Args:
            position: how many messages were taken before.
            instant: seconds since the epoch, included.
        """
        end = int(np.searchsorted(self._instants, instant, side="right"))
        return max(position, end), list(self._encode(position, end))

    def _encode(self, start: int, end: int) -> Iterator[Message]:
        for position in range(start, end):
            prediction = self._predictions[self._subjects[position]]
            encode = _label if self._is_label[position] else _prediction
            yield encode(prediction)


def _prediction(prediction: Prediction) -> Message:
    flight = prediction.flight
    value = {
        "request_id": flight.request_id,
        "model": MODEL,
        "model_version": MODEL_VERSION,
        "event_time": flight.scheduled_departure,
        "prediction": prediction.prediction,
        "score": prediction.score,
        "features": features(flight),
        "segment": {"carrier": flight.carrier, "origin": flight.origin},
        "signals": prediction.signals,
    }
    return _message(PREDICTIONS, flight.request_id, value)


def _label(prediction: Prediction) -> Message:
    flight = prediction.flight
    assert flight.landing is not None
    value = {
        "request_id": flight.request_id,
        "label": POSITIVE if flight.arrives_late else NEGATIVE,
        "event_time": flight.landing,
        "source": "landing",
    }
    return _message(LABELS, flight.request_id, value)


def _message(role: str, request_id: str, value: dict[str, object]) -> Message:
    return Message(role, request_id.encode(), orjson.dumps(value))
