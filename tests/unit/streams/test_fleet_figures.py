"""What a difference means, and whose memory speaks for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import pytest

from schemas.resource_report import Memory
from schemas.window_report import Metric
from streams.fleet_figures import Change, change_of, worst_memory


@pytest.mark.parametrize(
    ("name", "now", "before", "change"),
    [
        ("accuracy", (0.57, 0.67), (0.94, 0.94), Change.WORSE),
        ("accuracy", (0.95, 0.97), (0.94, 0.94), Change.BETTER),
        ("accuracy", (0.93, 0.97), (0.94, 0.94), Change.WITHIN),
        ("accuracy", (0.90, 0.94), (0.94, 0.95), Change.WITHIN),
        ("mae", (3.0, 4.0), (1.0, 2.0), Change.WORSE),
        ("mae", (0.1, 0.2), (1.0, 2.0), Change.BETTER),
        ("bias", (-4.0, -3.0), (1.0, 2.0), Change.WORSE),
        ("bias", (-0.5, 0.5), (1.0, 2.0), Change.BETTER),
        ("bias", (-1.5, 0.5), (1.0, 2.0), Change.WITHIN),
        ("poetry", (3.0, 4.0), (1.0, 2.0), Change.WITHIN),
    ],
)
def test_change_is_called_better_or_worse_only_where_intervals_do_not_meet(
    name: str, now: tuple[float, float], before: tuple[float, float], change: Change
) -> None:
    figure = Metric(sum(now) / 2, *now, 100)
    assert change is change_of(name, figure, low=before[0], high=before[1])


def test_figure_without_an_interval_is_compared_as_it_is() -> None:
    assert Change.WORSE is change_of("accuracy", Metric(0.93, None, None, 100), low=0.94, high=0.94)


def test_figure_that_is_undefined_has_not_changed() -> None:
    assert Change.WITHIN is change_of("accuracy", Metric(None, None, None, 0), low=0.94, high=0.94)


State = Literal["warming_up", "stable", "suspected_leak", "step"]


@dataclasses.dataclass(frozen=True)
class Target:
    """A report on resources, as far as memory goes."""

    segment: Mapping[str, str]
    memory: Memory | None
    metrics: Mapping[str, Metric]


def target(
    name: str, state: State, *, used: int = 100, limit: int | None = None, seconds: float | None = None
) -> Target:
    memory = Memory(state=state, bytes=used, limit_bytes=limit)
    return Target({"target": name}, memory, {"seconds_to_memory_limit": Metric(seconds, None, None, 1)})


@pytest.mark.parametrize(
    "targets",
    [
        [target("worst", "suspected_leak"), target("b", "step", used=900)],
        [target("worst", "suspected_leak", seconds=60), target("b", "suspected_leak", seconds=90)],
        [target("worst", "suspected_leak", seconds=60), target("b", "suspected_leak")],
        [target("worst", "step"), target("b", "warming_up")],
        [target("worst", "stable", used=90, limit=100), target("b", "stable", used=900, limit=9000)],
        [target("worst", "stable", used=9, limit=100), target("b", "stable", used=900)],
        [target("worst", "stable", used=900), target("b", "stable", used=90)],
    ],
)
def test_target_whose_memory_is_in_the_worst_way_is_found(targets: list[Target]) -> None:
    for order in (targets, targets[::-1]):
        found = worst_memory([*order, Target({"target": "silent"}, None, {})])
        assert found is not None
        assert "worst" == found.segment["target"]


def test_targets_that_tell_of_no_memory_have_none_that_is_worst() -> None:
    assert worst_memory([Target({"target": "silent"}, None, {})]) is None
