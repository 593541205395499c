"""Predictions and labels: defaults, nulls, time bounds, batches, classes, headers."""

from __future__ import annotations

import json
import traceback
from typing import Any

import msgspec
import pytest

from schemas.codec import (
    class_name,
    cloud_event_headers,
    decode_predictions,
    encode,
    read_features,
    read_label,
    read_prediction,
    regression_value,
)
from schemas.errors import Reason, Rejected
from schemas.label import Label
from schemas.prediction import Prediction

NOW_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z
SKEW_MS = 300_000


def prediction(text: str, *, timestamp_ms: int = NOW_MS, now_ms: int = NOW_MS) -> Prediction:
    return read_prediction(text.encode(), timestamp_ms=timestamp_ms, now_ms=now_ms, max_future_skew_ms=SKEW_MS)


def reason_of(text: str, *, timestamp_ms: int = NOW_MS, now_ms: int = NOW_MS) -> Reason:
    with pytest.raises(Rejected) as caught:
        prediction(text, timestamp_ms=timestamp_ms, now_ms=now_ms)
    return caught.value.reason


def timed(event_time: str) -> str:
    return f'{{"request_id":"r","model":"m","prediction":1,"event_time":"{event_time}"}}'


LEAST = '{"request_id":"r","model":"m","prediction":1}'


def test_prediction_without_optional_fields_has_the_documented_defaults() -> None:
    expected = Prediction("r", "m", NOW_MS, 0, "", 1, None, None, None, {}, {}, None, "ok", None)
    assert expected == prediction(LEAST)


def test_null_in_an_optional_field_is_the_same_as_leaving_it_out() -> None:
    nulls = ",".join(
        f'"{name}":null'
        for name in ("instance", "model_version", "event_time", "score", "probabilities", "features",
                     "segment", "signals", "latency_ms", "status", "error")
    )  # fmt: skip
    assert prediction(LEAST) == prediction(f"{LEAST[:-1]},{nulls}}}")


def test_null_inside_a_map_leaves_that_name_out() -> None:
    read = prediction(f'{LEAST[:-1]},"segment":{{"a":null,"b":"x"}},"signals":{{"q":null}}}}')
    assert {"b": "x"} == read.segment
    assert {} == read.signals


def test_failed_prediction_needs_no_answer() -> None:
    assert None is prediction('{"request_id":"r","model":"m","status":"error"}').prediction


def test_last_of_two_equal_keys_counts() -> None:
    assert "second" == prediction('{"request_id":"first","request_id":"second","model":"m","prediction":1}').request_id


def test_label_is_for_every_model_unless_it_names_one() -> None:
    read = read_label(
        b'{"request_id":"r","label":true}', timestamp_ms=NOW_MS, now_ms=NOW_MS, max_future_skew_ms=SKEW_MS
    )
    assert Label("r", True, NOW_MS) == read


@pytest.mark.parametrize(
    "fields",
    [
        '"prediction":"a"',
        '"prediction":"a","features":{"b":{}}',
        '"prediction":"a","features": {"b":1}',
        '"prediction":"a","features":null',
        '"prediction":"a","features":[{}]',
        '"prediction":"a","features":"\0{"',
        '"prediction":"a","features":{"b":"\0{"}',
        '"prediction":"a","score":2',
        '"prediction":true',
        '"prediction":[1]',
        '"prediction":null',
        '"prediction":null,"status":"error"',
        f'"prediction":{10**308}',
        f'"prediction":{10**309}',
    ],
)
def test_prediction_among_usual_ones_is_read_as_by_itself(fields: str) -> None:
    usual, value = LEAST.replace("1}", '"a"}').encode(), f'{{"request_id":"r","model":"m",{fields}}}'.encode()
    among_usual, by_itself = (
        decode_predictions([first, value, first], [NOW_MS] * 3, now_ms=NOW_MS, max_future_skew_ms=SKEW_MS)
        for first in (usual, usual.replace(b'"a"', '"\u00e4"'.encode()))
    )
    assert by_itself.records[1:-1] == among_usual.records[1:-1]
    assert [(at, why.reason) for at, why in by_itself.rejected] == [
        (at, why.reason) for at, why in among_usual.rejected
    ]


