"""What every ledger must do; the same suite runs on the in-memory reference and on every topology of Redis."""

from __future__ import annotations

import copy
import dataclasses
import math
import random
from collections import Counter

import numpy as np
import pytest

from streams.errors import PermanentFailure
from streams.identity import (
    ABSENT,
    ANY_LABEL,
    EVERYTHING,
    FAILED,
    OTHER,
    OTHER_WRONG,
    class_hash,
    model_version_hash,
    registry_group,
    request_key,
    segment_hash,
    signal_hash,
)
from streams.ledger.agreements import Agreement, Change, Proposal
from streams.ledger.founding import Charter
from streams.ledger.parts import (
    Definitions,
    Gap,
    NameList,
    Outcome,
    Part,
    PredictionRow,
    Role,
    Source,
    pack_predictions,
)
from streams.ledger.terms import Terms
from streams.monitored_model import LabelPolicy, MonitoredModel, Task
from streams.pair_sums.contribution import regression_contribution, score_contribution
from streams.pair_sums.delay import delay_name
from streams.ports import Ledger
from streams.signals.buckets import kept_values
from streams.signals.sums import SignalTotals
from streams.stability.latency_sums import LatencyTotals
from streams.stability.latency_words import NOTHING, TIMED_OUT, latency_words
from tests.support.ledger_writer import (
    ALL_ADMITTED,
    HOUR_MS,
    LABELS,
    MINUTE_MS,
    MODEL,
    NOON_MS,
    PREDICTIONS,
    SECOND_MS,
    Writer,
    pair,
)


@pytest.fixture
async def writer(ledger: Ledger) -> Writer:
    writer = Writer(ledger)
    await writer.start()
    return writer


async def test_label_after_its_prediction_moves_the_cell_from_unlabelled_to_its_class(writer: Writer) -> None:
    await writer.predict("r", "a")
    assert await writer.cells() == {pair("", "a"): 1}
    await writer.label("r", "b", at_ms=NOON_MS + MINUTE_MS)
    assert await writer.cells() == {pair("b", "a"): 1}
    assert await writer.fates() == {"predictions:matched": 1, "labels:matched": 1}


async def test_label_that_comes_before_its_prediction_is_matched_when_it_arrives(writer: Writer) -> None:
    await writer.label("r", "b", at_ms=NOON_MS + MINUTE_MS)
    assert await writer.fates() == {"labels:held": 1}
    await writer.predict("r", "a")
    assert await writer.cells() == {pair("b", "a"): 1}
    assert await writer.fates() == {"predictions:matched": 1, "labels:matched": 1}


async def test_later_label_of_another_class_corrects_and_an_earlier_one_changes_nothing(writer: Writer) -> None:
    await writer.predict("r", "a")
    await writer.label("r", "b", at_ms=NOON_MS + 2 * MINUTE_MS)
    await writer.label("r", "c", at_ms=NOON_MS + MINUTE_MS)
    assert await writer.cells() == {pair("b", "a"): 1}
    await writer.label("r", "a", at_ms=NOON_MS + 3 * MINUTE_MS)
    assert await writer.cells() == {pair("a", "a"): 1}
    await writer.label("r", "a", at_ms=NOON_MS + 4 * MINUTE_MS)
    assert await writer.fates() == {
        "predictions:matched": 1,
        "labels:matched": 1,
        "labels:corrected_label": 2,
        "labels:duplicate_label": 1,
    }


async def test_first_label_wins_where_the_policy_says_so(ledger: Ledger) -> None:
    model = dataclasses.replace(MODEL, label_policy=LabelPolicy.FIRST)
    writer = Writer(ledger, (model,))
    await writer.start()
    await writer.predict("r", "a", model=model)
    await writer.label("r", "b", at_ms=NOON_MS + 2 * MINUTE_MS)
    await writer.label("r", "c", at_ms=NOON_MS + 3 * MINUTE_MS)
    assert await writer.cells() == {pair("b", "a"): 1}
    await writer.label("r", "a", at_ms=NOON_MS + MINUTE_MS)
    assert await writer.cells() == {pair("a", "a"): 1}


@pytest.mark.parametrize(("smaller", "greater"), [("a", "ab"), ("z", "é"), ("0", "a")])
async def test_of_two_labels_of_one_time_the_greater_class_text_counts_by_its_bytes(
    writer: Writer, smaller: str, greater: str
) -> None:
    await writer.predict("r", "c")
    await writer.label("r", smaller)
    await writer.label("r", greater)
    assert await writer.cells() == {pair(greater, "c"): 1}
    await writer.label("r", smaller, model="m")
    assert await writer.cells() == {pair(greater, "c"): 1}


