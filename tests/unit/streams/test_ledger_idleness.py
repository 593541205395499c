"""Which partitions are idle, and what they are raised to."""

from __future__ import annotations

from streams.ledger.idleness import Idleness, applied_to, raised_watermark_ms
from streams.ledger.parts import Role, ShardState, Source, SourceState

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
