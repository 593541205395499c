"""Stock Faust as its documentation has it: an agent for each topic, records as classes, plain dictionaries.

Offsets are committed but the dictionaries are lost with the process, so after a crash counts come out short.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import Any

import faust

from tests.bench.peers.outcome import write_cells

app = faust.App(
    os.environ["GROUP_ID"],
    broker=f"kafka://{os.environ['KAFKA_BROKER']}",
    store="memory://",
    datadir=os.environ["STATE_FOLDER"],
    consumer_auto_offset_reset="earliest",
)
waiting: dict[str, str] = {}
early: dict[str, str] = {}
labelled: set[str] = set()
cells: Counter[str] = Counter()
newest: list[float] = []


class Prediction(faust.Record, serializer="json"):
    """What a cell needs."""

    request_id: str
    model: str
    event_time: str
    prediction: str


class Label(faust.Record, serializer="json"):
    """As `Prediction`."""

    request_id: str
    label: str


predictions = app.topic(os.environ["PREDICTIONS_TOPIC"], value_type=Prediction, key_type=bytes, key_serializer="raw")
labels = app.topic(os.environ["LABELS_TOPIC"], value_type=Label, key_type=bytes, key_serializer="raw")


@app.agent(predictions)
async def on_prediction(stream: Any) -> None:
    """Join a prediction."""
    async for event in stream:
        newest[:] = [time.monotonic()]
        cell = f"{event.model}|{event.event_time[:16]}|{event.prediction}"
        held = early.pop(event.request_id, None)
        if held is None:
            waiting[event.request_id] = cell
        else:
            cells[f"{cell}|{held}"] += 1
            labelled.add(event.request_id)


@app.agent(labels)
async def on_label(stream: Any) -> None:
    """Join a label."""
    async for event in stream:
        newest[:] = [time.monotonic()]
        found = waiting.pop(event.request_id, None)
        if found is not None:
            cells[f"{found}|{event.label}"] += 1
            labelled.add(event.request_id)
        elif event.request_id not in labelled:
            early.setdefault(event.request_id, event.label)


@app.timer(1.0)  # type: ignore[untyped-decorator]  # without types
async def stop_when_idle() -> None:
    """A topic has no end for Faust."""
    if newest and time.monotonic() - newest[0] > float(os.environ["IDLE_SECONDS"]):
        newest.clear()
        write_cells(cells)
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    app.main()