@pytest.mark.parametrize(
    ("delay_ms", "fate"),
    [
        (-5 * MINUTE_MS - 1, "labels:out_of_range"),
        (-5 * MINUTE_MS, "labels:matched"),
        (HOUR_MS, "labels:matched"),
        (HOUR_MS + 1, "labels:out_of_range"),
    ],
)
@pytest.mark.parametrize("is_held", [False, True])
async def test_a_label_matches_from_the_skew_before_to_the_horizon_after_both_ends_included(
    writer: Writer, delay_ms: int, fate: str, *, is_held: bool
) -> None:
    if is_held:
        await writer.label("r", "a", at_ms=NOON_MS + delay_ms)
    await writer.predict("r", "a")
    if not is_held:
        await writer.label("r", "a", at_ms=NOON_MS + delay_ms)
    assert (await writer.fates())[fate] == 1


async def test_a_held_label_that_is_overdue_does_not_count_though_a_greater_skew_would_let_it(ledger: Ledger) -> None:
    model = dataclasses.replace(MODEL, allowed_skew_ms=10 * MINUTE_MS)
    writer = Writer(ledger, (model,))
    await writer.start()
    await writer.label("r", "a")
    await writer.raise_all(NOON_MS + 5 * MINUTE_MS + 1)
    await writer.predict("r", "a", model=model, at_ms=NOON_MS + 6 * MINUTE_MS)
    assert await writer.fates() == {"predictions:waiting": 1, "labels:unmatched_label": 1}


@pytest.mark.parametrize(("late_ms", "matched"), [(HOUR_MS, True), (HOUR_MS + 1, False)])
async def test_a_label_that_arrives_after_the_horizon_does_not_count(
    writer: Writer, late_ms: int, *, matched: bool
) -> None:
    await writer.predict("r", "a")
    for request_id in ("r", "early"):
        await writer.label(request_id, "a", at_ms=NOON_MS + MINUTE_MS, arrival_ms=NOON_MS + late_ms)
    await writer.predict("early", "a")
    assert await writer.cells() == {pair("a" if matched else "", "a"): 2}


@pytest.mark.parametrize(("late_ms", "fate"), [(HOUR_MS, "waiting"), (HOUR_MS + 1, "late_prediction")])
async def test_a_prediction_that_arrives_after_its_horizon_enters_no_window(
    writer: Writer, late_ms: int, fate: str
) -> None:
    await writer.predict("r", "a", arrival_ms=NOON_MS + late_ms)
    assert await writer.fates() == {f"predictions:{fate}": 1}
    assert len(await writer.cells()) == (fate == "waiting")


async def test_repeats_are_duplicates_and_the_first_of_two_conflicting_ones_is_kept(writer: Writer) -> None:
    await writer.predict("r", "a")
    await writer.predict("r", "a")
    await writer.predict("r", "b")
    await writer.predict("r", "a", at_ms=NOON_MS + 1)
    assert await writer.cells() == {pair("", "a"): 1}
    assert await writer.fates() == {
        "predictions:waiting": 1,
        "predictions:duplicate_prediction": 1,
        "predictions:conflicting_prediction": 2,
    }


async def test_an_earlier_arrival_of_a_repeat_lets_a_held_label_count(writer: Writer) -> None:
    await writer.label("r", "b", at_ms=NOON_MS)
    await writer.predict("r", "a", arrival_ms=NOON_MS + 6 * MINUTE_MS)
    assert await writer.cells() == {pair("", "a"): 1}
    await writer.predict("r", "a", arrival_ms=NOON_MS + 5 * MINUTE_MS)
    assert await writer.cells() == {pair("b", "a"): 1}


async def test_an_earlier_arrival_of_a_repeated_label_serves_predictions_that_come_later(writer: Writer) -> None:
    await writer.label("r", "b", at_ms=NOON_MS, arrival_ms=NOON_MS + HOUR_MS + 1)
    await writer.label("r", "b", at_ms=NOON_MS, arrival_ms=NOON_MS + HOUR_MS)
    await writer.predict("r", "a")
    assert await writer.cells() == {pair("b", "a"): 1}


async def test_failed_predictions_are_counted_apart_and_a_later_good_one_is_no_repeat(writer: Writer) -> None:
    await writer.predict("r", "", failed=True)
    await writer.predict("r", "", failed=True)
    await writer.predict("r", "a")
    await writer.label("r", "a")
    assert await writer.cells() == {(FAILED, ABSENT): 1, pair("a", "a"): 1}
    assert await writer.fates() == {
        "predictions:failed": 1,
        "predictions:duplicate_prediction": 1,
        "predictions:matched": 1,
        "labels:matched": 1,
    }


