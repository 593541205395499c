"""Rules over whole lives of windows: rarely wrong however often they are asked, and right with few labels."""

from __future__ import annotations

import math

import pytest

from tests.bench.alert_errors import false_alarms, labels_needed

WINDOWS = 4_000
ONE_SIDED = 0.025


@pytest.mark.parametrize("share", [0.8, 0.95, 0.99])
def test_model_at_its_limit_rarely_fires_however_often_it_is_looked_at(share: float) -> None:
    deviation = math.sqrt(ONE_SIDED * (1 - ONE_SIDED) / WINDOWS)
    for n, looks in ((50, 10), (500, 100), (5_000, 100)):
        assert false_alarms(n, share, looks, windows=WINDOWS).rule <= ONE_SIDED + 3 * deviation


def test_firing_on_an_interval_at_every_look_is_the_control_that_fails() -> None:
    errors = false_alarms(5_000, 0.8, 100, windows=WINDOWS)
    assert errors.interval > 4 * ONE_SIDED


def test_drop_of_three_points_is_noticed_long_before_the_window_is_final() -> None:
    power = labels_needed(5_000, 0.95, windows=500)
    assert power.noticed > 0.95
    assert power.median is not None
    assert power.median < 2_000
