"""The model that the demo monitors: will this flight arrive more than 15 minutes late?

A small gradient-boosted classifier that learns from January and February what a schedule gives away: hour,
weekday, airline, route. It is good enough to be worth monitoring and weak enough to have bad days, which is
the point: nobody sees storms in a timetable.

With each answer it tells three signals of its own state: how far the answer is from the threshold (`margin`, in
log-odds), how much its trees disagree (`vote_entropy`, in bits), and from how many flights on the same route it learned
(`route_flights`; undefined where from none).

It says `late` when a flight is likelier to be late than the average flight it learned from. Half would be the
wrong threshold here: a schedule alone hardly ever makes being late the likelier outcome.
"""

from __future__ import annotations

import collections
import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from agents.demo.flights import Flight

__all__ = [
    "FEATURES",
    "LEARN_UNTIL",
    "MODEL",
    "MODEL_VERSION",
    "NEGATIVE",
    "POSITIVE",
    "SIGNALS",
    "DelayModel",
    "FlightModel",
    "Prediction",
    "learn",
    "learn_and_predict",
]

MODEL = "flight-delay"
MODEL_VERSION = "1"
POSITIVE = "late"
NEGATIVE = "on_time"
LEARN_UNTIL = date(2013, 3, 1)
"""The first day, in New York, that the model has not seen."""

CATEGORIES = ("carrier", "origin", "dest")
NUMBERS = ("departure_minute", "weekday", "arrival_minute", "distance_miles")
FEATURES = CATEGORIES + NUMBERS
"""In the order in which the model takes them."""

SIGNALS = ("margin", "vote_entropy", "route_flights")


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """What the model said about one flight; `score` is its probability of being late, in [0, 1].

    `signals` are what it told of its own state.
    """

    flight: Flight
    prediction: str
    score: float
    signals: Mapping[str, float] = dataclasses.field(default_factory=dict)


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


class DelayModel:
    """The model itself, with the interface of scikit-learn's, so that its file can be asked why.

    Args:
        rows: flights to learn from, each the features in the order of `FEATURES`.
        late: which of them were late.
    """

    classes_ = (NEGATIVE, POSITIVE)

    def __init__(self, rows: NDArray[np.object_], late: NDArray[np.bool_], *, taught: NDArray[np.bool_]) -> None:
        self._codes = [
            {value: float(code) for code, value in enumerate(sorted(set(rows[:, place])))}
            for place in range(len(CATEGORIES))
        ]
        self._classifier = HistGradientBoostingClassifier(
            max_iter=60,
            early_stopping=False,
            categorical_features=list(range(len(CATEGORIES))),
            random_state=2013,
        )
        self._classifier.fit(self._table(rows[taught]), late[taught])
        self._threshold = float(late[taught].mean())
        self._routes = collections.Counter(_routes(rows))

    def predict_proba(self, rows: NDArray[np.object_]) -> NDArray[np.float64]:
        """Probabilities of being on time and of being late: shape (rows, 2)."""
        shares: NDArray[np.float64] = self._classifier.predict_proba(self._table(rows))
        return shares

    def predict(self, rows: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Whether being late is the likelier outcome."""
        late: NDArray[np.bool_] = self._classifier.predict(self._table(rows))
        return late

    def signals(self, rows: NDArray[np.object_]) -> NDArray[np.float64]:
        """What goes on inside for each row, in the order of `SIGNALS`: shape (rows, 3), NaN where undefined."""
        # It begins at the share of late flights, which is the threshold, and each tree moves the score up or down.
        score = np.full(len(rows), self._threshold)
        upward, trees = np.zeros(len(rows)), 0
        for shares in self._classifier.staged_predict_proba(self._table(rows)):
            upward += shares[:, 1] > score
            score, trees = shares[:, 1], trees + 1
        margin = np.log(score / (1.0 - score)) - np.log(self._threshold / (1.0 - self._threshold))
        routes = [self._routes.get(route, np.nan) for route in _routes(rows)]
        return np.column_stack([margin, _entropy_bits(upward / trees), routes])

    def _table(self, rows: NDArray[np.object_]) -> NDArray[np.float64]:
        """Numbers alone; a category the model never saw becomes a missing value."""
        table = np.empty(rows.shape, dtype=np.float64)
        for place, codes in enumerate(self._codes):
            table[:, place] = [codes.get(value, np.nan) for value in rows[:, place]]
        table[:, len(CATEGORIES) :] = rows[:, len(CATEGORIES) :].astype(np.float64)
        return table


@dataclasses.dataclass(frozen=True, slots=True)
class FlightModel:
    """A model that has learned, with the score from which it says `late`."""

    delays: DelayModel
    threshold: float

    def predict(self, flights: Sequence[Flight]) -> list[Prediction]:
        """Say of each flight whether it will be late."""
        rows = _rows(flights)
        scores = self.delays.predict_proba(rows)[:, 1].tolist()
        told = np.round(self.delays.signals(rows), 4).tolist()
        return [
            Prediction(flight, POSITIVE if score > self.threshold else NEGATIVE, round(score, 4), _known(values))
            for flight, score, values in zip(flights, scores, told, strict=True)
        ]


def learn(flights: Sequence[Flight]) -> FlightModel:
    """Learn from the flights before `LEARN_UNTIL`. The same flights give the same model in every run."""
    seen = [flight for flight in flights if flight.scheduled_departure.date() < LEARN_UNTIL]
    late = np.array([flight.arrives_late is True for flight in seen])
    taught = np.array([flight.arrives_late is not None for flight in seen])
    return FlightModel(DelayModel(_rows(seen), late, taught=taught), float(late[taught].mean()))


def learn_and_predict(flights: Sequence[Flight], model_file: Path | None = None) -> list[Prediction]:
    """Learn from the flights before `LEARN_UNTIL` and predict all others, in the order given.

    Args:
        model_file: where the model is kept, as a pickle.
    """
    model = learn(flights)
    if model_file is not None:
        model_file.write_bytes(pickle.dumps(model.delays))
    return model.predict([flight for flight in flights if flight.scheduled_departure.date() >= LEARN_UNTIL])


def _known(values: Sequence[float]) -> Mapping[str, float]:
    return {name: value for name, value in zip(SIGNALS, values, strict=True) if not np.isnan(value)}


def _routes(rows: NDArray[np.object_]) -> list[tuple[str, str]]:
    return [(origin, dest) for origin, dest in rows[:, 1 : len(CATEGORIES)]]


def _entropy_bits(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of votes of which this share is on one side: 0 if they agree, 1 if half of them do."""
    sides = np.clip(np.stack([share, 1.0 - share]), 1e-300, 1.0)
    entropy: NDArray[np.float64] = -(sides * np.log2(sides)).sum(axis=0)
    return entropy


def _rows(flights: Sequence[Flight]) -> NDArray[np.object_]:
    named = [features(flight) for flight in flights]
    return np.array([[row[name] for name in FEATURES] for row in named], dtype=object)