async def test_one_label_serves_several_models_unless_it_is_addressed_to_one(ledger: Ledger) -> None:
    other = dataclasses.replace(MODEL, name="other")
    writer = Writer(ledger, (MODEL, other))
    await writer.start()
    await writer.predict("r", "a")
    await writer.predict("r", "b", model=other)
    await writer.label("r", "a", model="m")
    assert await writer.cells(other) == {pair("", "b"): 1}
    await writer.label("r", "b", at_ms=NOON_MS + 1)
    assert await writer.cells() == {pair("b", "a"): 1}
    assert await writer.cells(other) == {pair("b", "b"): 1}
    await writer.label("early", "a", model="m")
    await writer.predict("early", "b", model=other)
    assert await writer.cells(other) == {pair("b", "b"): 1, pair("", "b"): 1}


async def test_another_spelling_of_a_class_counts_as_the_class(ledger: Ledger) -> None:
    model = dataclasses.replace(MODEL, class_aliases={"1": "a"})
    writer = Writer(ledger, (model,))
    await writer.start()
    await writer.label("early", "1")
    await writer.predict("early", "a", model=model)
    await writer.predict("r", "a", model=model)
    await writer.label("r", "1")
    assert await writer.cells() == {pair("a", "a"): 2}


async def test_a_prediction_counts_in_everything_and_in_each_of_its_slices(writer: Writer) -> None:
    german, young = segment_hash({"country": "DE"}), segment_hash({"age": "young"})
    await writer.predict("r", "a", slices=[german, young])
    await writer.label("r", "b")
    for piece in (EVERYTHING, german, young):
        assert await writer.cells(piece=piece) == {pair("b", "a"): 1}


async def test_classes_of_a_regression_are_not_counted(ledger: Ledger) -> None:
    model = dataclasses.replace(MODEL, task=Task.REGRESSION)
    writer = Writer(ledger, (model,), NameList(full=True))
    await writer.start()
    await writer.predict("r", "1", model=model)
    assert await writer.cells() == {(ABSENT, ABSENT): 1}
    await writer.label("r", "2")
    await writer.label("early", "2")
    await writer.predict("early", "1", model=model)
    assert await writer.cells() == {(ANY_LABEL, ABSENT): 2}


def word(*latencies_ms: float) -> bytes:
    """Words of predictions; of those without a latency the time ran out."""
    array = np.array(latencies_ms)
    return latency_words(array, np.isnan(array)).tobytes()


async def test_a_latency_is_counted_at_once_in_everything_and_in_each_slice(writer: Writer) -> None:
    german, young = segment_hash({"country": "DE"}), segment_hash({"age": "young"})
    await writer.predict("r", "a", slices=[german, young], latency=word(12.3))
    await writer.predict("s", "a", slices=[german], latency=word(0.5))
    assert LatencyTotals.of_words(word(12.3, 0.5)).sums() == await writer.latencies()
    assert LatencyTotals.of_words(word(12.3, 0.5)).sums() == await writer.latencies(piece=german)
    assert LatencyTotals.of_words(word(12.3)).sums() == await writer.latencies(piece=young)


async def test_labels_and_corrections_leave_latencies_alone(writer: Writer) -> None:
    await writer.label("early", "b")
    for request_id in ("early", "later"):
        await writer.predict(request_id, "a", value=0.9, latency=word(12.3))
    await writer.label("later", "a")
    await writer.label("later", "b", at_ms=NOON_MS + 1)
    assert LatencyTotals.of_words(word(12.3, 12.3)).sums() == await writer.latencies()


async def test_repeated_conflicting_and_late_predictions_add_no_latency(writer: Writer) -> None:
    await writer.predict("r", "a", latency=word(12.3))
    await writer.predict("r", "a", latency=word(99.0))
    await writer.predict("r", "b", latency=word(99.0))
    await writer.predict("s", "a", arrival_ms=NOON_MS + HOUR_MS + 1, latency=word(99.0))
    assert await writer.fates() == {
        "predictions:waiting": 1,
        "predictions:duplicate_prediction": 1,
        "predictions:conflicting_prediction": 1,
        "predictions:late_prediction": 1,
    }
    assert LatencyTotals.of_words(word(12.3)).sums() == await writer.latencies()


async def test_a_time_out_is_counted_once_apart_from_other_failures(writer: Writer) -> None:
    await writer.predict("r", "", failed=True, latency=TIMED_OUT)
    await writer.predict("r", "", failed=True, latency=TIMED_OUT)
    await writer.predict("s", "", failed=True, latency=NOTHING)
    await writer.predict("t", "", failed=True)
    assert {"wo": 1} == await writer.latencies()
    assert await writer.cells() == {(FAILED, ABSENT): 3}


def totals(*values: float) -> SignalTotals:
    return SignalTotals.of_values(kept_values(np.array(values)))


