"""Recounts the demo from its input file, with scikit-learn, and compares every figure with the monitor's.

    python deploy/demo/recount.py --flights flights.csv.xz --predictions predictions.csv \
        --counts counts.jsonl --totals totals.jsonl --reports reports.jsonl

Imports nothing of the pipeline: it reads the flights, works out for itself which were late and on which UTC
day they were due to leave, and takes from the demo only what the model said about each of them. Then

* each cell of `latelabel counts --format jsonl` must be there with the same number, and no other cell;
* `latelabel counts --totals --format jsonl` must give every record of either topic the fate that it has;
* each last report on quality must be final, and its counts, accuracy, precision, recall and F1 those of scikit-learn;
* each last report on stability must be final, and tell how many flights were predicted and how many a second;
* each last report on signals must be final, and tell how many flights had each of the model's signals, what share had
  none, and their mean and spread.

Exits 1 and shows the first differences if anything differs.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import lzma
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

__all__ = ["Cell", "Slice", "Tally", "expected_cells", "expected_figures", "main", "tally"]

MODEL = ("flight-delay", "1")
POSITIVE = "late"
CLASSES = (POSITIVE, "on_time")  # in the order of the rows and columns of the matrices
LATE_AFTER_MINUTES = 15
TOLERANCE = 1e-9
DAY_SECONDS = 86_400
SHOWN = 10
SIGNALS = ("margin", "vote_entropy", "route_flights")


class Slice(NamedTuple):
    """One day of one segment; `name` and `value` are empty for all flights together."""

    day: str
    name: str
    value: str


class Cell(NamedTuple):
    """A slice, what became true (`None`: never known) and what the model said."""

    slice: Slice
    label: str | None
    prediction: str


class Tally(NamedTuple):
    """What scikit-learn says about a slice: rows of the matrix are labels; a metric is `None` if undefined."""

    matrix: list[list[int]]
    unlabelled: Mapping[str, int]
    metrics: Mapping[str, float | None]

    @property
    def labelled(self) -> int:
        """Return how many of its flights landed."""
        return sum(map(sum, self.matrix))


def read_truth(path: Path) -> dict[tuple[str, ...], str | None]:
    """Return what became of each flight, by (scheduled departure, carrier, flight, origin)."""
    with lzma.open(path) as compressed:
        rows = csv.DictReader(io.StringIO(compressed.read().decode()))
    truth: dict[tuple[str, ...], str | None] = {}
    for row in rows:
        delay = row["arr_delay_minutes"]
        key = (row["scheduled_departure"], row["carrier"], row["flight"], row["origin"])
        truth[key] = CLASSES[int(delay) <= LATE_AFTER_MINUTES] if delay else None
    return truth


def slices_of(row: Mapping[str, str]) -> tuple[Slice, ...]:
    """Return the slices that a prediction is counted in: its day, and its airline's and airport's day."""
    departure = datetime.fromisoformat(row["scheduled_departure"]).astimezone(UTC)
    day = departure.strftime("%Y-%m-%dT00:00:00Z")
    return (
        Slice(day, "", ""),
        Slice(day, "carrier", row["carrier"]),
        Slice(day, "origin", row["origin"]),
    )


def tally(flights: Path, predictions: Path) -> dict[Slice, Tally]:
    """Judge each prediction by the flights' own outcome, for each day, airline and airport."""
    truth = read_truth(flights)
    late: list[bool] = []
    said_late: list[bool] = []
    members: defaultdict[Slice, list[int]] = defaultdict(list)
    unlabelled: defaultdict[Slice, Counter[str]] = defaultdict(Counter)
    with predictions.open(newline="") as lines:
        for row in csv.DictReader(lines):
            key = (row["scheduled_departure"], row["carrier"], row["flight"], row["origin"])
            label, prediction = truth[key], row["prediction"]
            for slice_ in slices_of(row):
                if label is None:
                    unlabelled[slice_][prediction] += 1
                else:
                    members[slice_].append(len(late))
            if label is not None:
                late.append(label == POSITIVE)
                said_late.append(prediction == POSITIVE)
    slices = sorted({*members, *unlabelled})
    return {
        slice_: Tally(matrix, unlabelled[slice_], metrics)
        for slice_, matrix, metrics in zip(
            slices,
            (_matrix(late, said_late, members[slice_]) for slice_ in slices),
            _metrics(np.array(late), np.array(said_late), [members[slice_] for slice_ in slices]),
            strict=True,
        )
    }


def _matrix(late: Sequence[bool], said_late: Sequence[bool], members: Sequence[int]) -> list[list[int]]:
    if not members:
        return [[0, 0], [0, 0]]
    labels, answers = [late[i] for i in members], [said_late[i] for i in members]
    matrix: list[list[int]] = confusion_matrix(labels, answers, labels=[True, False]).tolist()
    return matrix


