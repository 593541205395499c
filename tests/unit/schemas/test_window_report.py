"""Keys and ids of reports."""

from __future__ import annotations

import uuid
from hashlib import sha256
from typing import Any

import msgspec
import orjson
import pytest

from schemas.window_report import NAMESPACE, Metric, event_id, report_key

KEY: dict[str, Any] = {
    "model": "fraud",
    "model_version": "3",
    "segment": {"country": "DE"},
    "window_seconds": 300,
    "window_start_ms": 1_795_435_200_000,
}


def test_key_is_a_json_array_without_spaces() -> None:
    assert b'["quality","fraud","3",{"country":"DE"},300,"2026-11-23T12:00:00Z"]' == report_key(**KEY)


def test_key_does_not_depend_on_the_order_in_which_a_segment_is_named() -> None:
    one = report_key(**{**KEY, "segment": {"b": "2", "a": "1"}})
    other = report_key(**{**KEY, "segment": {"a": "1", "b": "2"}})
    assert one == other
    assert b'{"a":"1","b":"2"}' in one


def test_event_id_can_be_computed_with_any_uuid_library() -> None:
    content = {"b": 1, "a": [1.5, None], "revision": 7, "event_id": "x", "produced_at": "now"}
    expected = uuid.uuid5(NAMESPACE, '["k"]' + sha256(b'{"a":[1.5,null],"b":1}').hexdigest())
    assert str(expected) == event_id(b'["k"]', content)


@pytest.mark.parametrize("field", ["revision", "event_id", "produced_at"])
def test_event_id_ignores_what_is_not_content(field: str) -> None:
    assert event_id(b"k", {"a": 1}) == event_id(b"k", {"a": 1, field: 2})


def test_event_id_changes_with_key_and_content() -> None:
    ids = {event_id(b"k", {"a": 1}), event_id(b"k", {"a": 2}), event_id(b"l", {"a": 1})}
    assert 3 == len(ids)


def test_undefined_metric_keeps_its_nulls_and_leaves_out_what_does_not_apply() -> None:
    undefined = Metric(value=None, low=None, high=None, n=0)
    assert b'{"value":null,"low":null,"high":null,"n":0}' == orjson.dumps(undefined, default=msgspec.to_builtins)