async def test_signals_are_counted_at_once_in_everything_and_in_each_slice(writer: Writer) -> None:
    german, young = segment_hash({"country": "DE"}), segment_hash({"age": "young"})
    norm, margin = signal_hash("norm"), signal_hash("margin")
    await writer.predict("r", "a", slices=[german, young], signals={"norm": 3.0, "margin": -0.25})
    await writer.predict("s", "a", slices=[german], signals={"margin": 0.0}, latency=word(12.3))
    await writer.predict("t", "a", slices=[german], signals={"norm": math.nan, "margin": 1e-30})
    await writer.predict("u", "a", slices=[young])
    for piece in (EVERYTHING, german):
        assert {norm: totals(3.0), margin: totals(-0.25, 0.0, 1e-30)} == await writer.signals(piece=piece)
    assert {norm: totals(3.0), margin: totals(-0.25)} == await writer.signals(piece=young)
    assert LatencyTotals.of_words(word(12.3)).sums() == await writer.latencies()


async def test_values_that_cancel_out_leave_no_sum_behind(writer: Writer) -> None:
    for request_id, value in (("r", 2.5), ("s", -2.5)):
        await writer.predict(request_id, "a", signals={"margin": value})
    assert {signal_hash("margin"): totals(2.5, -2.5)} == await writer.signals()
    assert not any(name.endswith(":s") for name in await writer.sums())


async def test_repeated_conflicting_and_late_predictions_labels_and_corrections_add_no_signal(writer: Writer) -> None:
    await writer.predict("r", "a", signals={"norm": 3.0})
    await writer.predict("r", "a", signals={"norm": 4.0})
    await writer.predict("r", "b", signals={"norm": 5.0})
    await writer.predict("s", "a", arrival_ms=NOON_MS + HOUR_MS + 1, signals={"norm": 6.0})
    await writer.label("r", "a")
    await writer.label("r", "b", at_ms=NOON_MS + 1)
    assert {signal_hash("norm"): totals(3.0)} == await writer.signals()


BINARY = dataclasses.replace(MODEL, task=Task.BINARY, positive_class="a")
NUMBERS = dataclasses.replace(MODEL, task=Task.REGRESSION)
LASTING = dataclasses.replace(MODEL, label_horizon_ms=24 * HOUR_MS)


async def test_a_score_adds_to_the_sums_of_its_window_and_slices_when_its_label_comes(ledger: Ledger) -> None:
    writer = Writer(ledger, (BINARY,))
    await writer.start()
    german = segment_hash({"country": "DE"})
    await writer.predict("r", "b", model=BINARY, value=0.25, slices=[german])
    assert await writer.sums(BINARY) == {}
    await writer.label("r", "a")
    expected = score_contribution(0.25, happened=True)
    assert expected == await writer.sums(BINARY)
    assert expected == await writer.sums(BINARY, piece=german)


async def test_without_a_positive_class_a_score_is_about_being_right(writer: Writer) -> None:
    await writer.predict("right", "a", value=0.75)
    await writer.predict("wrong", "a", value=0.75)
    await writer.label("right", "a")
    await writer.label("wrong", "b")
    expected = Counter(score_contribution(0.75, happened=True))
    expected.update(score_contribution(0.75, happened=False))
    assert expected == await writer.sums()


async def test_a_correction_takes_back_what_the_first_label_added(ledger: Ledger) -> None:
    writer = Writer(ledger, (BINARY,))
    await writer.start()
    await writer.predict("r", "a", model=BINARY, value=0.9)
    await writer.label("r", "a")
    await writer.label("r", "b", at_ms=NOON_MS + 1)
    assert score_contribution(0.9, happened=False) == await writer.sums(BINARY)
    await writer.label("r", "c", at_ms=NOON_MS + 2)
    assert score_contribution(0.9, happened=False) == await writer.sums(BINARY)


async def test_a_score_that_is_no_probability_is_counted_as_such(writer: Writer) -> None:
    await writer.predict("r", "a", value=math.nan)
    await writer.label("r", "a")
    assert await writer.sums() == {"x": 1}


@pytest.mark.parametrize("labels_first", [False, True])
async def test_numbers_add_up_exactly_through_corrections_and_early_labels(
    ledger: Ledger, *, labels_first: bool
) -> None:
    writer = Writer(ledger, (NUMBERS,))
    await writer.start()
    rng = random.Random(7)
    final: Counter[str] = Counter()
    for number in range(60):
        predicted, label, corrected = (rng.uniform(-50, 50) * 10 ** rng.randrange(-3, 6) for _ in range(3))
        second_ms = NOON_MS + 1 if number % 2 else NOON_MS - 1
        if not labels_first:
            await writer.predict(f"r{number}", "p", model=NUMBERS, value=predicted)
        await writer.label(f"r{number}", "first", value=label)
        await writer.label(f"r{number}", "second", value=corrected, at_ms=second_ms)
        if labels_first:
            await writer.predict(f"r{number}", "p", model=NUMBERS, value=predicted)
        winner = corrected if number % 2 else label
        final.update(regression_contribution(predicted=predicted, label=winner))
    assert {name: total for name, total in final.items() if total} == await writer.sums(NUMBERS)


