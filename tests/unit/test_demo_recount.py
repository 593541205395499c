"""The recount agrees with honest figures, and no wrong figure passes it."""

from __future__ import annotations

import ast
import json
import lzma
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.recount import main

RECOUNT = Path(__file__).parents[2] / "deploy" / "demo" / "recount.py"

FLIGHTS = """\
scheduled_departure,scheduled_arrival,carrier,flight,origin,dest,distance_miles,dep_delay_minutes,air_time_minutes,arr_delay_minutes
2013-07-01T08:00-04:00,11:00,UA,1,EWR,SFO,2565,30,130,40
2013-07-01T08:05-04:00,09:30,B6,2,JFK,BOS,187,-5,70,-9
2013-07-01T09:30-04:00,12:00,UA,3,EWR,ATL,762,0,100,3
2013-07-01T10:00-04:00,12:00,UA,4,EWR,ATL,762,,,
2013-07-01T21:00-04:00,23:00,UA,5,EWR,ATL,762,20,100,16
"""
PREDICTIONS = """\
scheduled_departure,carrier,flight,origin,prediction,margin,vote_entropy,route_flights
2013-07-01T08:00-04:00,UA,1,EWR,late,1.0,0.5,100.0
2013-07-01T08:05-04:00,B6,2,JFK,late,1.0,0.5,
2013-07-01T09:30-04:00,UA,3,EWR,on_time,-1.0,0.5,100.0
2013-07-01T10:00-04:00,UA,4,EWR,late,3.0,0.5,100.0
2013-07-01T21:00-04:00,UA,5,EWR,on_time,-1.0,0.5,
"""
FIRST, SECOND = "2013-07-01T00:00:00Z", "2013-07-02T00:00:00Z"
JUDGED = [
    # day, carrier, origin, label, prediction
    (FIRST, "UA", "EWR", "late", "late"),
    (FIRST, "B6", "JFK", "on_time", "late"),
    (FIRST, "UA", "EWR", "on_time", "on_time"),
    (FIRST, "UA", "EWR", None, "late"),
    (SECOND, "UA", "EWR", "late", "on_time"),
]


def honest_counts() -> list[dict[str, Any]]:
    """Return what `latelabel counts --format jsonl` must say about `JUDGED`."""
    cells: Counter[tuple[str, str, str | None, str]] = Counter()
    for day, carrier, origin, label, prediction in JUDGED:
        for segment in ({}, {"carrier": carrier}, {"origin": origin}):
            cells[day, json.dumps(segment), label, prediction] += 1
    return [
        {
            "model": "flight-delay",
            "model_version": "1",
            "segment": json.loads(segment),
            "window_start": day,
            "label": label,
            "prediction": prediction,
            "count": count,
        }
        for (day, segment, label, prediction), count in cells.items()
    ]


def report(day: str, segment: dict[str, str], counts: list[list[int]], **figures: Any) -> dict[str, Any]:
    """Return the parts of a report that the recount reads; figures that are not given are undefined."""
    names = ("accuracy", "precision", "recall", "f1")
    return {
        "kind": "quality",
        "segment": segment,
        "window": {"start": day},
        "revision": figures.get("revision", 2),
        "status": figures.get("status", "final"),
        "predictions": figures["predictions"],
        "labelled": sum(map(sum, counts)),
        "confusion": {"classes": ["late", "on_time"], "counts": counts},
        "metrics": {name: {"value": figures.get(name)} for name in names},
    }


