"""The model that the demo monitors: will this flight arrive more than 15 minutes late?

A small gradient-boosted classifier that learns from January and February what a schedule gives away: hour,
weekday, airline, route. It is good enough to be worth monitoring and weak enough to have bad days, which is
the point: nobody sees storms in a timetable.

It says `late` when a flight is likelier to be late than the average flight it learned from. Half would be the
wrong threshold here: a schedule alone hardly ever makes being late the likelier outcome.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from agents.demo.flights import Flight

__all__ = ["LEARN_UNTIL", "MODEL", "MODEL_VERSION", "NEGATIVE", "POSITIVE", "Prediction", "learn_and_predict"]

MODEL = "flight-delay"
MODEL_VERSION = "1"
POSITIVE = "late"
NEGATIVE = "on_time"
LEARN_UNTIL = date(2013, 3, 1)
"""The first day, in New York, that the model has not seen."""

CATEGORIES = ("carrier", "origin", "dest")
NUMBERS = ("departure_minute", "weekday", "arrival_minute", "distance_miles")


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """What the model said about one flight; `score` is its probability of being late, in [0, 1]."""

    flight: Flight
    prediction: str
    score: float


def features(flight: Flight) -> dict[str, str | int]:
    """Return what is known about a flight at its scheduled departure, by name."""
    departure = flight.scheduled_departure
    return {
        "carrier": flight.carrier,
        "origin": flight.origin,
        "dest": flight.dest,
        "departure_minute": departure.hour * 60 + departure.minute,
        "weekday": departure.weekday(),
        "arrival_minute": flight.scheduled_arrival_minute,
        "distance_miles": flight.distance_miles,
    }


def learn_and_predict(flights: Sequence[Flight]) -> list[Prediction]:
    """Learn from the flights before `LEARN_UNTIL` and predict all others, in the order given.

    The same flights give the same predictions in every run.
    """
    rows = [features(flight) for flight in flights]
    seen = np.array([flight.scheduled_departure.date() < LEARN_UNTIL for flight in flights])
    late = np.array([flight.arrives_late is True for flight in flights])
    taught = seen & np.array([flight.arrives_late is not None for flight in flights])
    table = _table(rows, seen)

    model = HistGradientBoostingClassifier(
        max_iter=60,
        early_stopping=False,
        categorical_features=list(range(len(CATEGORIES))),
        random_state=2013,
    )
    model.fit(table[taught], late[taught])
    scores = model.predict_proba(table[~seen])[:, 1]
    threshold = late[taught].mean()
    return [
        Prediction(flight, POSITIVE if score > threshold else NEGATIVE, round(score, 4))
        for flight, score in zip(
            (flight for flight, known in zip(flights, seen, strict=True) if not known),
            scores.tolist(),
            strict=True,
        )
    ]


def _table(rows: Sequence[dict[str, str | int]], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Lay the features out as numbers; a category the model never saw becomes a missing value."""
    columns = []
    for name in CATEGORIES:
        known = sorted({row[name] for row, is_seen in zip(rows, seen, strict=True) if is_seen}, key=str)
        code = {value: float(position) for position, value in enumerate(known)}
        columns.append([code.get(row[name], np.nan) for row in rows])
    columns.extend([float(row[name]) for row in rows] for name in NUMBERS)
    return np.array(columns).T
