"""Pathway, streaming: the earliest label of each request, a join, counts. A crash loses everything."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pathway as pw

from tests.bench.peers.outcome import write_cells

cells: dict[str, int] = {}


class Prediction(pw.Schema):  # type: ignore[misc]  # a base without types
    """What a cell needs."""

    request_id: str
    model: str
    event_time: str
    prediction: str


class Label(pw.Schema):  # type: ignore[misc]  # a base without types
    """As `Prediction`."""

    request_id: str
    label: str


def read(role: str, schema: type[Any]) -> Any:
    """A topic from its start."""
    settings = {
        "bootstrap.servers": os.environ["KAFKA_BROKER"],
        "group.id": os.environ["GROUP_ID"],
        "auto.offset.reset": "earliest",
    }
    return pw.io.kafka.read(settings, os.environ[role], schema=schema, format="json", name=role.lower())


def keep(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
    """The newest count of a cell."""
    if is_addition:
        cells[f"{row['model']}|{row['minute']}|{row['prediction']}|{row['label']}"] = row["count"]


def stop_when_idle() -> None:
    """A topic has no end for Pathway: stop when no count has changed for a while."""
    before, since = 0, time.monotonic()
    while True:
        time.sleep(0.5)
        now = sum(cells.values())
        if now != before:
            before, since = now, time.monotonic()
        elif now and time.monotonic() - since > float(os.environ["IDLE_SECONDS"]):
            write_cells(cells)
            os._exit(0)


predictions = read("PREDICTIONS_TOPIC", Prediction)
labels = read("LABELS_TOPIC", Label)
first = labels.groupby(pw.this.request_id).reduce(pw.this.request_id, label=pw.reducers.earliest(pw.this.label))
pairs = predictions.join(first, pw.left.request_id == pw.right.request_id).select(
    model=pw.left.model,
    minute=pw.left.event_time.str.slice(0, 16),
    prediction=pw.left.prediction,
    label=pw.right.label,
)
by_cell = pw.this.model, pw.this.minute, pw.this.prediction, pw.this.label
pw.io.subscribe(pairs.groupby(*by_cell).reduce(*by_cell, count=pw.reducers.count()), on_change=keep)
threading.Thread(target=stop_when_idle, daemon=True).start()
pw.run(monitoring_level=pw.MonitoringLevel.NONE)
