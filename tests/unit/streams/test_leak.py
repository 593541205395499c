"""Leak suspicion: the bars on a part of the seeded series, the line against SciPy, and blocks of any order."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from scipy.stats import theilslopes

from streams.stability.block_minima import MOST_BLOCKS, SCALES, MemoryBlocks
from streams.stability.leak import FEWEST_BLOCKS, LeakState, judge
from tests.bench.leaks import KINDS, PAGE, ever_suspected, leak_rows

MINUTE_MS = 60_000
GB = 1_000_000_000
SERIES = 150


def test_bars_are_reached_on_series_of_each_kind() -> None:
    rows = list(leak_rows(series=SERIES))
    assert len(KINDS) * 2 == len(rows)
    assert [] == [(row.kind, row.samples, row.suspected) for row in rows if row.is_reached is False]
    assert 20 == sum(row.is_reached is True for row in rows)


def test_steps_are_called_steps() -> None:
    (row,) = (row for row in leak_rows(series=SERIES) if (row.kind, row.samples) == ("step", 480))
    assert row.shares[LeakState.STEP] > 0.6


def test_noise_that_is_looked_at_again_and_again_is_not_suspected() -> None:
    assert 0.0 == ever_suspected(KINDS["white"].draw, name="white", series=100)
    assert 0.0 == ever_suspected(KINDS["saw-tooth"].draw, name="saw-tooth", series=100)


def test_guide_has_a_line_for_each_kind() -> None:
    page = PAGE.read_text()
    assert [] == [kind.what for kind in KINDS.values() if f"| {kind.what} |" not in page]
    assert "**missed**" not in page


@pytest.mark.parametrize("seed", range(5))
def test_line_is_that_of_theil_and_sen(seed: int) -> None:
    generator = random.Random(seed)
    places = sorted(generator.sample(range(60), 30))
    minima = [GB + 3e5 * place + generator.gauss(0, 5e6) for place in places]
    dropped = len(places) // 4
    expected = theilslopes(np.array(minima[dropped:]), np.array(places[dropped:]), alpha=0.95)
    trend = judge(minima, places)
    assert trend.slope is not None
    assert trend.low is not None
    assert trend.high is not None
    assert pytest.approx([expected[0], expected[2], expected[3]]) == [trend.slope, trend.low, trend.high]


def test_too_few_blocks_are_not_judged() -> None:
    trend = judge([GB + 1e8 * at for at in range(FEWEST_BLOCKS - 1)], range(FEWEST_BLOCKS - 1))
    assert (LeakState.WARMING_UP, None) == (trend.state, trend.slope)


def test_growth_that_flattens_is_a_warm_up() -> None:
    trend = judge([GB * (1.3 - 0.3 * np.exp(-at / 15)) for at in range(20)], range(20))
    assert LeakState.WARMING_UP is trend.state


def test_growth_below_twenty_megabytes_is_stable_however_steady() -> None:
    assert LeakState.STABLE is judge([1e8 + 4e5 * at for at in range(40)], range(40)).state


def filled(samples: list[tuple[int, int]]) -> MemoryBlocks:
    blocks = MemoryBlocks(MINUTE_MS)
    for time_ms, memory_bytes in samples:
        blocks.take(time_ms, memory_bytes)
    return blocks


def leak(minutes: int, *, per_minute: int) -> list[tuple[int, int]]:
    seconds = range(0, minutes * 60, 10)
    return [(second * 1000, GB + per_minute * second // 60) for second in seconds]


def test_a_leak_is_suspected_once_three_looks_in_a_row_agree() -> None:
    states = [filled(leak(minutes, per_minute=4_000_000)).growth().state for minutes in (20, 21, 22, 23)]
    assert [LeakState.WARMING_UP] * 3 + [LeakState.SUSPECTED_LEAK] == states


def test_growth_is_told_in_bytes_per_second() -> None:
    growth = filled(leak(30, per_minute=6_000_000)).growth()
    assert growth.low is not None
    assert growth.slope is not None
    assert growth.high is not None
    assert pytest.approx(100_000) == growth.slope
    assert growth.low <= growth.slope <= growth.high
    assert 29 == growth.blocks


def test_a_slow_leak_is_found_in_the_longer_blocks() -> None:
    growth = filled(leak(160, per_minute=600_000)).growth()
    assert LeakState.SUSPECTED_LEAK is growth.state
    assert pytest.approx(10_000, rel=0.01) == growth.slope


def test_minima_do_not_depend_on_order_within_a_block_nor_on_repeats() -> None:
    samples = leak(45, per_minute=3_000_000)
    blocks = [list(of) for _, of in itertools.groupby(samples, key=lambda sample: sample[0] // MINUTE_MS)]
    shuffled = [sample for of in blocks for sample in random.Random(7).sample(of * 2, 2 * len(of))]
    assert filled(samples).growth() == filled(shuffled).growth()


def test_a_sample_that_comes_late_lowers_its_own_block() -> None:
    blocks = filled(leak(10, per_minute=0))
    blocks.take(5 * MINUTE_MS, GB // 2)
    assert GB // 2 == blocks.scales[0].minima[5]


def test_a_pause_leaves_blocks_out_and_the_slope_right() -> None:
    samples = [sample for sample in leak(60, per_minute=6_000_000) if not 25 * 60_000 <= sample[0] < 35 * 60_000]
    assert pytest.approx(100_000) == filled(samples).growth().slope


def test_blocks_do_not_pile_up() -> None:
    blocks = filled([(at * MINUTE_MS, GB) for at in range(400)])
    assert all(len(scale.minima) <= MOST_BLOCKS + 1 for scale in blocks.scales)
    assert len(SCALES) == len(blocks.scales)
