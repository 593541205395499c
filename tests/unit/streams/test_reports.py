"""From counts to report, and from report to revision."""

from __future__ import annotations

import json
import uuid

import msgspec
import pytest
from msgspec import UNSET

from schemas.window_report import NAMESPACE, Confusion, WindowReport
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel, Task
from streams.quality.confusion import Cell
from streams.quality.scores import SCORE_METRICS
from streams.reports import ReportKey, SliceCounts, revise, window_report

START_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z
END_MS = START_MS + 5 * MINUTE_MS
NOW_MS = END_MS + 132_345

FRAUD = MonitoredModel(name="fraud", task=Task.BINARY, positive_class="fraud", label_horizon_ms=HOUR_MS)
KEY = ReportKey(model="fraud", model_version="3", segment={}, window_start_ms=START_MS, window_size_ms=5 * MINUTE_MS)
CELLS: dict[Cell, int] = {
    ("fraud", "fraud"): 40,
    ("fraud", "ok"): 9,
    ("ok", "fraud"): 6,
    ("ok", "ok"): 585,
    (None, "ok"): 360,
}


def report_of(
    counts: SliceCounts,
    *,
    model: MonitoredModel = FRAUD,
    key: ReportKey = KEY,
    watermark_ms: int | None = END_MS,
    missing: tuple[str, ...] = (),
) -> WindowReport:
    return window_report(
        key,
        counts,
        model,
        watermark_ms=watermark_ms,
        confidence_level=0.95,
        config_hash="c0ffee",
        missing=missing,
    )


def published(
    report: WindowReport,
    *,
    key: ReportKey = KEY,
    revision: int | None = None,
    event_id: str | None = None,
    now_ms: int = NOW_MS,
) -> WindowReport:
    revised = revise(report, key=key.encode(), previous_revision=revision, previous_event_id=event_id, now_ms=now_ms)
    return msgspec.convert(revised, WindowReport)


def test_report_has_the_documented_shape() -> None:
    report = published(report_of(SliceCounts(CELLS, failed=2, delays={95: 400, 142: 240})))

    value = json.loads(msgspec.json.encode(report))

    expected = {
        "kind": "quality",
        "model": "fraud",
        "model_version": "3",
        "segment": {},
        "window": {"start": "2026-11-23T12:00:00Z", "end": "2026-11-23T12:05:00Z", "size_seconds": 300},
        "status": "provisional",
        "revision": NOW_MS,
        "event_id": report.event_id,
        "predictions": 1000,
        "failed": 2,
        "labelled": 640,
        "never_labelled": 0,
        "coverage": 0.64,
        "coverage_expected": None,
        "label_delay_seconds": {"p50": 0.992, "p90": 59.392, "p99": 59.392},
        "confusion": {"classes": ["fraud", "ok"], "counts": [[40, 9], [6, 585]]},
        "metrics": value["metrics"],
        "undefined": dict.fromkeys(SCORE_METRICS, "no_scores"),
        "per_class": value["per_class"],
        "config_hash": "c0ffee",
        "produced_at": "2026-11-23T12:07:12.345Z",
    }
    assert expected == value
    assert list(expected) == list(value)
    assert {
        "value": pytest.approx(0.9766, abs=5e-5),
        "low": pytest.approx(0.9617, abs=5e-5),
        "high": pytest.approx(0.98575, abs=5e-5),
        "n": 640,
        "possible": [0.625, 0.985],
    } == value["metrics"]["accuracy"]
    assert {
        "precision": pytest.approx(0.8696, abs=5e-5),
        "recall": pytest.approx(0.8163, abs=5e-5),
        "f1": pytest.approx(0.8421, abs=5e-5),
        "support": 49,
    } == value["per_class"]["fraud"]


def test_report_survives_the_wire() -> None:
    report = published(report_of(SliceCounts(CELLS, failed=2)))

    assert report == msgspec.json.decode(msgspec.json.encode(report), type=WindowReport)


def test_key_names_the_slice_and_the_window() -> None:
    key = ReportKey(
        model="fraud",
        model_version="3",
        segment={"country": "DE"},
        window_start_ms=START_MS,
        window_size_ms=5 * MINUTE_MS,
    )

    assert b'["quality","fraud","3",{"country":"DE"},300,"2026-11-23T12:00:00Z"]' == key.encode()


def test_keys_of_one_window_are_equal_and_interchangeable() -> None:
    crossed = [
        ReportKey(model="m", model_version="", segment=segment, window_start_ms=0, window_size_ms=1000)
        for segment in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    ]

    assert 1 == len(set(crossed)) == len({key.encode() for key in crossed})


def test_window_without_predictions_has_no_coverage() -> None:
    report = report_of(SliceCounts({}, failed=3))

    assert (0, 3, 0, None) == (report.predictions, report.failed, report.labelled, report.coverage)
    assert Confusion(classes=(), counts=()) == report.confusion
    assert {"no_labelled"} == set(report.undefined.values())


def test_undefined_metric_stays_with_its_reason_elsewhere() -> None:
    report = report_of(SliceCounts({("ok", "ok"): 5}))

    value = json.loads(msgspec.json.encode(report))

    assert {"value": None, "low": None, "high": None, "n": 0} == {
        name: value["metrics"]["precision"][name] for name in ("value", "low", "high", "n")
    }
    assert "no_positive_predictions" == value["undefined"]["precision"]