def honest_reports() -> list[dict[str, Any]]:
    """Return the final reports about `JUDGED`, worked out by hand."""
    united = {"predictions": 3, "accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    missed = {"predictions": 1, "accuracy": 0.0, "recall": 0.0, "f1": 0.0}
    return [
        report(FIRST, {}, [[1, 0], [1, 1]], predictions=4, accuracy=2 / 3, precision=0.5, recall=1.0, f1=2 / 3),
        report(FIRST, {"carrier": "UA"}, [[1, 0], [0, 1]], **united),
        report(FIRST, {"origin": "EWR"}, [[1, 0], [0, 1]], **united),
        report(FIRST, {"carrier": "B6"}, [[0, 0], [1, 0]], predictions=1, accuracy=0.0, precision=0.0, f1=0.0),
        report(FIRST, {"origin": "JFK"}, [[0, 0], [1, 0]], predictions=1, accuracy=0.0, precision=0.0, f1=0.0),
        report(SECOND, {}, [[0, 1], [0, 0]], **missed),
        report(SECOND, {"carrier": "UA"}, [[0, 1], [0, 0]], **missed),
        report(SECOND, {"origin": "EWR"}, [[0, 1], [0, 0]], **missed),
    ]


def honest_service() -> list[dict[str, Any]]:
    """Return the final reports on the stability of `JUDGED`, worked out by hand."""
    counts = [({}, 4, 1), ({"carrier": "UA"}, 3, 1), ({"origin": "EWR"}, 3, 1), ({"carrier": "B6"}, 1, 0)]
    counts.append(({"origin": "JFK"}, 1, 0))
    return [
        {
            "kind": "stability",
            "segment": segment,
            "window": {"start": day},
            "revision": 2,
            "status": "final",
            "predictions": count,
            "failed": 0,
            "metrics": {
                "error_rate": {"value": 0.0},
                "timeout_rate": {"value": 0.0},
                "throughput_per_second": {"value": count / 86_400},
            },
        }
        for segment, *of_days in counts
        for day, count in zip((FIRST, SECOND), of_days, strict=True)
        if count
    ]


def honest_signals() -> list[dict[str, Any]]:
    """Return the final reports on the signals of `JUDGED`, worked out by hand: margins, and who flies a known route."""
    united, everyone = [1.0, -1.0, 3.0], [1.0, 1.0, -1.0, 3.0]
    slices = [
        (FIRST, {}, everyone, 3),
        (FIRST, {"carrier": "UA"}, united, 3),
        (FIRST, {"origin": "EWR"}, united, 3),
        (FIRST, {"carrier": "B6"}, [1.0], 0),
        (FIRST, {"origin": "JFK"}, [1.0], 0),
        (SECOND, {}, [-1.0], 0),
        (SECOND, {"carrier": "UA"}, [-1.0], 0),
        (SECOND, {"origin": "EWR"}, [-1.0], 0),
    ]
    found = []
    for day, segment, margins, known in slices:
        told = {"margin": margins, "vote_entropy": [0.5] * len(margins), "route_flights": [100.0] * known}
        figures: dict[str, float | None] = {}
        for name, values in told.items():
            figures[f"signal.{name}.undefined_share"] = 1.0 - len(values) / len(margins)
            figures[f"signal.{name}.mean"] = statistics.mean(values) if values else None
            figures[f"signal.{name}.std"] = statistics.stdev(values) if len(values) > 1 else None
        found.append(
            {
                "kind": "signals",
                "segment": segment,
                "window": {"start": day},
                "revision": 2,
                "status": "final",
                "values": {name: len(values) for name, values in told.items()},
                "metrics": {name: {"value": value} for name, value in figures.items()},
            }
        )
    return found


def honest_totals() -> list[dict[str, Any]]:
    """Return what `latelabel counts --totals --format jsonl` must say about `JUDGED`."""
    return [
        {"topic": "predictions", "read": 5, "waiting": 0, "matched": 4, "never_labelled": 1, "failed": 0},
        {"topic": "labels", "read": 4, "held": 0, "matched": 4, "duplicate_label": 0},
    ]


def arguments(
    folder: Path, counts: list[dict[str, Any]], reports: list[dict[str, Any]], totals: list[dict[str, Any]]
) -> list[str]:
    """Write the files of one demo and return the arguments that name them."""
    (folder / "flights.csv.xz").write_bytes(lzma.compress(FLIGHTS.encode()))
    (folder / "predictions.csv").write_text(PREDICTIONS)
    for name, rows in (("counts", counts), ("reports", reports), ("totals", totals)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = {"flights": "flights.csv.xz", "predictions": "predictions.csv"}
    names |= {name: f"{name}.jsonl" for name in ("counts", "totals", "reports")}
    return [part for option, name in names.items() for part in (f"--{option}", str(folder / name))]


def recount(
    folder: Path,
    counts: list[dict[str, Any]],
    reports: list[dict[str, Any]],
    totals: list[dict[str, Any]] | None = None,
    service: list[dict[str, Any]] | None = None,
    signals: list[dict[str, Any]] | None = None,
) -> int:
    """Run the recount in this process, which is quicker, and return its exit code."""
    reports = reports + (honest_service() if service is None else service)
    reports = reports + (honest_signals() if signals is None else signals)
    return main(arguments(folder, counts, reports, totals or honest_totals()))


def test_honest_figures_are_all_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = recount(tmp_path, honest_counts(), honest_reports())
    cells, figures, service = len(honest_counts()), len(honest_reports()) * 8, len(honest_service()) * 6
    signals = len(honest_signals()) * 13
    assert [
        f"  cells: {cells} compared, {cells} equal",
        "  fates: 5 compared, 5 equal",
        f"  figures of the final reports: {figures} compared, {figures} equal",
        f"  figures of requests and failures: {service} compared, {service} equal",
        f"  figures of the model's signals: {signals} compared, {signals} equal",
    ] == capsys.readouterr().out.splitlines()
    assert 0 == code


def test_older_revisions_do_not_matter(tmp_path: Path) -> None:
    older = report(FIRST, {}, [[9, 9], [9, 9]], predictions=36, status="provisional", revision=1)
    assert 0 == recount(tmp_path, honest_counts(), [*honest_reports(), older])


@pytest.mark.parametrize("row", [0, -1])
def test_one_count_that_is_off_by_one_fails_the_demo(tmp_path: Path, row: int) -> None:
    counts = honest_counts()
    counts[row]["count"] += 1
    assert 1 == recount(tmp_path, counts, honest_reports())


def test_program_exits_with_one_and_shows_the_cell_that_differs(tmp_path: Path) -> None:
    counts = honest_counts()
    counts[0]["count"] = 17
    reports = [*honest_reports(), *honest_service(), *honest_signals()]
    program = [sys.executable, str(RECOUNT), *arguments(tmp_path, counts, reports, honest_totals())]
    result = subprocess.run(program, capture_output=True, text=True, check=False)
    assert 1 == result.returncode
    assert f"{len(counts)} compared, {len(counts) - 1} equal" in result.stdout
    assert "recount 1, monitor 17" in result.stdout


def test_missing_cell_fails_the_demo(tmp_path: Path) -> None:
    assert 1 == recount(tmp_path, honest_counts()[1:], honest_reports())


def test_cell_that_should_not_be_there_fails_the_demo(tmp_path: Path) -> None:
    counts = honest_counts()
    counts.append(counts[0] | {"window_start": "2013-07-03T00:00:00Z"})
    assert 1 == recount(tmp_path, counts, honest_reports())


def test_unlabelled_prediction_counted_as_labelled_fails_the_demo(tmp_path: Path) -> None:
    counts = honest_counts()
    next(row for row in counts if row["label"] is None and "carrier" in row["segment"])["label"] = "on_time"
    assert 1 == recount(tmp_path, counts, honest_reports())


@pytest.mark.parametrize(("topic", "fate"), [(0, "waiting"), (0, "matched"), (1, "read"), (1, "duplicate_label")])
def test_record_with_another_fate_fails_the_demo(tmp_path: Path, topic: int, fate: str) -> None:
    totals = honest_totals()
    totals[topic][fate] += 1
    assert 1 == recount(tmp_path, honest_counts(), honest_reports(), totals)


def test_cell_that_stands_there_twice_fails_the_demo(tmp_path: Path) -> None:
    counts = honest_counts()
    with pytest.raises(SystemExit, match="stands there twice"):
        recount(tmp_path, [*counts, counts[0]], honest_reports())


@pytest.mark.parametrize(
    "change", [{"status": "provisional"}, {"predictions": 5}, {"labelled": 2}, {"revision": 1, "status": "open"}]
)
def test_report_that_says_something_else_fails_the_demo(tmp_path: Path, change: dict[str, Any]) -> None:
    reports = honest_reports()
    reports[0] |= change
    assert 1 == recount(tmp_path, honest_counts(), reports)


@pytest.mark.parametrize("metric", ["accuracy", "precision", "recall", "f1"])
@pytest.mark.parametrize("wrong", [None, 0.1234])
def test_metric_that_is_wrong_or_missing_fails_the_demo(tmp_path: Path, metric: str, wrong: float | None) -> None:
    reports = honest_reports()
    reports[0]["metrics"][metric]["value"] = wrong
    assert 1 == recount(tmp_path, honest_counts(), reports)


def test_undefined_metric_that_was_given_a_value_fails_the_demo(tmp_path: Path) -> None:
    reports = honest_reports()
    reports[-1]["metrics"]["precision"]["value"] = 0.0
    assert 1 == recount(tmp_path, honest_counts(), reports)


def test_nothing_at_all_is_not_equal(tmp_path: Path) -> None:
    assert 1 == recount(tmp_path, [], [])


def test_recount_imports_nothing_of_the_pipeline() -> None:
    imported = set()
    for node in ast.walk(ast.parse(RECOUNT.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            imported.add(node.module.split(".")[0])
    assert set() == imported & {"agents", "schemas", "streams", "deploy", "tests"}


@pytest.mark.parametrize(("name", "value"), [("predictions", 3), ("failed", 1), ("throughput_per_second", 1.0)])
def test_wrong_figure_of_stability_is_found(tmp_path: Path, name: str, value: float) -> None:
    service = honest_service()
    if name in service[0]["metrics"]:
        service[0]["metrics"][name]["value"] = value
    else:
        service[0][name] = value
    assert 1 == recount(tmp_path, honest_counts(), honest_reports(), service=service)


def test_missing_report_on_stability_is_found(tmp_path: Path) -> None:
    assert 1 == recount(tmp_path, honest_counts(), honest_reports(), service=honest_service()[1:])


@pytest.mark.parametrize("metric", ["undefined_share", "mean", "std"])
def test_wrong_figure_of_a_signal_is_found(tmp_path: Path, metric: str) -> None:
    signals = honest_signals()
    signals[0]["metrics"][f"signal.margin.{metric}"]["value"] = 0.1234
    assert 1 == recount(tmp_path, honest_counts(), honest_reports(), signals=signals)


def test_report_on_signals_that_is_missing_is_found(tmp_path: Path) -> None:
    assert 1 == recount(tmp_path, honest_counts(), honest_reports(), signals=honest_signals()[1:])
