"""Dead letters keep what came and say why."""

from __future__ import annotations

import hashlib
from typing import Any

from schemas.dead_letter import DeadLetter, Origin, dead_letter, read_origin, without_ours
from schemas.errors import Reason

MEBIBYTE = 1 << 20
NOW_MS = 1_795_435_200_000


def letter(**changes: Any) -> DeadLetter:
    return dead_letter(
        **{
            "key": b"k",
            "value": b"\xff\x00",
            "headers": [("trace", b"t"), ("trace", None)],
            "reason": Reason.BAD_UTF8,
            "message": "byte 0 is not UTF-8",
            "topic": "predictions",
            "partition": 3,
            "offset": 41,
            "timestamp_ms": NOW_MS - 500,
            "now_ms": NOW_MS,
            **changes,
        }
    )


def test_letter_keeps_key_value_and_headers_and_adds_where_it_came_from() -> None:
    expected = DeadLetter(
        key=b"k",
        value=b"\xff\x00",
        headers=[
            ("trace", b"t"),
            ("trace", None),
            ("latelabel-reason", b"bad_utf8"),
            ("latelabel-message", b"byte 0 is not UTF-8"),
            ("latelabel-topic", b"predictions"),
            ("latelabel-partition", b"3"),
            ("latelabel-offset", b"41"),
            ("latelabel-time", b"2026-11-23T11:59:59.500Z"),
        ],
        timestamp_ms=NOW_MS,
    )
    assert expected == letter()


def test_tombstone_stays_a_tombstone() -> None:
    assert (None, None) == (letter(key=None, value=None).key, letter(key=None, value=None).value)


def test_record_of_exactly_15_mebibytes_is_kept_whole() -> None:
    value = b"x" * (15 * MEBIBYTE - 1)
    kept = letter(value=value, headers=[])
    assert value == kept.value
    assert "latelabel-sha256" not in dict(kept.headers)


def test_record_above_15_mebibytes_is_cut_and_hashed() -> None:
    value = b"x" * 15 * MEBIBYTE
    cut = letter(value=value, headers=[])
    assert value[: 64 * 1024] == cut.value
    assert hashlib.sha256(value).hexdigest().encode() == dict(cut.headers)["latelabel-sha256"]


def test_key_and_headers_count_towards_the_limit_and_are_cut_with_the_value() -> None:
    cut = letter(key=b"k" * 8 * MEBIBYTE, headers=[("small", b"s"), ("big", b"b" * 8 * MEBIBYTE)])
    assert b"k" * 64 * 1024 == cut.key
    assert b"\xff\x00" == cut.value
    assert "small" in dict(cut.headers)
    assert "big" not in dict(cut.headers)


def test_headers_of_an_earlier_life_as_a_dead_letter_are_replaced() -> None:
    again = letter(headers=letter(reason=Reason.EMPTY).headers)
    assert letter() == again


def test_message_cannot_break_a_log_line_or_fill_the_record() -> None:
    message = dict(letter(message="a\n\x1b[31m\x00\u2028b" + "x" * 10_000).headers)["latelabel-message"]
    assert message is not None
    assert message.decode().isprintable()
    assert message.startswith(b"a\\n\\x1b[31m\\x00\\u2028b")
    assert len(message) < 1_000


def test_timestamp_that_no_calendar_holds_is_written_as_a_number() -> None:
    assert b"9223372036854775807" == dict(letter(timestamp_ms=2**63 - 1).headers)["latelabel-time"]


def test_origin_is_read_back_from_the_headers() -> None:
    expected = Origin(
        topic="predictions",
        partition=3,
        offset=41,
        reason="bad_utf8",
        message="byte 0 is not UTF-8",
        timestamp_ms=NOW_MS - 500,
    )
    assert expected == read_origin(letter().headers)
    assert "predictions/3@41" == str(expected)


def test_origin_of_a_cut_letter_has_the_hash_of_the_whole_value() -> None:
    value = b"x" * (16 * MEBIBYTE)
    origin = read_origin(letter(value=value).headers)
    assert origin is not None
    assert hashlib.sha256(value).hexdigest() == origin.sha256


def test_timestamps_that_no_calendar_knows_are_read_back_as_well() -> None:
    for timestamp_ms, expected in ((10**17, 10**17), (0, 0), (-1, None)):
        origin = read_origin(letter(timestamp_ms=timestamp_ms).headers)
        assert origin is not None
        assert expected == origin.timestamp_ms


def test_record_without_our_headers_is_no_letter() -> None:
    headers = letter().headers
    assert read_origin([]) is None
    assert read_origin(headers[:-1]) is None
    assert read_origin([(name, b"x") for name, _ in headers]) is None


def test_headers_of_the_bad_record_are_what_is_left_without_ours() -> None:
    assert [("trace", b"t"), ("trace", None)] == without_ours(letter().headers)
