"""The flights of New York, 2013, as `deploy/demo/flights.csv.xz` holds them.

A flight is known in two instalments: its schedule when the prediction is made, and its outcome when it
lands. A flight that was cancelled or diverted has no second one.
"""

from __future__ import annotations

import csv
import io
import lzma
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

__all__ = ["LATE_AFTER_MINUTES", "Flight", "read_flights"]

LATE_AFTER_MINUTES = 15
"""A flight that arrives more than this after its schedule is late: the rule of the US statistics."""


class Flight(NamedTuple):
    """One scheduled flight and what became of it (`None`: never known, it was cancelled or diverted)."""

    scheduled_departure: datetime
    scheduled_arrival_minute: int
    carrier: str
    number: int
    origin: str
    dest: str
    distance_miles: int
    landing: datetime | None
    arrives_late: bool | None

    @property
    def request_id(self) -> str:
        """Return the id that its prediction and its label share, `2013-03-01T05:15:00-05:00/UA1545/EWR`."""
        return f"{self.scheduled_departure.isoformat()}/{self.carrier}{self.number}/{self.origin}"

    @property
    def day(self) -> datetime:
        """Return the start of the UTC day, the window, that its scheduled departure falls into."""
        return self.scheduled_departure.astimezone(UTC).replace(hour=0, minute=0)


def read_flights(path: Path) -> list[Flight]:
    """Read the extract, in order of scheduled departure.

    Raises:
        FileNotFoundError: there is no extract at `path`; it lies in `deploy/demo` of the repository.
    """
    with lzma.open(path) as compressed:
        text = compressed.read().decode()
    rows = csv.reader(io.StringIO(text))
    next(rows)
    return [_flight(row) for row in rows]


def _flight(row: list[str]) -> Flight:
    departure = datetime.fromisoformat(row[0])
    _, arrival, carrier, number, origin, dest, distance, dep_delay, air_time, arr_delay = row
    landing, late = None, None
    if arr_delay:
        # Taxi time is not in the data, so the label comes a little earlier than it did in life.
        landing = departure + timedelta(minutes=int(dep_delay) + int(air_time))
        late = int(arr_delay) > LATE_AFTER_MINUTES
    arrival_minute = int(arrival[:2]) * 60 + int(arrival[3:])
    return Flight(departure, arrival_minute, carrier, int(number), origin, dest, int(distance), landing, late)
