"""The demo sends each record when life would have: predictions at departure, labels at landing."""

from __future__ import annotations

import lzma
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from agents.demo.classifier import Prediction
from agents.demo.flights import Flight, read_flights
from agents.demo.timeline import Message, Timeline

HEADER = (
    "scheduled_departure,scheduled_arrival,carrier,flight,origin,dest,distance_miles,"
    "dep_delay_minutes,air_time_minutes,arr_delay_minutes"
)


def flights_of(folder: Path, *lines: str) -> list[Flight]:
    """Read flights from an extract that holds these lines."""
    path = folder / "flights.csv.xz"
    path.write_bytes(lzma.compress("\n".join((HEADER, *lines, "")).encode()))
    return read_flights(path)


def sent(flights: list[Flight]) -> list[Message]:
    """Return all messages about flights that the model takes to be on time."""
    timeline = Timeline([Prediction(flight, "on_time", 0.25, {"margin": -0.7}) for flight in flights])
    position, messages = timeline.messages_until(0, instant=timeline.end)
    assert position == len(timeline) == len(messages)
    return messages


def test_labels_interleave_with_the_predictions_of_later_flights(tmp_path: Path) -> None:
    flights = flights_of(
        tmp_path,
        "2013-07-01T08:00-04:00,11:00,UA,1,EWR,SFO,2565,30,130,40",
        "2013-07-01T08:05-04:00,09:30,B6,2,JFK,BOS,187,-5,70,-9",
        "2013-07-01T09:30-04:00,12:00,DL,3,LGA,ATL,762,0,100,3",
    )
    assert [
        ("predictions", "UA1"),
        ("predictions", "B62"),
        ("labels", "B62"),  # 09:10
        ("predictions", "DL3"),
        ("labels", "UA1"),  # 10:40
        ("labels", "DL3"),  # 11:10
    ] == [(message.role, message.key.decode().split("/")[1]) for message in sent(flights)]


def test_cancelled_flight_never_gets_a_label(tmp_path: Path) -> None:
    flights = flights_of(tmp_path, "2013-07-01T08:00-04:00,11:00,UA,1,EWR,SFO,2565,,,")
    assert ["predictions"] == [message.role for message in sent(flights)]


@pytest.mark.parametrize(("arrival_delay", "label"), [("15", "on_time"), ("16", "late")])
def test_flight_is_late_only_after_more_than_fifteen_minutes(tmp_path: Path, arrival_delay: str, label: str) -> None:
    flights = flights_of(tmp_path, f"2013-07-01T08:00-04:00,11:00,UA,1,EWR,SFO,2565,0,300,{arrival_delay}")
    assert label == orjson.loads(sent(flights)[1].value)["label"]


def test_messages_are_those_of_the_contract(tmp_path: Path) -> None:
    flights = flights_of(tmp_path, "2013-03-09T23:59-05:00,03:10,UA,1,EWR,SFO,2565,10,300,20")
    prediction, label = (orjson.loads(message.value) for message in sent(flights))
    request_id = "2013-03-09T23:59:00-05:00/UA1/EWR"
    assert {
        "request_id": request_id,
        "model": "flight-delay",
        "model_version": "1",
        "event_time": "2013-03-09T23:59:00-05:00",
        "prediction": "on_time",
        "score": 0.25,
        "features": {
            "carrier": "UA",
            "origin": "EWR",
            "dest": "SFO",
            "departure_minute": 1439,
            "weekday": 5,
            "arrival_minute": 190,
            "distance_miles": 2565,
        },
        "segment": {"carrier": "UA", "origin": "EWR"},
        "signals": {"margin": -0.7},
    } == prediction
    assert {
        "request_id": request_id,
        "label": "late",
        "event_time": "2013-03-10T05:09:00-05:00",
        "source": "landing",
    } == label


def test_departure_in_the_new_york_evening_belongs_to_the_next_utc_day(tmp_path: Path) -> None:
    flights = flights_of(tmp_path, "2013-03-09T23:59-05:00,03:10,UA,1,EWR,SFO,2565,10,300,20")
    assert datetime(2013, 3, 10, tzinfo=UTC) == flights[0].day


def test_asking_twice_sends_each_message_once(tmp_path: Path) -> None:
    flights = flights_of(
        tmp_path,
        "2013-07-01T08:00-04:00,11:00,UA,1,EWR,SFO,2565,0,60,0",
        "2013-07-01T09:00-04:00,11:00,UA,2,EWR,SFO,2565,0,60,0",
    )
    timeline = Timeline([Prediction(flight, "late", 0.5) for flight in flights])
    whole = timeline.messages_until(0, instant=timeline.end)[1]
    middle, first = timeline.messages_until(0, instant=timeline.start)
    assert (1, 1) == (middle, len(first))
    assert (middle, []) == timeline.messages_until(middle, instant=timeline.start)
    assert whole == first + timeline.messages_until(middle, instant=timeline.end)[1]
