"""The confusion matrix as a value: order, merging, overflow, one class against the rest."""

from __future__ import annotations

import numpy as np
import pytest

from streams.quality.confusion import BinaryCounts, ConfusionMatrix

CELLS = {("ok", "ok"): 585, ("ok", "fraud"): 6, ("fraud", "ok"): 9, ("fraud", "fraud"): 40, (None, "ok"): 360}


def test_rows_are_labels_and_columns_predictions() -> None:
    matrix = ConfusionMatrix.from_cells(CELLS)

    assert ("fraud", "ok") == matrix.classes
    assert ((40, 9), (6, 585)) == matrix.counts
    assert (49, 591) == matrix.supports
    assert (46, 594) == matrix.predicted


def test_classes_are_in_code_point_order() -> None:
    names = ["a", "B", "é", "10", "9", "\U0001f600", "\uffff"]

    matrix = ConfusionMatrix.from_cells({(name, name): 1 for name in names})

    assert ("10", "9", "B", "a", "é", "\uffff", "\U0001f600") == matrix.classes


def test_predictions_without_label_are_kept_beside_the_matrix() -> None:
    matrix = ConfusionMatrix.from_cells(CELLS | {(None, "never seen"): 2})

    assert ("fraud", "ok") == matrix.classes
    assert (("never seen", 2), ("ok", 360)) == matrix.unlabelled
    assert (640, 362) == (matrix.labelled, matrix.unlabelled_total)


def test_cells_of_zero_leave_no_trace() -> None:
    assert ConfusionMatrix() == ConfusionMatrix.from_cells({("a", "b"): 0, (None, "c"): 0})


def test_negative_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        ConfusionMatrix.from_cells({("a", "b"): -1})


def test_matrices_of_parts_add_up() -> None:
    left = ConfusionMatrix.from_cells({("a", "a"): 1, (None, "b"): 2})
    right = ConfusionMatrix.from_cells({("a", "a"): 3, ("c", "b"): 1, (None, "b"): 4})

    merged = ConfusionMatrix.from_cells({("a", "a"): 4, ("c", "b"): 1, (None, "b"): 6})

    assert merged == left + right == right + left


def test_array_has_the_same_counts() -> None:
    matrix = ConfusionMatrix.from_cells({cell: n for cell, n in CELLS.items() if cell[0] is not None})

    array = matrix.to_numpy()

    assert [[40, 9], [6, 585]] == array.tolist()
    assert matrix == ConfusionMatrix.from_numpy(matrix.classes, array)


def test_array_of_no_classes_is_empty() -> None:
    assert (0, 0) == ConfusionMatrix().to_numpy().shape


def test_array_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="square"):
        ConfusionMatrix.from_numpy(("a", "b"), np.zeros((2, 3), dtype=np.int64))


def test_one_class_is_counted_against_all_others() -> None:
    matrix = ConfusionMatrix.from_cells(
        CELLS | {("ok", "typo"): 3, ("typo", "fraud"): 1, (None, "fraud"): 7, (None, "typo"): 5}
    )

    assert BinaryCounts(
        true_positive=40,
        false_positive=7,
        false_negative=9,
        true_negative=588,
        unlabelled_positive=7,
        unlabelled_negative=365,
    ) == matrix.against_rest("fraud")


def test_positive_class_that_never_came_has_negatives_only() -> None:
    assert BinaryCounts(
        true_positive=0, false_positive=0, false_negative=0, true_negative=640, unlabelled_negative=360
    ) == ConfusionMatrix.from_cells(CELLS).against_rest("absent")


def test_agreement_beyond_the_limit_of_classes_is_still_counted() -> None:
    matrix = ConfusionMatrix.from_cells(
        {("a", "a"): 5, ("__other__", "__other__"): 3, ("__other__", "__other_wrong__"): 2}
    )

    assert matrix.has_class_overflow
    assert (8, 10) == (matrix.correct, matrix.labelled)


def test_unlabelled_predictions_beyond_the_limit_hide_no_class_of_a_pair() -> None:
    matrix = ConfusionMatrix.from_cells({("a", "a"): 5, (None, "__other__"): 3})

    assert not matrix.has_class_overflow
