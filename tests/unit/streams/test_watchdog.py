"""A worker is given up for what it does not do, never for what it is not let do."""

from __future__ import annotations

import dataclasses

from streams.ledger.parts import Role, Source
from streams.watchdog import Progress, Signs, Watchdog, WatchdogLimits

A, B = Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 1)
LIMITS = WatchdogLimits(offset_seconds=20.0, rebalance_seconds=30.0, thread_seconds=10.0)
BUSY = Signs(is_reading=True, rebalances_ended=1, thread_answers=0, partitions={A: Progress(5, 3), B: Progress(7, 0)})


def alive(signs: Signs, second: int) -> Signs:
    """The same, with a thread that answers."""
    return dataclasses.replace(signs, thread_answers=second)


def first_complaint(signs: list[Signs], *, step_seconds: float = 1.0) -> tuple[float, str] | None:
    """When the watchdog complains, and of what."""
    watchdog = Watchdog(LIMITS)
    for number, each in enumerate(signs):
        complaint = watchdog.observe(each, now_seconds=1000 + number * step_seconds)
        if complaint is not None:
            return number * step_seconds, complaint
    return None


def test_a_partition_that_stands_with_records_to_read_is_named() -> None:
    assert (20.0, "predictions/0 has stood at offset 5 for 20 s with 3 offsets to read") == first_complaint(
        [alive(BUSY, second) for second in range(60)]
    )


def test_a_partition_that_moves_now_and_then_is_none_of_the_watchdogs_business() -> None:
    moving = [
        dataclasses.replace(alive(BUSY, second), partitions={A: Progress(second // 19, 3)}) for second in range(200)
    ]
    assert None is first_complaint(moving)


def test_a_partition_at_its_end_may_stand_for_ever() -> None:
    at_end = dataclasses.replace(BUSY, partitions={B: Progress(7, 0)})
    assert None is first_complaint([alive(at_end, second) for second in range(200)])


def test_a_pause_makes_the_wait_begin_anew() -> None:
    paused = dataclasses.replace(BUSY, partitions={})
    assert None is first_complaint([alive(paused if second % 15 == 0 else BUSY, second) for second in range(200)])


def test_a_thread_that_does_not_answer_is_noticed() -> None:
    assert (10.0, "the consumer's thread has not answered for 10 s") == first_complaint([BUSY] * 60)


def test_a_group_that_never_says_what_to_read_is_noticed() -> None:
    waiting = dataclasses.replace(BUSY, is_reading=False, partitions={})
    assert (30.0, "the group has not said for 30 s which partitions to read") == first_complaint(
        [alive(waiting, second) for second in range(60)]
    )


def test_a_storm_of_rebalances_that_end_is_no_reason() -> None:
    waiting = dataclasses.replace(BUSY, is_reading=False, partitions={})
    assert None is first_complaint(
        [dataclasses.replace(alive(waiting, second), rebalances_ended=second // 10) for second in range(200)]
    )


def test_an_outage_is_forgiven() -> None:
    watchdog = Watchdog(LIMITS)
    for second in range(200):
        if second % 9 == 0:
            watchdog.forgive()
        assert None is watchdog.observe(BUSY, now_seconds=float(second))


def test_time_in_which_the_process_stood_still_does_not_count() -> None:
    watchdog = Watchdog(LIMITS)
    assert None is watchdog.observe(alive(BUSY, 0), now_seconds=0.0)
    assert None is watchdog.observe(alive(BUSY, 1), now_seconds=1.0)
    assert None is watchdog.observe(alive(BUSY, 1), now_seconds=3600.0)
