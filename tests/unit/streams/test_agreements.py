"""Which changes of a model the ledger bears, row by row."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from streams.ledger.agreements import (
    Agreement,
    Agreements,
    Breach,
    Change,
    agree,
    breaches,
    changes_wanted,
    concluded,
    joined,
)
from streams.ledger.eras import Era
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel, Task

FRAUD = MonitoredModel(name="fraud", task=Task.BINARY, positive_class="fraud", segments=("country", "device"))
STORED = {"fraud": Agreement.of(FRAUD)}


def changed(**fields: Any) -> dict[str, MonitoredModel]:
    return {"fraud": dataclasses.replace(FRAUD, **fields)}


@pytest.mark.parametrize(
    ("fields", "setting", "stored", "wanted"),
    [
        ({"base_window_ms": MINUTE_MS}, "base_window_ms", 5 * MINUTE_MS, MINUTE_MS),
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
        {"segments": ("device",)},
        {"cross": (("device", "country"),)},
        {"label_horizon_ms": HOUR_MS},
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


BOTH = Era(("country", "device"))
COUNTRY = Change(segments=("country",), cross=(), label_horizon_ms=DAY_MS, step_ms=HOUR_MS)
NOON_MS = 1_795_435_200_000


def test_segments_change_only_by_a_conclusion() -> None:
    other = changed(segments=("country",), positive_class="ok")
    for counted in ((), {"fraud"}):
        assert (BOTH,) == agree(STORED, other, counted=counted, later_ms=7)["fraud"].eras
    assert {"fraud": COUNTRY} == changes_wanted(STORED, other)
    assert {} == changes_wanted(STORED, changed(segments=("device", "country")))
    assert {} == changes_wanted(None, other)


def test_horizon_changes_as_segments_do_and_of_one_that_was_lost_the_longer_holds() -> None:
    wanted = changes_wanted(STORED, changed(label_horizon_ms=HOUR_MS))
    shorter = Era(BOTH.segments, label_horizon_ms=HOUR_MS, from_ms=NOON_MS + HOUR_MS)
    assert {"fraud": Change.to(shorter, step_ms=HOUR_MS)} == wanted
    known = concluded(STORED, wanted, counted={"fraud"}, high_ms=NOON_MS)
    assert (BOTH, shorter) == known["fraud"].eras
    agreed, changes = joined(STORED, known)
    assert STORED == agreed
    assert {"fraud": Change.to(shorter, step_ms=5 * MINUTE_MS)} == changes
    agreed, _ = joined({"fraud": known["fraud"]}, STORED)
    assert STORED == agreed


def test_longest_horizon_is_that_of_all_models_and_of_what_still_waits() -> None:
    plain = MonitoredModel(name="plain", label_horizon_ms=2 * HOUR_MS)
    wanted = changes_wanted(STORED, changed(label_horizon_ms=HOUR_MS))
    known = {**concluded(STORED, wanted, counted={"fraud"}, high_ms=NOON_MS), "plain": Agreement.of(plain)}
    settled_ms = NOON_MS + HOUR_MS + DAY_MS
    assert [DAY_MS, 2 * HOUR_MS] == [
        Agreements(1, known).longest_horizon_ms(watermark_ms=watermark_ms)
        for watermark_ms in (settled_ms - 1, settled_ms)
    ]
    assert 0 == Agreements().longest_horizon_ms()


def test_segments_change_where_windows_of_all_sizes_begin() -> None:
    sizes = changed(segments=(), base_window_ms=5 * MINUTE_MS, report_windows_ms=(10 * MINUTE_MS, 15 * MINUTE_MS))
    assert 30 * MINUTE_MS == changes_wanted(STORED, sizes)["fraud"].step_ms


def test_model_that_nobody_lists_any_more_or_never_did_has_no_segments() -> None:
    assert {"fraud": Change(segments=(), cross=(), label_horizon_ms=DAY_MS, step_ms=HOUR_MS)} == changes_wanted(
        STORED, {}
    )
    assert {"fraud": dataclasses.replace(COUNTRY, segments=BOTH.segments)} == changes_wanted({}, changed())


@pytest.mark.parametrize("high_ms", [NOON_MS, NOON_MS + 1, NOON_MS + HOUR_MS - 1])
def test_change_holds_from_the_first_common_beginning_after_all_that_was_counted(high_ms: int) -> None:
    (agreement,) = concluded(STORED, {"fraud": COUNTRY}, counted={"fraud"}, high_ms=high_ms).values()
    assert (BOTH, Era(("country",), from_ms=NOON_MS + HOUR_MS)) == agreement.eras


def test_model_without_counts_is_counted_by_the_change_from_the_beginning() -> None:
    (agreement,) = concluded(STORED, {"fraud": COUNTRY}, counted=(), high_ms=NOON_MS).values()
    assert (Era(("country",)),) == agreement.eras


def test_change_that_is_taken_back_before_it_began_leaves_nothing() -> None:
    once = concluded(STORED, {"fraud": COUNTRY}, counted={"fraud"}, high_ms=NOON_MS)
    back = dataclasses.replace(COUNTRY, segments=BOTH.segments)
    assert STORED == concluded(once, {"fraud": back}, counted={"fraud"}, high_ms=NOON_MS + 1)


def test_change_that_is_taken_back_later_has_had_its_time() -> None:
    once = concluded(STORED, {"fraud": COUNTRY}, counted={"fraud"}, high_ms=NOON_MS)
    back = dataclasses.replace(COUNTRY, segments=BOTH.segments)
    (agreement,) = concluded(once, {"fraud": back}, counted={"fraud"}, high_ms=NOON_MS + HOUR_MS).values()
    starts = [(each.segments, each.from_ms) for each in agreement.eras]
    assert [
        (BOTH.segments, 0),
        (("country",), NOON_MS + HOUR_MS),
        (BOTH.segments, NOON_MS + 2 * HOUR_MS),
    ] == starts


def test_of_a_change_that_a_charter_has_lost_only_what_is_certain_is_told() -> None:
    known = concluded(STORED, {"fraud": COUNTRY}, counted={"fraud"}, high_ms=NOON_MS)
    agreed, changes = joined(STORED, known)
    assert (BOTH, Era(("country",), from_ms=NOON_MS + HOUR_MS)) == agreed["fraud"].eras
    assert {"fraud": dataclasses.replace(COUNTRY, step_ms=5 * MINUTE_MS)} == changes
    more = dataclasses.replace(COUNTRY, segments=("country", "device", "plan"))
    known = concluded(STORED, {"fraud": more}, counted={"fraud"}, high_ms=NOON_MS)
    assert (BOTH,) == joined(STORED, known)[0]["fraud"].eras
    assert (STORED, {}) == joined(STORED, STORED)


def test_what_is_agreed_goes_before_what_a_worker_is_configured_with() -> None:
    configured = dataclasses.replace(FRAUD, segments=("plan",))
    assert (BOTH,) == Agreements(7, STORED).eras(configured)
    assert (Era(),) == Agreements(7, {}).eras(configured)
    assert (Era(("plan",)),) == Agreements().eras(configured)
