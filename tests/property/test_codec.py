"""Whatever the bytes: a record is read or refused, nothing else happens, and both ways agree."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.classes import class_name
from schemas.codec import decode_labels, decode_predictions, encode, read_features, read_label, read_prediction
from schemas.diagnosis import nests_too_deep
from schemas.errors import Reason, Rejected
from schemas.label import Label
from schemas.prediction import Prediction
from tests.support.poison import ODD_BUT_GOOD, POISON, PREDICTION_POISON, nested

NOW_MS = 1_795_608_000_000
SKEW_MS = 300_000

# Time says nothing here: the machine may be busy with brokers.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PAYLOADS = [value for _, value, _ in [*POISON, *PREDICTION_POISON] if value is not None and len(value) < 5_000]
PAYLOADS += [value for _, value in ODD_BUT_GOOD if len(value) < 5_000]
FIELDS = [
    *msgspec.structs.asdict(Prediction("", "", 0)),
    *msgspec.structs.asdict(Label("", "", 0)),
    "event_time",
    "other",
]

texts = st.text(max_size=140)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
known = st.sampled_from(
    ["ok", "error", "r-1", "2026-11-23T12:00:00Z", "1999-01-01T00:00:00Z", 0, 1, 0.5, 2**31, {}, []]
)
json_values = st.recursive(
    known | scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=12)
likely_objects = objects.map(lambda o: {"request_id": "r", "model": "m", "prediction": "a", "label": "a", **o})


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A payload that means something, with a few bytes replaced, inserted or cut."""
    value = bytearray(draw(st.sampled_from(PAYLOADS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(value)))
        value[at : at + draw(st.integers(0, 3))] = draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"\\u", b"{", b"]", b"e9"])
        )
    return bytes(value)


values = st.none() | st.binary(max_size=60) | mutated() | likely_objects.map(lambda o: json.dumps(o).encode())


def check(outcome: Prediction | Label | Rejected) -> None:
    """What holds of every outcome."""
    if isinstance(outcome, Rejected):
        assert outcome.reason in Reason
        assert outcome.message.isprintable()
        return
    assert 1 <= len(outcome.request_id.encode()) <= 256
    assert 0 <= outcome.instance < 2**31
    assert 946_684_800_000 <= outcome.event_time_ms <= NOW_MS + SKEW_MS
    answer = outcome.prediction if isinstance(outcome, Prediction) else outcome.label
    for one in answer if isinstance(answer, list) else [answer]:
        if one is not None:
            assert len(class_name(one).encode()) <= 128
    if isinstance(outcome, Prediction):
        encode({**outcome.segment, **outcome.signals, outcome.model: outcome.model_version, "": outcome.error})
        with contextlib.suppress(Rejected):
            read_features(outcome)


def outcome_of(read: Callable[..., Prediction | Label], value: bytes | None) -> Prediction | Label | Rejected:
    try:
        return read(value, timestamp_ms=NOW_MS, now_ms=NOW_MS, max_future_skew_ms=SKEW_MS)
    except Rejected as rejected:
        return rejected


@unhurried
@given(
    st.lists(values, max_size=5), st.sampled_from([(decode_predictions, read_prediction), (decode_labels, read_label)])
)
def test_each_value_has_one_sound_outcome_whatever_its_neighbours_are(
    batch: list[bytes | None], readers: tuple[Callable[..., Any], Callable[..., Prediction | Label]]
) -> None:
    decode, read = readers
    decoded = decode(batch, [NOW_MS] * len(batch), now_ms=NOW_MS, max_future_skew_ms=SKEW_MS)
    good = dict(zip(decoded.indexes, zip(decoded.records, decoded.times_ms.tolist(), strict=True), strict=True))
    rejected = dict(decoded.rejected)
    assert sorted([*good, *rejected]) == list(range(len(batch)))
    for index, value in enumerate(batch):
        outcome = outcome_of(read, value)
        check(outcome)
        if isinstance(outcome, Rejected):
            assert (outcome.reason, outcome.message) == (rejected[index].reason, rejected[index].message)
        else:
            sent, time_ms = good[index]
            assert (outcome.request_id, outcome.event_time_ms) == (sent.request_id, time_ms)


@unhurried
@given(st.binary(max_size=200), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_no_timestamp_and_no_clock_breaks_reading(value: bytes, timestamp_ms: int, now_ms: int) -> None:
    for candidate in (value, b'{"request_id":"r","model":"m","prediction":1,"label":1}'):
        for read in (read_prediction, read_label):
            with contextlib.suppress(Rejected):
                read(candidate, timestamp_ms=timestamp_ms, now_ms=now_ms, max_future_skew_ms=SKEW_MS)


@unhurried
@given(likely_objects)
def test_spacing_escapes_and_unknown_fields_do_not_change_what_is_read(content: dict[str, Any]) -> None:
    def outcome(value: bytes) -> object:
        try:
            read = read_prediction(value, timestamp_ms=NOW_MS, now_ms=NOW_MS, max_future_skew_ms=SKEW_MS)
        except Rejected as rejected:
            return rejected.reason
        return {**msgspec.structs.asdict(read), "features": None}

    plain = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    escaped = json.dumps({**content, "unknown": [{"deep": [1]}]}, ensure_ascii=True, indent=1).encode()
    assert outcome(plain) == outcome(escaped)


@unhurried
@given(st.integers(1, 200), st.sampled_from([("[", "]"), ('{"a":[', "]}")]))
def test_nesting_is_measured_exactly(levels: int, brackets: tuple[str, str]) -> None:
    opening, closing = brackets
    depth = 1 + (levels - 1) * opening.count("[") + (levels - 1) * opening.count("{")
    assert (depth > 64) == nests_too_deep(nested(levels, opening=opening, closing=closing))


@pytest.mark.parametrize("levels", [64, 65])
def test_every_level_of_the_limit_can_be_used_and_no_more(levels: int) -> None:
    outcome = outcome_of(read_label, nested(levels))
    assert (levels > 64) == isinstance(outcome, Rejected)
