"""Event time as text and as milliseconds."""

from __future__ import annotations

import datetime
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Reason, Rejected
from schemas.times import event_time_ms, format_time, parse_time_ms, parse_times_ms

NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("2026-11-23T12:00:00Z", NOON_MS),
        ("2026-11-23t12:00:00z", NOON_MS),
        ("2026-11-23T12:00:00-00:00", NOON_MS),
        ("2026-11-23T13:00:00+01:00", NOON_MS),
        ("2026-11-23T06:15:00.25-05:45", NOON_MS + 250),
        ("2026-11-24T11:59:00+23:59", NOON_MS),
        ("2026-11-23T12:00:00.1Z", NOON_MS + 100),
        ("2026-11-23T12:00:00.001Z", NOON_MS + 1),
        ("2026-11-23T12:00:00.0009Z", NOON_MS),
        ("2026-11-23T12:00:00.999999Z", NOON_MS + 999),
        ("2026-11-23T12:04:59.999999999Z", NOON_MS + 299_999),
        ("2026-11-23T12:04:59." + "9" * 1_000 + "Z", NOON_MS + 299_999),
        ("2026-11-23T13:04:59.999999999+01:00", NOON_MS + 299_999),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("2000-01-01T00:00:00Z", 946_684_800_000),
        ("9999-12-31T23:59:59.999-23:59", 253_402_387_139_999),
    ],
)
def test_time_is_cut_to_milliseconds_in_utc(text: str, expected_ms: int) -> None:
    assert expected_ms == event_time_ms(text)


@pytest.mark.parametrize("text", ["1999-12-31T23:59:59.999999Z", "2000-01-01T00:00:00+00:01", "0001-01-01T00:00:00Z"])
def test_event_time_before_2000_is_implausible_but_readable(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        event_time_ms(text)
    assert Reason.IMPLAUSIBLE_TIME == caught.value.reason
    assert parse_time_ms(text) < 946_684_800_000


@pytest.mark.parametrize("text", ["2026-11-23T12:00:60Z", "2026-11-23T12:00:00", "2026-11-23T12:00:00.5", "x" * 10_000])
def test_text_that_is_no_time_is_refused_each_time(text: str) -> None:
    for _ in range(2):
        with pytest.raises(Rejected) as caught:
            event_time_ms(text)
        assert Reason.BAD_TIME == caught.value.reason


@pytest.mark.parametrize(
    ("time_ms", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (NOON_MS, "2026-11-23T12:00:00Z"),
        (NOON_MS + 120, "2026-11-23T12:00:00.120Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_time_is_written_with_a_fraction_only_where_there_is_one(time_ms: int, expected: str) -> None:
    assert expected == format_time(time_ms)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_written_time_is_read_back_exactly(time_ms: int) -> None:
    assert time_ms == parse_time_ms(format_time(time_ms))


@given(
    st.datetimes(timezones=st.just(datetime.UTC)),
    st.integers(-(23 * 60 + 59), 23 * 60 + 59),
)
def test_any_zone_gives_the_milliseconds_that_the_standard_library_counts(
    moment: datetime.datetime, offset_minutes: int
) -> None:
    zone = datetime.timezone(datetime.timedelta(minutes=offset_minutes))
    local = moment.replace(tzinfo=zone)
    assert (local - EPOCH) // datetime.timedelta(milliseconds=1) == parse_time_ms(local.isoformat())


@given(st.lists(st.integers(-62_135_596_800_000, 253_402_300_799_999), min_size=1))
def test_many_times_are_read_as_each_of_them(times_ms: list[int]) -> None:
    moments = [EPOCH + datetime.timedelta(milliseconds=time_ms) for time_ms in times_ms]
    read = parse_times_ms([f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z" for moment in moments])
    assert read is not None
    assert times_ms == read.tolist()


@given(st.integers(0, 23), st.characters(max_codepoint=0x2FF))
def test_many_times_are_left_to_be_read_one_by_one_if_one_of_them_is_odd(at: int, character: str) -> None:
    usual = "2026-11-23T12:00:00.120Z"
    odd = usual[:at] + character + usual[at + 1 :]
    read = parse_times_ms([usual, odd])
    if read is not None:
        assert [parse_time_ms(usual), parse_time_ms(odd)] == read.tolist()
    else:
        assert not re.fullmatch(r"20[0-9]{2}-1[0-2]-[0-2][0-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z", odd)
