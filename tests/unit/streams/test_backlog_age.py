"""The age of the oldest record that is not counted."""

from __future__ import annotations

import random

from streams.backlog_age import KEPT_LOOKS, BacklogAges


def test_what_is_counted_has_no_age() -> None:
    ages: BacklogAges[str] = BacklogAges()
    assert 0.0 == ages.age_seconds("a", now_seconds=5.0)
    ages.observe({"a": 10}, {"a": 10}, now_seconds=1.0)
    assert 0.0 == ages.age_seconds("a", now_seconds=5.0)


def test_log_that_is_no_longer_owned_is_forgotten() -> None:
    ages: BacklogAges[str] = BacklogAges()
    ages.observe({"a": 10, "b": 10}, {"a": 0, "b": 0}, now_seconds=1.0)
    ages.observe({"a": 10, "b": 10}, {"b": 0}, now_seconds=2.0)
    assert (0.0, 2.0) == tuple(ages.age_seconds(log, now_seconds=3.0) for log in ("a", "b"))


def test_age_is_never_more_than_the_truth_and_less_by_a_look_at_most() -> None:
    draw = random.Random(7)
    ages: BacklogAges[str] = BacklogAges()
    came: list[float] = []
    counted = 0
    for look in range(400):
        now = float(look)
        came += [now - draw.random() for _ in range(draw.randint(0, 5))]
        counted = min(len(came), counted + draw.randint(0, 4))
        ages.observe({"a": len(came)}, {"a": counted}, now_seconds=now)
        age = ages.age_seconds("a", now_seconds=now)
        truth = now - came[counted] if counted < len(came) else 0.0
        assert truth - 1.0 <= age <= truth


def test_hours_of_looks_take_little_memory_and_keep_the_first() -> None:
    ages: BacklogAges[str] = BacklogAges()
    for look in range(20_000):
        ages.observe({"a": look + 1}, {"a": 0}, now_seconds=float(look))
    assert len(ages._seen["a"]) <= KEPT_LOOKS
    assert 20_000.0 == ages.age_seconds("a", now_seconds=20_000.0)
