from __future__ import annotations

import dataclasses
import json
from collections import Counter

from tests.bench.backlog import START_MS, Shape, backlog, recount

SHAPE = Shape(predictions=2_000, label_after_records=(100, 300))


def test_a_log_is_the_same_each_time_it_is_drawn() -> None:
    assert list(backlog(SHAPE)) == list(backlog(SHAPE))


def test_a_longer_log_goes_on_at_the_same_pace_of_event_time() -> None:
    last = [record for record in backlog(SHAPE) if record.is_prediction][-1]
    assert START_MS + 1_999 * 3_600 // 1000 == last.time_ms


def test_records_are_about_as_long_as_those_that_the_bars_were_set_for() -> None:
    sizes = Counter[bool]()
    counts = Counter[bool]()
    for record in backlog(SHAPE):
        sizes[record.is_prediction] += len(record.value)
        counts[record.is_prediction] += 1
    assert 275 < sizes[True] / counts[True] < 290
    assert 125 < sizes[False] / counts[False] < 135


def test_five_in_a_hundred_get_no_label_and_two_in_a_hundred_get_it_twice() -> None:
    expected = recount(SHAPE)
    labels = expected.records - SHAPE.predictions
    assert 0.03 < 1 - expected.pairs / SHAPE.predictions < 0.07
    assert 0.01 < labels / expected.pairs - 1 < 0.03


def test_every_prediction_is_in_one_cell_of_everything_and_in_one_of_its_segment() -> None:
    cells = recount(SHAPE).cells
    slices = Counter[bool]()
    for (_, segment, *_), count in cells.items():
        slices[segment == "{}"] += count
    assert {True: SHAPE.predictions, False: SHAPE.predictions} == slices


def test_without_labels_everything_waits() -> None:
    expected = recount(dataclasses.replace(SHAPE, label_after_records=None, bare=True))
    assert (SHAPE.predictions, 0) == (expected.records, expected.pairs)
    assert {None} == {label for _, _, _, label, _ in expected.cells}


def test_the_hot_model_gets_its_share() -> None:
    shape = dataclasses.replace(SHAPE, hot_share=0.9, sequential_ids=True)
    rows = [json.loads(record.value) for record in backlog(shape) if record.is_prediction]
    models = Counter(row["model"] for row in rows)
    assert 0.9 < models["m0"] / len(rows) < 0.95
    assert "request-000000007" == rows[7]["request_id"]
