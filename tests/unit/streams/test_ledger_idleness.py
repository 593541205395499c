"""Which partitions are idle, and what they are raised to."""

from __future__ import annotations

import pytest

from streams.ledger.idleness import Idleness, applied_to, raised_watermark_ms
from streams.ledger.parts import Part, Role, ShardState, Source, SourceState
from streams.ledger.reference import ReferenceLedger
from tests.support.ledger_writer import HOUR_MS, LABELS, MINUTE_MS, NOON_MS, PREDICTIONS, Writer

A, B = Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 0)


def shard(**offsets: int) -> ShardState:
    return ShardState(
        "one", {source: SourceState(offsets[name]) for name, source in (("a", A), ("b", B)) if name in offsets}
    )


def test_a_partition_is_applied_as_far_as_its_slowest_shard() -> None:
    assert 3 == applied_to(A, [shard(a=5, b=0), shard(a=3, b=9)])


def test_a_partition_that_a_shard_does_not_know_is_not_applied_at_all() -> None:
    assert -1 == applied_to(B, [shard(a=5, b=5), shard(a=5)])


def test_a_partition_is_idle_once_it_was_at_its_end_for_long_enough() -> None:
    idleness = Idleness(60.0)
    states = [shard(a=5, b=2)]
    ends = {A: 5, B: 3}
    assert frozenset() == idleness.observe(states, ends, now_seconds=0.0)
    assert frozenset() == idleness.observe(states, ends, now_seconds=59.9)
    assert {A} == idleness.observe(states, ends, now_seconds=60.0)


def test_a_record_makes_the_silence_begin_anew() -> None:
    idleness = Idleness(60.0)
    idleness.observe([shard(a=5)], {A: 5}, now_seconds=0.0)
    idleness.observe([shard(a=6)], {A: 6}, now_seconds=50.0)
    assert frozenset() == idleness.observe([shard(a=6)], {A: 6}, now_seconds=100.0)
    assert {A} == idleness.observe([shard(a=6)], {A: 6}, now_seconds=110.0)


def test_a_shard_that_falls_behind_ends_the_silence() -> None:
    idleness = Idleness(0.0)
    assert {A} == idleness.observe([shard(a=5)], {A: 5}, now_seconds=0.0)
    assert frozenset() == idleness.observe([shard(a=4)], {A: 5}, now_seconds=1.0)


def test_a_partition_whose_log_was_replaced_is_stopped_not_idle() -> None:
    idleness = Idleness(0.0)
    assert frozenset() == idleness.observe([shard(a=5)], {A: 3}, now_seconds=0.0)


def test_idle_partitions_are_raised_to_the_lowest_that_is_not_idle() -> None:
    state = ShardState("one", {A: SourceState(1, 10, 10), B: SourceState(1, 70, 70)})
    assert 70 == raised_watermark_ms(state, {A})
    assert None is raised_watermark_ms(state, {A, B})


@pytest.mark.parametrize(("silent_seconds", "late"), [(59.9, 0), (60.0, 59)])
async def test_labels_after_too_long_a_silence_are_late_where_predictions_went_on_and_each_is_told(
    silent_seconds: float, late: int
) -> None:
    ledger = ReferenceLedger(shards=1, label_hold_ms=5 * MINUTE_MS, keep_windows_ms=24 * HOUR_MS)
    writer = Writer(ledger)
    await writer.start()
    for minute in range(120):
        await writer.predict(f"r{minute}", "a", at_ms=NOON_MS + minute * MINUTE_MS)
    read_to_ms = NOON_MS + 119 * MINUTE_MS
    end = writer.offsets[PREDICTIONS]
    await writer.send(Part(source=PREDICTIONS, expected=end, next=end, raise_to_ms=read_to_ms))

    idleness = Idleness(60.0)
    state = await ledger.state(0)
    assert state is not None
    ends = {PREDICTIONS: end + 1, LABELS: 0}
    idleness.observe([state], ends, now_seconds=0.0)
    idle = idleness.observe([state], ends, now_seconds=silent_seconds)
    if LABELS in idle:
        raised_ms = raised_watermark_ms(state, idle)
        assert read_to_ms == raised_ms
        await writer.send(Part(source=LABELS, expected=0, next=0, raise_to_ms=raised_ms))
    for minute in range(120):
        await writer.label(f"r{minute}", "a", at_ms=NOON_MS + (minute + 1) * MINUTE_MS)

    predictions = {"predictions:matched": 120 - late, "predictions:never_labelled": late}
    labels = {"labels:matched": 120 - late, "labels:unmatched_label": late}
    assert {fate: count for fate, count in (predictions | labels).items() if count} == await writer.fates()
