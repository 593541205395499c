from __future__ import annotations

from streams.identity import ABSENT, EVERYTHING, FAILED, SUM, class_hash, segment_hash
from streams.ledger.conservation import broken_by_cells, broken_by_fates
from streams.ports import Cell

OK, FRAUD = class_hash("ok"), class_hash("fraud")
GERMANY = segment_hash({"country": "DE"})
FATES = {
    "predictions:read": 9,
    "predictions:matched": 3,
    "predictions:waiting": 2,
    "predictions:failed": 1,
    "predictions:rejected": 3,
    "predictions:lost": 100,
    "labels:read": 4,
    "labels:matched": 3,
    "labels:held": 1,
}
CELLS: dict[Cell, int] = {
    (EVERYTHING, OK, OK): 2,
    (EVERYTHING, OK, FRAUD): 1,
    (EVERYTHING, ABSENT, OK): 2,
    (EVERYTHING, FAILED, ABSENT): 1,
    (GERMANY, OK, OK): 2,
}


def rules(found: object) -> list[str]:
    return [violation.rule for violation in found]  # type: ignore[attr-defined]


def test_fates_that_add_up_and_an_empty_shard_are_conserved() -> None:
    assert ((), ()) == (broken_by_fates(FATES), broken_by_fates({}))


def test_record_without_a_fate_and_fate_without_a_record_are_found() -> None:
    for role in ("predictions", "labels"):
        for delta in (1, -1):
            fates = FATES | {f"{role}:read": FATES[f"{role}:read"] + delta}
            assert [f"the fates of {role} add up to those read"] == rules(broken_by_fates(fates))


def test_negative_fate_is_found_though_the_sum_is_right() -> None:
    fates = FATES | {"labels:held": -1, "labels:matched": 5}
    assert ["no fate of labels is negative"] == rules(broken_by_fates(fates))


def test_violation_stays_the_same_while_its_numbers_move() -> None:
    (before,) = broken_by_fates({"labels:read": 1})
    (after,) = broken_by_fates({"labels:read": 2})
    assert (before, "0 of 1", "0 of 2") == (after, before.found, after.found)


def test_cells_that_the_fates_cover_are_conserved_also_when_windows_have_left() -> None:
    assert ((), ()) == (broken_by_cells([CELLS], FATES), broken_by_cells([], FATES))


def test_cells_beyond_the_fates_are_found() -> None:
    for fate, rule in (
        ("matched", "cells hold no more labelled predictions than the fates say"),
        ("failed", "cells hold no more failed predictions than the fates say"),
        ("waiting", "cells hold no more predictions than the fates say"),
    ):
        fates = FATES | {f"predictions:{fate}": FATES[f"predictions:{fate}"] - 1}
        assert rule in rules(broken_by_cells([CELLS], fates))


def test_negative_cell_is_found() -> None:
    assert ["no cell is negative"] == rules(broken_by_cells([{(GERMANY, OK, OK): -1}], FATES))


def test_sums_are_no_predictions_and_may_be_negative() -> None:
    sums: dict[Cell, int] = {(EVERYTHING, SUM, b"d191"): 3, (EVERYTHING, SUM, b"y:-4"): -7}
    assert () == broken_by_cells([CELLS | sums], FATES)