async def test_a_number_is_matched_by_a_label_that_is_none_without_adding_to_the_sums(ledger: Ledger) -> None:
    writer = Writer(ledger, (NUMBERS,))
    await writer.start()
    await writer.predict("r", "p", model=NUMBERS, value=3.0)
    await writer.label("r", "a")
    assert await writer.cells(NUMBERS) == {(ANY_LABEL, ABSENT): 1}
    assert await writer.sums(NUMBERS) == {}


@pytest.mark.parametrize("delay_ms", [-MINUTE_MS, 0, 1, 15, 16, 17, 999, 1000, 12_345_678, HOUR_MS])
@pytest.mark.parametrize("is_held", [False, True])
async def test_a_match_counts_how_long_the_label_took(ledger: Ledger, *, delay_ms: int, is_held: bool) -> None:
    writer = Writer(ledger, (LASTING,))
    await writer.start()
    german = segment_hash({"country": "DE"})
    if is_held:
        await writer.label("r", "a", at_ms=NOON_MS + delay_ms)
    await writer.predict("r", "a", model=LASTING, slices=[german])
    if not is_held:
        assert await writer.delays(LASTING) == {}
        await writer.label("r", "a", at_ms=NOON_MS + delay_ms)
    expected = {delay_name(delay_ms): 1}
    assert expected == await writer.delays(LASTING)
    assert expected == await writer.delays(LASTING, piece=german)


async def test_a_label_that_wins_later_takes_the_first_delay_back(writer: Writer) -> None:
    await writer.predict("r", "a")
    await writer.label("r", "a", at_ms=NOON_MS + 1000)
    await writer.label("r", "a", at_ms=NOON_MS + 5000)
    assert {delay_name(5000): 1} == await writer.delays()
    await writer.label("r", "b", at_ms=NOON_MS + 9000)
    assert {delay_name(9000): 1} == await writer.delays()
    await writer.label("r", "c", at_ms=NOON_MS + 8000)
    assert {delay_name(9000): 1} == await writer.delays()


async def test_a_failed_prediction_and_one_without_label_have_no_delay(writer: Writer) -> None:
    await writer.predict("failed", "", failed=True)
    await writer.predict("waiting", "a")
    await writer.label("failed", "a")
    assert await writer.delays() == {}


async def test_beyond_the_limit_of_classes_agreement_is_still_known(ledger: Ledger) -> None:
    writer = Writer(ledger, admitted=NameList((class_hash("a"),), full=True))
    await writer.start()
    await writer.predict("right", "b")
    await writer.predict("wrong", "b")
    await writer.predict("own", "a")
    assert await writer.cells() == {(ABSENT, OTHER): 2, pair("", "a"): 1}
    await writer.label("right", "b")
    await writer.label("wrong", "c")
    await writer.label("own", "c")
    assert await writer.cells() == {(OTHER, OTHER): 1, (OTHER, OTHER_WRONG): 2}


async def test_what_is_overdue_is_forgotten_and_its_fate_is_settled(writer: Writer) -> None:
    await writer.predict("waits", "a")
    await writer.label("early", "a")
    await writer.raise_all(NOON_MS + HOUR_MS)
    assert (await writer.fates())["predictions:waiting"] == 1
    await writer.raise_all(NOON_MS + HOUR_MS + 1)
    while await writer.ledger.forget(0, limit=1):
        pass
    assert await writer.fates() == {"predictions:never_labelled": 1, "labels:unmatched_label": 1}
    assert await writer.cells() == {pair("", "a"): 1}


async def test_a_commit_forgets_too_but_no_more_than_it_is_allowed(writer: Writer) -> None:
    for number in range(5):
        await writer.predict(f"r{number}", "a")
    await writer.raise_all(NOON_MS + 2 * HOUR_MS)
    empty = Part(source=LABELS, expected=0, next=0)
    await writer.send(empty, forget_limit=2)
    assert await writer.fates() == {"predictions:waiting": 3, "predictions:never_labelled": 2}
    await writer.send(empty, forget_limit=100)
    assert await writer.fates() == {"predictions:never_labelled": 5}


async def test_an_id_that_is_not_overdue_yet_is_looked_at_again_later(writer: Writer) -> None:
    await writer.predict("r", "a", at_ms=NOON_MS + 30 * SECOND_MS)
    await writer.raise_all(NOON_MS + HOUR_MS + 10 * SECOND_MS)
    assert await writer.ledger.forget(0, limit=10) == 1
    assert await writer.fates() == {"predictions:waiting": 1}
    await writer.raise_all(NOON_MS + HOUR_MS + 2 * MINUTE_MS)
    assert await writer.ledger.forget(0, limit=10) == 1
    assert await writer.fates() == {"predictions:never_labelled": 1}