def _metrics(
    late: NDArray[np.bool_], said_late: NDArray[np.bool_], slices: Sequence[Sequence[int]]
) -> Iterator[dict[str, float | None]]:
    """Compute the metrics of every slice.

    Thousands of calls take long, so precision, recall and F1 come from one: to scikit-learn, being late *in a
    slice* is one label of a multilabel problem.
    """
    rows = np.array([i for members in slices for i in members], dtype=np.int64)
    columns = np.repeat(np.arange(len(slices)), [len(members) for members in slices])
    shape = (len(late), len(slices))
    truth = csr_matrix((late[rows], (rows, columns)), shape=shape)
    said = csr_matrix((said_late[rows], (rows, columns)), shape=shape)
    truth.eliminate_zeros()
    said.eliminate_zeros()
    precision, recall, f1, _ = precision_recall_fscore_support(truth, said, average=None, zero_division=np.nan)
    for column, members in enumerate(slices):
        metrics: dict[str, float | None] = {"accuracy": None}
        if members:
            metrics["accuracy"] = float(accuracy_score(late[members], said_late[members]))
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            metrics[name] = None if np.isnan(values[column]) else float(values[column])
        yield metrics


def expected_cells(tallies: Mapping[Slice, Tally]) -> dict[Cell, int]:
    """Return the non-zero cells that the monitor must hold when every window is closed."""
    cells = {}
    for slice_, found in tallies.items():
        for label, row in zip(CLASSES, found.matrix, strict=True):
            for prediction, count in zip(CLASSES, row, strict=True):
                cells[Cell(slice_, label, prediction)] = count
        for prediction, count in found.unlabelled.items():
            cells[Cell(slice_, None, prediction)] = count
    return {cell: count for cell, count in cells.items() if count}


def expected_fates(tallies: Mapping[Slice, Tally]) -> dict[tuple[str, str], int]:
    """Return how many records of either topic were read, and what must have become of them."""
    days = [found for slice_, found in tallies.items() if not slice_.name]
    landed = sum(found.labelled for found in days)
    never = sum(sum(found.unlabelled.values()) for found in days)
    fates = {
        ("predictions", "read"): landed + never,
        ("predictions", "matched"): landed,
        ("predictions", "never_labelled"): never,
        ("labels", "read"): landed,
        ("labels", "matched"): landed,
    }
    return {fate: count for fate, count in fates.items() if count}


def expected_figures(found: Tally) -> dict[str, object]:
    """Return what the final report of a slice must say."""
    return {
        "status": "final",
        "predictions": found.labelled + sum(found.unlabelled.values()),
        "labelled": found.labelled,
        "confusion": {
            (label, prediction): count
            for label, row in zip(CLASSES, found.matrix, strict=True)
            for prediction, count in zip(CLASSES, row, strict=True)
            if count
        },
        **found.metrics,
    }


def expected_service(found: Tally) -> dict[str, object]:
    """Return what the final report on the stability of a slice must say: no prediction of the demo fails."""
    predictions = found.labelled + sum(found.unlabelled.values())
    return {
        "status": "final",
        "predictions": predictions,
        "failed": 0,
        "error_rate": 0.0,
        "timeout_rate": 0.0,
        "throughput_per_second": predictions / DAY_SECONDS,
    }


def expected_signals(predictions: Path) -> dict[Slice, dict[str, object]]:
    """Return what the final report on the signals of each day, airline and airport must say."""
    told: defaultdict[Slice, list[list[str]]] = defaultdict(list)
    with predictions.open(newline="") as lines:
        for row in csv.DictReader(lines):
            for slice_ in slices_of(row):
                told[slice_].append([row[name] for name in SIGNALS])
    return {
        slice_: {"status": "final", **{
            f"{name} {figure}": value
            for place, name in enumerate(SIGNALS)
            for figure, value in _signal([row[place] for row in rows]).items()
        }}
        for slice_, rows in told.items()
    }  # fmt: skip


def _signal(values: Sequence[str]) -> dict[str, object]:
    """Return the figures of one signal; the monitor keeps values with the 24 bits of binary32."""
    known = np.array([value for value in values if value], dtype=np.float32).astype(np.float64)
    return {
        "values": len(known),
        "undefined_share": 1.0 - len(known) / len(values),
        "mean": float(known.mean()) if len(known) else None,
        "std": float(known.std(ddof=1)) if len(known) > 1 else None,
    }


def _slice(segment: Mapping[str, str], day: str) -> Slice:
    name, value = next(iter(segment.items()), ("", ""))
    return Slice(day, name, value)


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open() as lines:
        yield from map(json.loads, lines)


def published_cells(path: Path) -> dict[Cell, int]:
    """Read the output of `latelabel counts --format jsonl`."""
    cells = {}
    for row in _json_lines(path):
        if (row["model"], row["model_version"]) != MODEL:
            raise SystemExit(f"{path}: a cell of another model: {row}")
        slice_ = _slice(row["segment"], row["window_start"])
        cell = Cell(slice_, row["label"], row["prediction"])
        if cell in cells:
            raise SystemExit(f"{path}: a cell stands there twice: {row}")
        cells[cell] = row["count"]
    return cells


