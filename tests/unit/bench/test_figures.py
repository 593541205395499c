from __future__ import annotations

import operator

from tests.bench.figures import Figure


def test_the_median_of_the_repeats_is_held_against_the_bar() -> None:
    assert not Figure("CPU", (2.0, 3.5, 4.0), "us", 3).is_met
    assert Figure("CPU", (2.0, 3.0, 9.0), "us", 3).is_met
    assert Figure("pairs", (60.0, 70.0, 80.0), "pairs/s", 70, operator.ge).is_met


def test_a_figure_without_a_bar_is_neither_met_nor_missed() -> None:
    figure = Figure("CPU", (2.0,), "us")
    assert figure.as_json()["met"] is None
    assert "met" not in figure.line()