async def test_a_record_behind_a_raised_watermark_arrives_at_it(writer: Writer) -> None:
    await writer.raise_all(NOON_MS + HOUR_MS + 1)
    await writer.predict("late", "a")
    await writer.predict("just", "a", at_ms=NOON_MS + 1)
    await writer.label("just", "a", at_ms=NOON_MS + 1)
    await writer.label("just", "a", at_ms=NOON_MS + HOUR_MS)
    assert await writer.fates() == {
        "predictions:late_prediction": 1,
        "predictions:matched": 1,
        "labels:out_of_range": 1,
        "labels:matched": 1,
    }


async def test_of_nine_labels_the_earliest_leaves(writer: Writer) -> None:
    for number in range(9):
        await writer.label("r", str(number), at_ms=NOON_MS + (number or 20) * SECOND_MS)
    assert await writer.fates() == {"labels:held": 8, "labels:unmatched_label": 1}
    await writer.predict("r", "a")
    assert await writer.cells() == {pair("0", "a"): 1}


async def test_a_part_with_another_offset_is_refused_and_nothing_changes(writer: Writer) -> None:
    await writer.predict("r", "a")
    row = PredictionRow(request_key("s"), Terms.of(MODEL, "1").hash, NOON_MS, NOON_MS, class_hash("a"))
    rows = pack_predictions([row], words=0)
    for expected in (0, 7):
        reply = await writer.send(Part(source=PREDICTIONS, expected=expected, next=expected + 1, rows=rows))
        assert (reply.parts[0].outcome, reply.parts[0].stored) == (Outcome.REFUSED, 1)
    assert await writer.cells() == {pair("", "a"): 1}


async def test_two_parts_of_one_call_follow_each_other_and_a_refused_one_does_not_stop_the_other(
    writer: Writer,
) -> None:
    first = Part(source=PREDICTIONS, expected=0, next=3, rejected=1)
    refused = Part(source=LABELS, expected=5, next=6)
    second = Part(source=PREDICTIONS, expected=3, next=4)
    reply = await writer.ledger.commit(0, [first, refused, second], Definitions(), forget_limit=0)
    assert [part.outcome for part in reply.parts] == [Outcome.APPLIED, Outcome.REFUSED, Outcome.APPLIED]
    assert [part.stored for part in reply.parts] == [4, 0, 4]
    assert await writer.fates() == {"predictions:rejected": 1}


async def test_a_partition_that_was_added_starts_at_the_watermark_of_its_shard(writer: Writer) -> None:
    await writer.raise_all(NOON_MS)
    added = Source(Role.LABELS, 1)
    part = Part(source=added, expected=17, next=18)
    assert (await writer.send(part)).parts[0].outcome is Outcome.UNKNOWN_SOURCE
    reply = await writer.send(dataclasses.replace(part, register=True))
    assert (reply.parts[0].outcome, reply.watermark_ms) == (Outcome.APPLIED, NOON_MS)
    state = await writer.ledger.state(0)
    assert state is not None
    assert (state.sources[added].next, state.sources[added].watermark_ms) == (18, NOON_MS)


async def test_rows_without_definitions_are_held_back_whole(writer: Writer) -> None:
    terms = Terms.of(MODEL, "1")
    row = PredictionRow(request_key("r"), terms.hash, NOON_MS, NOON_MS, class_hash("a"))
    part = Part(source=PREDICTIONS, expected=0, next=1, rows=pack_predictions([row], words=0))
    other = Part(source=LABELS, expected=0, next=1, rejected=1)
    reply = await writer.ledger.commit(0, [other, part], Definitions(), forget_limit=0)
    assert [each.outcome for each in reply.parts] == [Outcome.HELD_BACK, Outcome.HELD_BACK]
    assert reply.unknown_terms == (terms.hash,)
    reply = await writer.ledger.commit(0, [other, part], Definitions(terms={terms.hash: terms.pack()}), forget_limit=0)
    assert reply.undecided == ((registry_group("classes", "m"), class_hash("a")),)
    assert await writer.fates() == {}
    assert (await writer.send(part)).parts[0].outcome is Outcome.APPLIED


async def test_admission_is_first_come_up_to_the_limit_and_what_a_shard_uses_stays_admitted(ledger: Ledger) -> None:
    group = registry_group("classes", "m")
    one, two, three = (class_hash(text) for text in "abc")
    assert await ledger.admit(group, [one], limit=2, known=NameList()) == NameList((one,))
    assert await ledger.admit(group, [two, three], limit=2, known=NameList()) == NameList((one, two), full=True)
    assert await ledger.admit(group, [three], limit=2, known=NameList()) == NameList((one, two), full=True)
    used = NameList((three,))
    assert await ledger.admit(group, [], limit=2, known=used) == NameList((one, two, three), full=True)


