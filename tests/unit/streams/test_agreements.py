"""Which changes of a model the ledger bears, row by row."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from streams.ledger.agreements import Agreement, Breach, agree, breaches
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel, Task

FRAUD = MonitoredModel(name="fraud", task=Task.BINARY, positive_class="fraud", segments=("country", "device"))
STORED = {"fraud": Agreement.of(FRAUD)}


def changed(**fields: Any) -> dict[str, MonitoredModel]:
    return {"fraud": dataclasses.replace(FRAUD, **fields)}


@pytest.mark.parametrize(
    ("fields", "setting", "stored", "wanted"),
    [
        ({"base_window_ms": MINUTE_MS}, "base_window_ms", 5 * MINUTE_MS, MINUTE_MS),
        ({"label_horizon_ms": HOUR_MS}, "label_horizon_ms", DAY_MS, HOUR_MS),
        ({"segments": ("country",)}, "segments", ("country", "device"), ("country",)),
        ({"cross": (("device", "country"),)}, "cross", (), (("country", "device"),)),
        ({"task": Task.REGRESSION, "positive_class": None}, "answers", "classes", "regression"),
    ],
)
def test_what_windows_rest_on_is_kept_once_a_model_is_counted(
    fields: dict[str, Any], setting: str, stored: object, wanted: object
) -> None:
    assert [Breach("fraud", setting, stored, wanted)] == breaches(STORED, changed(**fields), counted={"fraud"})
    assert [] == breaches(STORED, changed(**fields), counted={"another"})


@pytest.mark.parametrize(
    "fields",
    [
        {"report_windows_ms": (5 * MINUTE_MS, DAY_MS)},
        {"positive_class": "ok"},
        {"task": Task.MULTICLASS, "positive_class": None},
        {"segments": ("device", "country")},
        {"allowed_skew_ms": 0},
    ],
)
def test_everything_else_may_change(fields: dict[str, Any]) -> None:
    assert [] == breaches(STORED, changed(**fields), counted={"fraud"})


def test_model_that_was_not_listed_was_counted_by_the_defaults_and_so_is_one_no_longer_listed() -> None:
    plain = MonitoredModel(name="plain")
    assert [] == breaches({}, {"plain": plain}, counted={"plain"})
    hourly = dataclasses.replace(plain, base_window_ms=HOUR_MS)
    expected = Breach("plain", "base_window_ms", 5 * MINUTE_MS, HOUR_MS)
    assert [expected] == breaches({}, {"plain": hourly}, counted={"plain"})
    expected = Breach("plain", "base_window_ms", HOUR_MS, 5 * MINUTE_MS)
    assert [expected] == breaches({"plain": Agreement.of(hourly)}, {}, counted={"plain"})


def test_ledger_that_does_not_know_how_it_was_counted_takes_what_it_is_told() -> None:
    other = changed(base_window_ms=MINUTE_MS)
    assert [] == breaches(None, other, counted={"fraud"})
    assert {"fraud": Agreement.of(other["fraud"])} == agree(None, other, counted={"fraud"}, later_ms=7)


def test_scores_begin_anew_where_the_positive_class_of_a_counted_model_changes() -> None:
    other = changed(positive_class="ok")
    agreed = agree(STORED, other, counted={"fraud"}, later_ms=7)
    assert 7 == agreed["fraud"].scored_from_ms
    assert agreed == agree(agreed, other, counted={"fraud"}, later_ms=9)
    assert 0 == agree(STORED, other, counted=(), later_ms=7)["fraud"].scored_from_ms