@pytest.mark.parametrize(
    ("watermark_ms", "status", "never_labelled"),
    [
        (None, "open", 0),
        (END_MS - 1, "open", 0),
        (END_MS, "provisional", 0),
        (END_MS + HOUR_MS - 1, "provisional", 0),
        (END_MS + HOUR_MS, "final", 360),
    ],
)
def test_unlabelled_predictions_are_given_up_when_the_window_is_final(
    watermark_ms: int | None, status: str, never_labelled: int
) -> None:
    report = report_of(SliceCounts(CELLS), watermark_ms=watermark_ms)

    assert (status, never_labelled) == (report.status, report.never_labelled)


def test_lost_input_is_said_once_and_in_order() -> None:
    report = report_of(SliceCounts(CELLS), watermark_ms=END_MS + DAY_MS, missing=("labels/3", "labels/1", "labels/3"))

    assert ("incomplete", ("labels/1", "labels/3"), 360) == (
        report.status,
        report.missing,
        report.never_labelled,
    )


def test_complete_window_misses_nothing() -> None:
    assert report_of(SliceCounts(CELLS)).missing is UNSET


def test_multiclass_model_has_averages_instead_of_a_positive_class() -> None:
    report = report_of(SliceCounts(CELLS), model=MonitoredModel(name="fraud"))

    assert "recall_macro" in report.metrics
    assert "recall" not in report.metrics


def test_classes_that_an_average_leaves_out_are_named() -> None:
    report = report_of(SliceCounts({("a", "b"): 1, ("b", "b"): 1}), model=MonitoredModel(name="m"))

    assert ("a",) == report.metrics["precision_macro"].classes_left_out
    assert report.metrics["recall_macro"].classes_left_out is UNSET


def test_regression_is_counted_and_has_no_matrix() -> None:
    counts = SliceCounts({("*", ""): 7, (None, ""): 3})

    report = report_of(counts, model=MonitoredModel(name="price", task=Task.REGRESSION))

    assert (10, 7, 0.7, None) == (report.predictions, report.labelled, report.coverage, report.confusion)
    assert report.per_class is UNSET


def test_counts_of_parts_add_up() -> None:
    left = SliceCounts({("a", "a"): 1, (None, "a"): 2}, failed=1)
    right = SliceCounts({("a", "a"): 2, ("b", "a"): 1}, failed=4)

    merged = SliceCounts({("a", "a"): 3, ("b", "a"): 1, (None, "a"): 2}, failed=5)

    assert merged == left + right == right + left


def test_first_revision_is_the_wall_clock() -> None:
    assert NOW_MS == published(report_of(SliceCounts(CELLS))).revision


def test_revision_rises_even_when_the_clock_steps_back() -> None:
    report = report_of(SliceCounts(CELLS))

    assert NOW_MS + 1 == published(report, revision=NOW_MS, now_ms=NOW_MS - 5000).revision
    assert NOW_MS + 1 == published(report, revision=NOW_MS, now_ms=NOW_MS).revision
    assert NOW_MS + 5000 == published(report, revision=NOW_MS, now_ms=NOW_MS + 5000).revision


def test_same_content_is_not_published_again() -> None:
    first = published(report_of(SliceCounts(CELLS)))

    again = revise(
        report_of(SliceCounts(dict(reversed(CELLS.items())))),
        key=KEY.encode(),
        previous_revision=first.revision,
        previous_event_id=first.event_id,
        now_ms=NOW_MS + 60_000,
    )

    assert again is None


def test_content_that_changed_gets_another_id() -> None:
    first = published(report_of(SliceCounts(CELLS)))
    one_label_more = dict(CELLS) | {("ok", "ok"): 586, (None, "ok"): 359}

    second = published(report_of(SliceCounts(one_label_more)), revision=first.revision, event_id=first.event_id)

    assert first.event_id != second.event_id
    assert first.revision < second.revision


def test_status_alone_is_news() -> None:
    first = published(report_of(SliceCounts({("ok", "ok"): 5})))

    final = report_of(SliceCounts({("ok", "ok"): 5}), watermark_ms=END_MS + HOUR_MS)

    assert "final" == published(final, revision=first.revision, event_id=first.event_id).status


def test_event_id_is_the_same_whoever_publishes_when() -> None:
    report = report_of(SliceCounts(CELLS))

    ids = {published(report).event_id, published(report, revision=7, now_ms=NOW_MS + 1).event_id}

    assert 1 == len(ids)
    assert 5 == uuid.UUID(ids.pop()).version
    assert NAMESPACE != uuid.NAMESPACE_DNS


def test_equal_figures_of_two_windows_have_two_ids() -> None:
    later = ReportKey(
        model="fraud", model_version="3", segment={}, window_start_ms=END_MS, window_size_ms=5 * MINUTE_MS
    )

    assert (
        published(report_of(SliceCounts(CELLS))).event_id
        != published(report_of(SliceCounts(CELLS), key=later), key=later).event_id
    )