async def test_decisions_can_be_read_back_from_the_registry_and_from_each_shard_that_was_told(writer: Writer) -> None:
    classes, values = registry_group("classes", "m"), registry_group("segment_values", "m", "country")
    one, two = class_hash("a"), class_hash("b")
    await writer.ledger.admit(classes, [one, two], limit=2, known=NameList())
    await writer.ledger.admit(values, [one], limit=2, known=NameList())
    assert await writer.ledger.registry() == {classes: NameList((one, two), full=True), values: NameList((one,))}
    await writer.predict("r", "a")
    told = Definitions(name_lists={values: NameList((one,))})
    await writer.ledger.commit(0, [], told, forget_limit=0)
    told = Definitions(name_lists={values: NameList((two, one), full=True)})
    await writer.ledger.commit(0, [], told, forget_limit=0)
    assert await writer.ledger.name_lists(0) == {classes: ALL_ADMITTED, values: NameList((one, two), full=True)}
    await writer.ledger.drop_charter()
    assert await writer.ledger.registry() == {}


async def test_windows_leave_when_they_are_no_longer_kept(writer: Writer) -> None:
    await writer.predict("r", "a")
    final_ms = NOON_MS + MODEL.base_window_ms + MODEL.label_horizon_ms
    await writer.raise_all(final_ms + 24 * HOUR_MS)
    await writer.ledger.forget(0, limit=10)
    assert len(await writer.ledger.windows(0)) == 1
    await writer.raise_all(final_ms + 24 * HOUR_MS + 1)
    assert 1 == len(await writer.ledger.windows(0))
    reported = {model_version_hash("m", "1"): final_ms + 24 * HOUR_MS}
    await writer.ledger.note_reported(0, reported)
    await writer.raise_all(final_ms + 24 * HOUR_MS + 2)
    assert 1 == len(await writer.ledger.windows(0))
    await writer.ledger.note_reported(0, {name: at_ms + 1 for name, at_ms in reported.items()})
    await writer.raise_all(final_ms + 24 * HOUR_MS + 3)
    await writer.ledger.forget(0, limit=10)
    assert await writer.ledger.windows(0) == []
    assert await writer.ledger.changed_windows(0) == []
    assert await writer.cells() == {}


async def test_a_change_mark_is_cleared_only_if_the_window_has_not_changed_since(writer: Writer) -> None:
    await writer.predict("r", "a")
    seen = await writer.ledger.changed_windows(0)
    assert [(each.model_version, each.start_ms) for each in seen] == [(model_version_hash("m", "1"), NOON_MS)]
    await writer.label("r", "a")
    await writer.ledger.clear_changed(0, seen)
    changed = await writer.ledger.changed_windows(0)
    assert len(changed) == 1
    await writer.ledger.clear_changed(0, changed)
    assert await writer.ledger.changed_windows(0) == []


async def test_a_gap_is_counted_and_remembered_with_the_time_it_may_touch(writer: Writer) -> None:
    await writer.raise_all(NOON_MS)
    gap = Part(source=PREDICTIONS, expected=0, next=40, gap_to_ms=NOON_MS + HOUR_MS)
    assert (await writer.send(gap)).parts[0].outcome is Outcome.APPLIED
    back = Part(source=PREDICTIONS, expected=40, next=3, gap_to_ms=NOON_MS + 2 * HOUR_MS)
    assert (await writer.send(back)).parts[0].stored == 3
    assert await writer.fates() == {"predictions:lost": 40}
    assert await writer.ledger.gaps(0) == [
        Gap(source=PREDICTIONS, lost=40, from_ms=NOON_MS, to_ms=NOON_MS + HOUR_MS),
        Gap(source=PREDICTIONS, lost=0, from_ms=NOON_MS, to_ms=NOON_MS + 2 * HOUR_MS),
    ]


async def test_a_charter_is_written_once_and_then_completed(ledger: Ledger) -> None:
    assert await ledger.charter() is None
    mine = Charter(ledger_id="mine", shards=2, starts={LABELS: 5}, is_creating=True)
    assert await ledger.found(mine) == mine
    assert await ledger.found(dataclasses.replace(mine, ledger_id="other")) == mine
    await ledger.finish_founding()
    assert await ledger.charter() == dataclasses.replace(mine, is_creating=False)
    await ledger.drop_charter()
    assert await ledger.charter() is None


