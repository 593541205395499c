"""Which explanations a cell keeps: the same ones in any order, at most so many, none twice."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.explain_request import WhyAsked
from streams.explanation.attribution_sample import (
    MOST_ROWS,
    MOST_SHARES,
    Cell,
    ExplanationFate,
    Row,
    Sample,
    row_of,
)
from streams.explanation.terms import ExplainTerms, InputKind
from tests.support.explanations import explanation

TABULAR = ExplainTerms(predictor="served:fraud")


def cell_of(rows: list[Row]) -> Cell:
    cell = Cell()
    for row in rows:
        cell.take(Sample.BASE, row)
    return cell


def weighed(cell: Cell) -> list[Row]:
    return list(cell.samples[Sample.BASE].weighed())


def rows(count: int) -> list[Row]:
    found = [row_of(explanation(f"r{at}", {"amount": at / 8}, rate=0.25), TABULAR) for at in range(count)]
    return [each[1] for each in found if isinstance(each, tuple)]


@given(st.integers(0, 2**32), st.integers(1, 3 * MOST_ROWS))
def test_any_order_any_repeat_and_any_packing_keep_the_same(seed: int, count: int) -> None:
    offered = rows(count)
    wanted = weighed(cell_of(offered))
    generator = random.Random(seed)
    again = generator.sample(offered, count) + generator.choices(offered, k=50)
    half = Cell.unpacked(cell_of(again[: count // 2]).packed())
    for row in again[count // 2 :]:
        half.take(Sample.BASE, row)
    assert wanted == weighed(half)


def test_those_that_are_kept_stand_for_all() -> None:
    cell = cell_of(rows(5000))
    kept = weighed(cell)
    assert MOST_ROWS == len(kept)
    assert pytest.approx(5000 * 4, rel=0.2) == sum(row.weight for row in kept)
    mean = sum(row.weight * (row.shares or {})["amount"] for row in kept) / sum(row.weight for row in kept)
    assert pytest.approx(4999 / 2 / 8, rel=0.15) == mean


def test_a_full_cell_is_some_kilobytes() -> None:
    cell = Cell()
    shares = {f"feature {at}": 0.1 for at in range(10)}
    for at in range(1000):
        for sample in Sample:
            found = row_of(explanation(f"r{at}", shares, reason=WhyAsked(str(sample))), TABULAR)
            assert isinstance(found, tuple)
            cell.take(*found)
    assert len(cell.packed()) < 50_000


@pytest.mark.parametrize(
    ("fate", "fields"),
    [
        (ExplanationFate.NOT_SAMPLED, {"reason": WhyAsked.ASKED}),
        (ExplanationFate.NOT_SAMPLED, {"reason": WhyAsked.LOW_MARGIN}),
        (ExplanationFate.UNDATED, {"at_ms": None}),
    ],
)
def test_what_is_of_no_sample_is_left_out(fate: ExplanationFate, fields: dict[str, object]) -> None:
    assert fate == row_of(explanation("r", {"amount": 1.0}, **fields), TABULAR)  # type: ignore[arg-type]


def test_words_and_models_that_are_not_explained_are_left_out() -> None:
    of_text = ExplainTerms(predictor="served:spam", input=InputKind.TEXT, features=("text",))
    assert ExplanationFate.NOT_TABULAR == row_of(explanation("r", {"hello": 1.0}), of_text)
    assert ExplanationFate.NOT_TABULAR == row_of(explanation("r", {"amount": 1.0}), None)


def test_fates_of_a_request_that_is_in_both_samples_and_one_that_failed() -> None:
    cell = Cell()
    wrong = row_of(explanation("r", {"amount": 0.1}, reason=WhyAsked.WRONG), TABULAR)
    base = row_of(explanation("r", {"amount": 0.1}), TABULAR)
    failed = row_of(explanation("failed"), TABULAR)
    assert isinstance(wrong, tuple)
    assert isinstance(base, tuple)
    assert isinstance(failed, tuple)
    assert [ExplanationFate.COUNTED] * 3 == [cell.take(*each) for each in (wrong, base, failed)]
    assert ExplanationFate.REPEATED == cell.take(*wrong)
    assert None is Cell.unpacked(cell.packed()).samples[Sample.BASE].rows[failed[1].key].shares


def test_of_very_many_attributions_the_largest_are_kept() -> None:
    found = row_of(explanation("r", {f"f{at}": 1 / (at + 1) for at in range(1000)}), TABULAR)
    assert isinstance(found, tuple)
    assert [f"f{at}" for at in range(MOST_SHARES)] == list(found[1].shares or {})