def published_fates(path: Path) -> dict[tuple[str, str], int]:
    """Read the output of `latelabel counts --totals --format jsonl`."""
    return {
        (row["topic"], fate): count
        for row in _json_lines(path)
        for fate, count in row.items()
        if fate != "topic" and count
    }


def last_reports(path: Path, kind: str) -> dict[Slice, Any]:
    """Read the report of a kind with the highest revision about each slice."""
    last: dict[Slice, Any] = {}
    for report in _json_lines(path):
        slice_ = _slice(report["segment"], report["window"]["start"])
        if report["kind"] == kind and (slice_ not in last or report["revision"] >= last[slice_]["revision"]):
            last[slice_] = report
    return last


def published_figures(path: Path) -> dict[Slice, dict[str, object]]:
    """Read the last reports on quality, in the shape of `expected_figures`."""
    figures: dict[Slice, dict[str, object]] = {}
    for slice_, report in last_reports(path, "quality").items():
        confusion = report["confusion"]
        figures[slice_] = {
            "status": report["status"],
            "predictions": report["predictions"],
            "labelled": report["labelled"],
            "confusion": {
                (label, answer): count
                for label, row in zip(confusion["classes"], confusion["counts"], strict=True)
                for answer, count in zip(confusion["classes"], row, strict=True)
                if count
            },
            **{name: report["metrics"][name]["value"] for name in ("accuracy", "precision", "recall", "f1")},
        }
    return figures


def published_service(path: Path) -> dict[Slice, dict[str, object]]:
    """Read the last reports on stability, in the shape of `expected_service`."""
    rates = ("error_rate", "timeout_rate", "throughput_per_second")
    return {
        slice_: {name: report[name] for name in ("status", "predictions", "failed")}
        | {name: report["metrics"][name]["value"] for name in rates}
        for slice_, report in last_reports(path, "stability").items()
    }


def published_signals(path: Path) -> dict[Slice, dict[str, object]]:
    """Read the last reports on signals, in the shape of `expected_signals`."""
    return {
        slice_: {
            "status": report["status"],
            **{f"{name} values": report["values"][name] for name in SIGNALS},
            **{
                f"{name} {figure}": report["metrics"][f"signal.{name}.{figure}"]["value"]
                for name in SIGNALS
                for figure in ("undefined_share", "mean", "std")
            },
        }
        for slice_, report in last_reports(path, "signals").items()
    }


def _equal(expected: object, actual: object) -> bool:
    if isinstance(expected, float) and isinstance(actual, int | float):
        return math.isclose(expected, actual, rel_tol=0.0, abs_tol=TOLERANCE)
    return expected == actual


def compare(what: str, expected: Mapping[Any, object], actual: Mapping[Any, object]) -> bool:
    """Print how many of two mappings' entries agree, and the first that do not; true if all do."""
    keys = sorted({*expected, *actual}, key=str)
    wrong = [key for key in keys if not _equal(expected.get(key), actual.get(key))]
    for key in wrong[:SHOWN]:
        print(f"  DIFFERENT {key}: recount {expected.get(key)}, monitor {actual.get(key)}")
    if len(wrong) > SHOWN:
        print(f"  … and {len(wrong) - SHOWN:,} more")
    print(f"  {what}: {len(keys):,} compared, {len(keys) - len(wrong):,} equal")
    return bool(keys) and not wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(description="Recount the demo with scikit-learn.")
    for name in ("flights", "predictions", "counts", "totals", "reports"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args(arguments)
    tallies = tally(options.flights, options.predictions)
    same_cells = compare("cells", expected_cells(tallies), published_cells(options.counts))
    same_fates = compare("fates", expected_fates(tallies), published_fates(options.totals))
    same_figures = compare(
        "figures of the final reports",
        _flat({key: expected_figures(found) for key, found in tallies.items()}),
        _flat(published_figures(options.reports)),
    )
    same_service = compare(
        "figures of requests and failures",
        _flat({key: expected_service(found) for key, found in tallies.items()}),
        _flat(published_service(options.reports)),
    )
    same_signals = compare(
        "figures of the model's signals",
        _flat(expected_signals(options.predictions)),
        _flat(published_signals(options.reports)),
    )
    return 0 if same_cells and same_fates and same_figures and same_service and same_signals else 1


def _flat(figures: Mapping[Slice, Mapping[str, object]]) -> dict[tuple[Slice, str], object]:
    return {(key, name): value for key, named in figures.items() for name, value in named.items()}


if __name__ == "__main__":
    # The inputs are small and well-formed; checking each of them costs scikit-learn more than counting.
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    sys.exit(main())
