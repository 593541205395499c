"""The table of deploy/guides/intervals.md: a smaller one is simulated here, and the guide has a line for each case."""

from __future__ import annotations

import functools
import pathlib

import pytest

from streams.quality.classification import BINARY_METRICS, MULTICLASS_METRICS
from streams.quality.multilabel import MULTILABEL_METRICS
from streams.quality.ranking import RANKING_METRICS
from streams.quality.regression import REGRESSION_METRICS
from streams.quality.scores import SCORE_METRICS
from tests.bench.intervals import SIZES, Row, coverage_rows, table

GUIDE = pathlib.Path(__file__).parents[3] / "deploy" / "guides" / "intervals.md"
WINDOWS = 600
"""The standard error of a share of 95 % is 0.9 points."""


@functools.cache
def rows() -> tuple[Row, ...]:
    return tuple(coverage_rows(sizes=(100, 1_000), windows=WINDOWS))


@pytest.mark.parametrize("of", ["two classes", "three classes", "scores", "numbers", "sets", "rankings"])
def test_intervals_hold_the_truth_as_often_as_they_say_where_ten_of_each_kind_are_expected(of: str) -> None:
    promised = [row for row in rows() if row.of == of and not row.is_thin]

    assert promised
    # Two points, and twice the standard error of the simulation.
    assert [] == [row for row in promised if row.held < 0.912]
    assert [] == [row for row in promised if row.held > 0.988]


def test_thin_windows_are_told_apart() -> None:
    thin = {(row.p, row.n) for row in rows() if row.is_thin}
    assert {(0.99, 100)} == thin


def test_guide_has_every_figure_and_size() -> None:
    lines = GUIDE.read_text().splitlines()
    metrics = {*BINARY_METRICS, *MULTICLASS_METRICS, *SCORE_METRICS, *REGRESSION_METRICS}
    metrics |= {*MULTILABEL_METRICS, *RANKING_METRICS}

    header = table([Row("two classes", "accuracy", n, 0.5, 0.95) for n in SIZES]).splitlines()[0]
    assert header in lines
    of_cases = {line.split("|")[2].strip().strip("`") for line in lines[lines.index(header) + 2 :]}
    assert metrics == of_cases
    assert {row.metric for row in rows()} == metrics
