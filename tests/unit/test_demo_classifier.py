"""The model learns the same from the same flights, and never from those that it is judged by."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest

from agents.demo.classifier import LEARN_UNTIL, Prediction, learn, learn_and_predict
from agents.demo.flights import Flight

NEW_YORK_WINTER = timezone(timedelta(hours=-5))
FIRST = datetime(2013, 2, 1, 6, tzinfo=NEW_YORK_WINTER)


def flights(*, hours: int, late_from_march: bool = False) -> list[Flight]:
    """Return a flight an hour from February on; evening flights are late, and one in ten is cancelled."""
    made = []
    for hour in range(hours):
        departure = FIRST + timedelta(hours=hour)
        late = departure.hour >= 18 or (late_from_march and departure.date() >= LEARN_UNTIL)
        lands = hour % 10 != 0
        made.append(
            Flight(
                scheduled_departure=departure,
                scheduled_arrival_minute=600,
                carrier="UA" if hour % 3 else "B6",
                number=hour,
                origin="EWR",
                dest="SFO",
                distance_miles=2565,
                landing=departure + timedelta(hours=2) if lands else None,
                arrives_late=late if lands else None,
            )
        )
    return made


def answers(predictions: list[Prediction]) -> list[tuple[str, float]]:
    """Return what the model said, without the flights."""
    return [(prediction.prediction, prediction.score) for prediction in predictions]


def test_same_flights_give_the_same_predictions() -> None:
    assert answers(learn_and_predict(flights(hours=1000))) == answers(learn_and_predict(flights(hours=1000)))


def test_model_tells_how_sure_it_is_how_its_trees_vote_and_what_it_never_saw() -> None:
    known = flights(hours=1000)
    unseen = [each._replace(dest="HNL") if number >= 900 else each for number, each in enumerate(known)]
    usual, strange = (learn_and_predict(each) for each in (known, unseen))
    threshold = learn(known).threshold
    for each in usual:
        odds = each.score / (1 - each.score) / (threshold / (1 - threshold))
        assert pytest.approx(math.log(odds), rel=0.02, abs=0.02) == each.signals["margin"]
        assert 0.0 <= each.signals["vote_entropy"] <= 1.0
    seen = sum(each.scheduled_departure.date() < LEARN_UNTIL for each in known)
    assert {seen} == {each.signals["route_flights"] for each in usual}
    assert {"HNL"} == {each.flight.dest for each in strange if "route_flights" not in each.signals}


def test_only_flights_from_march_on_are_predicted_cancelled_ones_too() -> None:
    all_flights = flights(hours=1000)
    assert [flight for flight in all_flights if flight.scheduled_departure.date() >= LEARN_UNTIL] == [
        prediction.flight for prediction in learn_and_predict(all_flights)
    ]


def test_outcomes_of_predicted_flights_change_no_prediction() -> None:
    assert answers(learn_and_predict(flights(hours=1000))) == answers(
        learn_and_predict(flights(hours=1000, late_from_march=True))
    )


def test_what_makes_flights_late_is_learned() -> None:
    predictions = learn_and_predict(flights(hours=1000))
    assert {True: {"late"}, False: {"on_time"}} == {
        evening: {p.prediction for p in predictions if (p.flight.scheduled_departure.hour >= 18) is evening}
        for evening in (True, False)
    }
