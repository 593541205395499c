"""Whatever order and split the counts come in, reports say the same, and keep their promises."""

from __future__ import annotations

import functools
import math
import random
from collections import Counter

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from msgspec import UNSET
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from streams.monitored_model import MonitoredModel, Task
from streams.quality.classification import BINARY_METRICS, MULTICLASS_METRICS
from streams.quality.confusion import Cell
from streams.reports import ReportKey, SliceCounts, window_report
from streams.windows import WindowStatus, base_windows, next_status_change_ms, window_start_ms, window_status

KEY = ReportKey(model="m", model_version="", segment={}, window_start_ms=0, window_size_ms=60_000)
BINARY = MonitoredModel(name="m", task=Task.BINARY, positive_class="a")
MULTICLASS = MonitoredModel(name="m")

classes = st.sampled_from(["a", "b", "c", "é"])
pairs = st.tuples(st.none() | classes, classes)
streams = st.lists(pairs, max_size=60)
models = st.sampled_from([BINARY, MULTICLASS])
horizons = st.integers(0, 10_000)
ends = st.integers(-10_000, 10_000)


def report_bytes(counts: SliceCounts, model: MonitoredModel) -> bytes:
    report = window_report(KEY, counts, model, watermark_ms=None, confidence_level=0.95, config_hash="")
    return msgspec.json.encode(report)


@given(streams, st.randoms(use_true_random=False), st.integers(1, 5), models)
def test_any_order_and_any_split_merge_to_the_same_bytes(
    stream: list[Cell], shuffler: random.Random, parts: int, model: MonitoredModel
) -> None:
    shuffled = list(stream)
    shuffler.shuffle(shuffled)
    split = [SliceCounts(Counter(shuffled[part::parts])) for part in range(parts)]

    merged = functools.reduce(lambda left, right: left + right, split)

    assert report_bytes(SliceCounts(Counter(stream)), model) == report_bytes(merged, model)


@given(streams, models)
def test_every_figure_keeps_its_promises(stream: list[Cell], model: MonitoredModel) -> None:
    report = window_report(
        KEY,
        SliceCounts(Counter(stream)),
        model,
        watermark_ms=None,
        confidence_level=0.95,
        config_hash="",
    )

    assert set(report.undefined) == {name for name, metric in report.metrics.items() if metric.value is None}
    for name, metric in report.metrics.items():
        if metric.value is None or metric.low is None or metric.high is None:
            assert (None, None, None) == (metric.value, metric.low, metric.high)
            continue
        assert metric.low <= metric.value <= metric.high, name
        assert 0 < metric.n <= report.labelled, name
        if metric.possible is not UNSET:
            worst, best = metric.possible
            assert -1.0 <= worst <= metric.value <= best <= 1.0, name


COUNTED = {*BINARY_METRICS, *MULTICLASS_METRICS}


@given(st.data(), st.sampled_from([(BINARY, "ab"), (MULTICLASS, "abcé")]))
def test_labels_that_come_stay_within_what_was_possible(data: st.DataObject, case: tuple[MonitoredModel, str]) -> None:
    model, names = case
    known = st.sampled_from(names)
    stream: list[Cell] = data.draw(st.lists(st.tuples(st.none() | known, known), min_size=1, max_size=30))
    later: list[Cell] = [
        (label if label is not None else data.draw(st.none() | known), prediction) for label, prediction in stream
    ]
    before, after = (
        window_report(
            KEY,
            SliceCounts(Counter(seen)),
            model,
            watermark_ms=None,
            confidence_level=0.95,
            config_hash="",
        )
        for seen in (stream, later)
    )

    for name, metric in after.metrics.items():
        possible = before.metrics[name].possible
        if metric.value is not None and possible is not UNSET:
            worst, best = possible
            assert worst - 1e-12 <= metric.value <= best + 1e-12, name
        elif metric.value is not None and name in COUNTED:
            assert name in ("mcc", "cohen_kappa")
            assert MULTICLASS == model


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=40)
@given(streams)
def test_values_equal_scikit_learn(stream: list[Cell]) -> None:
    labelled = [(label, prediction) for label, prediction in stream if label is not None]
    report = window_report(
        KEY,
        SliceCounts(Counter(stream)),
        MULTICLASS,
        watermark_ms=None,
        confidence_level=0.95,
        config_hash="",
    )
    if not labelled:
        assert {"no_labelled"} == set(report.undefined.values())
        return
    truth, answers = zip(*labelled, strict=True)

    expected = {
        "accuracy": accuracy_score(truth, answers),
        "mcc": matthews_corrcoef(truth, answers),
        "f1_macro": f1_score(truth, answers, average="macro"),
        "f1_weighted": f1_score(truth, answers, average="weighted"),
    }

    for name, value in expected.items():
        actual = report.metrics[name].value
        # Only MCC can lack a denominator here, and scikit-learn answers 0 then.
        assert math.isclose(value, actual or 0.0, rel_tol=1e-12, abs_tol=1e-12), name


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**9))
def test_every_moment_is_in_exactly_the_window_that_starts_before_it(time_ms: int, size_ms: int) -> None:
    start_ms = window_start_ms(time_ms, size_ms=size_ms)

    assert start_ms <= time_ms < start_ms + size_ms
    assert 0 == start_ms % size_ms


@given(st.integers(-1000, 1000), st.integers(1, 50), st.integers(1, 1000), st.data())
def test_every_moment_of_a_window_is_in_one_of_its_base_windows(
    number: int, base_windows_in_it: int, base_ms: int, data: st.DataObject
) -> None:
    size_ms = base_ms * base_windows_in_it
    time_ms = number * size_ms + data.draw(st.integers(0, size_ms - 1))

    assert window_start_ms(time_ms, size_ms=base_ms) in base_windows(number * size_ms, size_ms=size_ms, base_ms=base_ms)


@given(ends, horizons, st.integers(-30_000, 30_000))
def test_status_never_changes_before_it_is_foretold(end_ms: int, horizon_ms: int, watermark_ms: int) -> None:
    status = window_status(end_ms=end_ms, horizon_ms=horizon_ms, watermark_ms=watermark_ms)

    change_ms = next_status_change_ms(status, end_ms=end_ms, horizon_ms=horizon_ms, watermark_ms=watermark_ms)

    if change_ms is None:
        assert WindowStatus.FINAL == status
        return
    assert watermark_ms < change_ms
    assert status == window_status(end_ms=end_ms, horizon_ms=horizon_ms, watermark_ms=change_ms - 1)
    assert status != window_status(end_ms=end_ms, horizon_ms=horizon_ms, watermark_ms=change_ms)