def test_features_are_read_on_request() -> None:
    read = prediction(f'{LEAST[:-1]},"features":{{"amount":1.5,"tags":["a"]}}}}')
    assert {"amount": 1.5, "tags": ["a"]} == read_features(read)
    assert {} == read_features(prediction(LEAST))


def test_whole_numbers_beyond_64_bits_are_read_as_floats_which_can_be_written_again() -> None:
    read = prediction(f'{LEAST[:-1]},"features":{{"id":{10**29},"ids":[{-(10**29)}],"small":{2**64 - 1}}}}}')
    features = read_features(read)
    assert {"id": 1e29, "ids": [-1e29], "small": 2**64 - 1} == features
    assert features == msgspec.msgpack.decode(msgspec.msgpack.encode(features))
    assert features == json.loads(encode(features))


def test_features_with_a_number_that_python_cannot_hold_are_refused_when_read() -> None:
    read = prediction(f'{LEAST[:-1]},"features":{{"amount":{"9" * 5_000}}}}}')
    with pytest.raises(Rejected) as caught:
        read_features(read)
    assert Reason.OUT_OF_BOUNDS == caught.value.reason


@pytest.mark.parametrize(
    ("timestamp_ms", "now_ms"),
    [
        pytest.param(NOW_MS, NOW_MS + 86_400_000, id="ahead of the record's timestamp"),
        pytest.param(NOW_MS + 86_400_000, NOW_MS, id="ahead of the reader's clock"),
    ],
)
def test_event_time_may_be_ahead_of_either_clock_by_the_skew_and_no_millisecond_more(
    timestamp_ms: int, now_ms: int
) -> None:
    read = prediction(timed("2026-11-23T12:05:00Z"), timestamp_ms=timestamp_ms, now_ms=now_ms)
    assert NOW_MS + SKEW_MS == read.event_time_ms
    reason = reason_of(timed("2026-11-23T12:05:00.001Z"), timestamp_ms=timestamp_ms, now_ms=now_ms)
    assert Reason.IMPLAUSIBLE_TIME == reason


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 946_684_799_999, NOW_MS + SKEW_MS + 1, 2**63 - 1, -(2**63)])
def test_record_timestamp_obeys_the_same_bounds_when_it_is_the_event_time(timestamp_ms: int) -> None:
    assert Reason.IMPLAUSIBLE_TIME == reason_of(LEAST, timestamp_ms=timestamp_ms)


def test_bad_record_does_not_disturb_its_neighbours_in_a_batch() -> None:
    decoded = decode_predictions(
        [LEAST.encode(), None, b"{", LEAST.encode()],
        [NOW_MS, NOW_MS, NOW_MS, NOW_MS + 1],
        now_ms=NOW_MS,
        max_future_skew_ms=SKEW_MS,
    )
    assert ([0, 3], [NOW_MS, NOW_MS + 1]) == (decoded.indexes, decoded.times_ms.tolist())
    refused = [(index, rejected.reason) for index, rejected in decoded.rejected]
    assert [(1, Reason.TOMBSTONE), (2, Reason.MALFORMED_JSON)] == refused