async def test_a_charter_is_amended_without_losing_what_else_it_says(ledger: Ledger) -> None:
    mine = await ledger.found(Charter(ledger_id="mine", shards=2, starts={LABELS: 5}, format=0))
    await ledger.finish_founding()
    agreements = {"fraud": Agreement.of(MonitoredModel(name="fraud", segments=("country",), cross=(("a", "b"),)))}
    before = await charter_of(ledger)
    change = Change(segments=("country",), cross=(), label_horizon_ms=5, step_ms=7)
    proposal = Proposal(edition=9, changes={"fraud": change})
    assert await ledger.amend_charter(
        before, dataclasses.replace(before, format=1, agreements=agreements, proposal=proposal)
    )
    amended = await charter_of(ledger)
    expected = dataclasses.replace(mine, is_creating=False, format=1, agreements=agreements, proposal=proposal)
    assert expected == dataclasses.replace(amended, revision=mine.revision)
    assert await ledger.amend_charter(amended, dataclasses.replace(amended, edition=10, proposal=None))
    concluded = await charter_of(ledger)
    assert (10, None, agreements) == (concluded.edition, concluded.proposal, concluded.agreements)


async def test_a_charter_that_somebody_else_has_amended_is_left_alone(ledger: Ledger) -> None:
    await ledger.found(Charter(ledger_id="mine", shards=2, starts={}))
    read = await charter_of(ledger)
    assert await ledger.amend_charter(read, dataclasses.replace(read, edition=1))
    assert not await ledger.amend_charter(read, dataclasses.replace(read, edition=2))
    assert 1 == (await charter_of(ledger)).edition
    await ledger.drop_charter()
    await ledger.found(Charter(ledger_id="other", shards=2, starts={}))
    assert not await ledger.amend_charter(read, dataclasses.replace(read, edition=3))


async def test_predictions_are_taken_only_by_the_edition_that_a_shard_has(writer: Writer) -> None:
    ledger = writer.ledger
    assert 7 == await ledger.hold_edition(0, 7)
    assert 7 == await ledger.hold_edition(0, 5)
    state = await ledger.state(0)
    assert state is not None
    assert 7 == state.edition
    row = PredictionRow(request_key("r"), Terms.of(MODEL, "1").hash, NOON_MS, NOON_MS, class_hash("a"))
    part = Part(source=PREDICTIONS, expected=0, next=1, high_ms=NOON_MS, rows=pack_predictions([row], words=0))
    for edition in (0, 6, 8):
        refused = await writer.send(dataclasses.replace(part, edition=edition))
        assert (Outcome.OUTDATED, 0) == (refused.parts[0].outcome, refused.parts[0].stored)
    assert {} == await writer.fates()
    assert Outcome.APPLIED is (await writer.send(dataclasses.replace(part, edition=7))).parts[0].outcome
    # What has no predictions in it does not ask.
    await writer.label("r", "a")
    bare = Part(source=PREDICTIONS, expected=1, next=3)
    assert Outcome.APPLIED is (await writer.send(bare)).parts[0].outcome
    await writer.ledger.create(0, ledger_id="another", sources={})
    state = await ledger.state(0)
    assert state is not None
    assert 7 == state.edition


async def charter_of(ledger: Ledger) -> Charter:
    charter = await ledger.charter()
    assert charter is not None
    return charter


async def test_nothing_of_a_dropped_shard_is_left_and_it_accepts_no_commit(writer: Writer) -> None:
    await writer.predict("r", "a")
    await writer.label("held", "a")
    await writer.ledger.drop(0, shards=writer.ledger.shards)
    assert await writer.ledger.state(0) is None
    assert await writer.ledger.windows(0) == []
    assert await writer.ledger.changed_windows(0) == []
    assert await writer.fates() == {}
    with pytest.raises(PermanentFailure, match="no longer belongs"):
        await writer.send(Part(source=LABELS, expected=1, next=2))
    await writer.ledger.create(0, ledger_id="another", sources={LABELS: 0})
    with pytest.raises(PermanentFailure, match="no longer belongs"):
        await writer.send(Part(source=LABELS, expected=0, next=1))


async def test_a_worker_that_founds_too_late_writes_to_the_ledger_that_is_there(ledger: Ledger) -> None:
    second = copy.copy(ledger)
    await ledger.create(0, ledger_id="first", sources={LABELS: 5})
    await second.create(0, ledger_id="second", sources={LABELS: 9})
    reply = await second.commit(0, [Part(source=LABELS, expected=5, next=6)], Definitions(), forget_limit=0)
    assert reply.parts[0].outcome is Outcome.APPLIED


async def test_a_shard_belongs_to_the_ledger_that_created_it_first(ledger: Ledger) -> None:
    assert await ledger.state(1) is None
    await ledger.create(1, ledger_id="mine", sources={LABELS: 5})
    await ledger.create(1, ledger_id="other", sources={LABELS: 9})
    state = await ledger.state(1)
    assert state is not None
    assert (state.ledger_id, state.sources[LABELS].next) == ("mine", 5)
