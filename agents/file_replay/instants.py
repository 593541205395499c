"""Event times as files hold them: text with or without a zone, dates, and numbers since 1970.

    2013-01-01T10:15:00Z    2013-01-01 05:15:00-05    2013-01-01 05:15    2013-01-01    1357035300    1357035300000

A number is seconds, milliseconds, microseconds or nanoseconds, whichever puts it between the years 2000 and 2100: no
number fits two of them. A time without a zone is refused unless one is given, and so is one that a clock there never
showed; of an hour that it showed twice the earlier is taken, and counted in `ambiguous`.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo

from schemas.errors import shown
from schemas.times import EARLIEST_MS

__all__ = ["Instants", "read_zone"]

LATEST_MS = 4_102_444_800_000
"""The year 2100: beyond it numbers are taken for another unit, or for no time."""
_UNITS_PER_SECOND = (1, 1_000, 1_000_000, 1_000_000_000)

_TIME = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<minute>[0-9]{2}:[0-9]{2})(?P<second>:[0-9]{2})?(?:[.,](?P<fraction>[0-9]+))?)?"
    r" ?(?P<zone>[Zz]|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")
_OFFSET = re.compile(r"([+-])([01][0-9]|2[0-3]):?([0-5][0-9])?")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


def read_zone(text: str) -> datetime.tzinfo:
    """A zone by its name in the IANA database, or by its distance from UTC.

    Raises: ValueError for what is neither.

    >>> read_zone("America/New_York"), read_zone("+05:30").utcoffset(None)
    (zoneinfo.ZoneInfo(key='America/New_York'), datetime.timedelta(seconds=19800))
    """
    if text in ("Z", "z", "UTC"):
        return datetime.UTC
    offset = _OFFSET.fullmatch(text)
    if offset is not None:
        minutes = int(offset[2]) * 60 + int(offset[3] or 0)
        return datetime.timezone(datetime.timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        return zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text!r} is no time zone such as Europe/Berlin, UTC or +05:30") from None


class Instants:
    """Reads event times.

    Args:
        zone: of times that name none; None refuses them.
    """

    def __init__(self, zone: datetime.tzinfo | None) -> None:
        self._zone = zone
        self.ambiguous = 0

    def read_ms(self, value: object) -> int:
        """Milliseconds since 1970, cut, never rounded.

        Raises: ValueError that names the value and the remedy.

        >>> Instants(None).read_ms("1970-01-01 01:00:01.0019+01"), Instants(None).read_ms(1357035300)
        (1001, 1357035300000)
        """
        if isinstance(value, datetime.datetime):
            return self._time_ms(value, value)
        if isinstance(value, datetime.date):
            return self._time_ms(datetime.datetime(value.year, value.month, value.day), value)  # noqa: DTZ001
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _number_ms(value, value)
        if isinstance(value, str):
            text = value.strip()
            if _NUMBER.fullmatch(text):
                return _number_ms(float(text) if "." in text else int(text), value)
            found = _TIME.fullmatch(text)
            if found is not None:
                return self._time_ms(_from_text(found, value), value)
        raise _no_time(value)

    def _time_ms(self, time: datetime.datetime, value: object) -> int:
        if time.tzinfo is None:
            time = self._in_zone(time, value)
        return (time - _EPOCH) // _MILLISECOND

    def _in_zone(self, time: datetime.datetime, value: object) -> datetime.datetime:
        if self._zone is None:
            raise ValueError(f"the time {shown(_text(value))} names no zone; say which with --timezone")
        earlier = time.replace(tzinfo=self._zone, fold=0)
        later = earlier.replace(fold=1)
        if earlier.utcoffset() != later.utcoffset():
            # Arithmetic with an aware time stays within its zone; only a journey through UTC tells whether it exists.
            there = earlier.astimezone(datetime.UTC).astimezone(self._zone)
            if there.replace(tzinfo=None, fold=0) != time:
                raise ValueError(
                    f"the clocks of {self._zone} never showed {shown(_text(value))}: they were put forward then; "
                    "correct the time or --timezone"
                )
            self.ambiguous += 1
        return earlier.astimezone(datetime.UTC)


def _from_text(found: re.Match[str], value: str) -> datetime.datetime:
    zone = found["zone"]
    try:
        time = datetime.datetime.fromisoformat(f"{found['day']}T{found['minute'] or '00:00'}{found['second'] or ''}")
        if zone is not None:
            time = time.replace(tzinfo=read_zone(zone))
    except ValueError:
        raise _no_time(value) from None
    if found["fraction"]:
        if not found["second"]:
            raise _no_time(value)
        time = time.replace(microsecond=int(found["fraction"][:6].ljust(6, "0")))
    return time


def _number_ms(number: float, value: object) -> int:
    for per_second in _UNITS_PER_SECOND:
        if EARLIEST_MS * per_second <= number * 1000 < LATEST_MS * per_second:
            # Integers stay integers: nanoseconds are more than a float can hold.
            return int(number * 1000 // per_second)
    raise _no_time(value)


def _no_time(value: object) -> ValueError:
    return ValueError(
        f"{shown(_text(value))} is no time such as 2013-01-01T10:15:00Z, 2013-01-01 05:15 or 1357035300 (since 1970, "
        "between the years 2000 and 2100)"
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)