def test_refusals_of_a_batch_keep_no_frames_alive() -> None:
    bad = [None, b"", b"{}", timed("never").encode(), b'{"request_id":"r","model":"m"}']
    decoded = decode_predictions(bad, [NOW_MS] * 5, now_ms=NOW_MS, max_future_skew_ms=SKEW_MS)
    assert list(range(5)) == [index for index, _ in decoded.rejected]
    assert all(rejected.__traceback__ is None for _, rejected in decoded.rejected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("fraud", "fraud"), ("", ""), (" 1", " 1"), (True, "true"), (False, "false"),
        (1, "1"), (1.0, "1"), (-1.0, "-1"), (0, "0"), (-0.0, "0"), (1e15, "1000000000000000"),
        (2**53 - 1, "9007199254740991"), (float(2**53 - 1), "9007199254740991"), (-(2**53) + 1, "-9007199254740991"),
        (2**53, "9007199254740992.0"), (2.0**53, "9007199254740992.0"), (10**21, "1e+21"), (1e21, "1e+21"),
        (0.1, "0.1"), (1e-7, "1e-07"), (2.5, "2.5"), (1.7976931348623157e308, "1.7976931348623157e+308"),
        (5e-324, "5e-324"), ("ü" * 64, "ü" * 64),
    ],
)  # fmt: skip
def test_class_is_named_by_the_class_rule(value: str | float, expected: str) -> None:
    assert expected == class_name(value)


def test_alias_is_looked_up_by_the_text_that_the_rule_gives() -> None:
    aliases = {"1": "fraud", "true": "fraud"}
    assert ["fraud"] * 4 + ["0"] == [class_name(value, aliases) for value in (1, 1.0, "1", True, 0)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["a"], Reason.WRONG_TYPE), (None, Reason.WRONG_TYPE), ("x" * 129, Reason.OUT_OF_BOUNDS),
        ("ü" * 65, Reason.OUT_OF_BOUNDS), (10**400, Reason.OUT_OF_BOUNDS), (-(10**5_000), Reason.OUT_OF_BOUNDS),
        (float("nan"), Reason.OUT_OF_BOUNDS), (float("-inf"), Reason.OUT_OF_BOUNDS),
    ],
    ids=range(8),
)  # fmt: skip
def test_value_that_names_no_class_is_refused(value: Any, reason: Reason) -> None:
    with pytest.raises(Rejected) as caught:
        class_name(value)
    assert reason == caught.value.reason


@pytest.mark.parametrize(("value", "expected"), [(3, 3.0), (-1e12, -1e12), (10**12, 1e12), (0.1, 0.1)])
def test_number_within_the_bounds_of_regression_is_taken(value: float, expected: float) -> None:
    assert expected == regression_value(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("3", Reason.WRONG_TYPE), (True, Reason.WRONG_TYPE), (None, Reason.WRONG_TYPE), ([1], Reason.WRONG_TYPE),
        (1.0000000000001e12, Reason.OUT_OF_BOUNDS), (-(10**12) - 1, Reason.OUT_OF_BOUNDS),
        (float("nan"), Reason.OUT_OF_BOUNDS), (10**5_000, Reason.OUT_OF_BOUNDS),
    ],
    ids=range(8),
)  # fmt: skip
def test_value_that_no_regression_can_use_is_refused(value: Any, reason: Reason) -> None:
    with pytest.raises(Rejected) as caught:
        regression_value(value)
    assert reason == caught.value.reason


def test_encoding_writes_structs_and_never_nan() -> None:
    assert b'{"a":null,"b":{"request_id":"r"' == encode({"a": float("nan"), "b": Label("r", 1, 2)})[:31]


def test_published_records_carry_cloud_events_headers_in_binary_mode() -> None:
    headers = cloud_event_headers("report", event_id="e-1", source="/latelabel/w-1", time_ms=NOW_MS + 5)
    expected = {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"/latelabel/w-1",
        "ce_type": b"io.latelabel.report.v1",
        "ce_time": b"2026-11-23T12:00:00.005Z",
    }
    assert expected == dict(headers)


def test_refusal_reads_as_reason_and_message_in_a_log() -> None:
    rejected = Rejected(Reason.EMPTY, "nothing there")
    assert ["schemas.errors.Rejected: empty: nothing there\n"] == traceback.format_exception_only(rejected)


def test_prediction_cannot_be_changed_after_reading() -> None:
    with pytest.raises(AttributeError):
        prediction(LEAST).model = "other"  # type: ignore[misc]
