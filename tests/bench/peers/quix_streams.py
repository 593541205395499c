"""Quix Streams: both topics concatenated, one stateful function that joins, then a count for each cell.

State is in RocksDB with changelog topics, at least once: after a crash counts may come out double. This form costs
half of what Quix' own `join_interval` does.
"""

from __future__ import annotations

import os
from typing import Any

from quixstreams import Application, State
from quixstreams.sinks import BaseSink

from tests.bench.peers.outcome import write_cells


class Cells(BaseSink):  # type: ignore[misc]  # a base without types
    """Keeps the newest count of each cell; every checkpoint flushes it."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: dict[str, int] = {}

    def add(self, value: Any, key: Any, timestamp: Any, headers: Any, topic: Any, partition: Any, offset: Any) -> None:
        """One count."""
        cell, count = value
        self.cells[cell] = count

    def flush(self) -> None:
        """Tell all counts."""
        write_cells(self.cells)


def place(value: dict[str, Any]) -> dict[str, str]:
    """What a prediction says, as a cell without its label."""
    return {"place": f"{value['model']}|{value['event_time'][:16]}|{value['prediction']}"}


def join(value: dict[str, Any], state: State) -> str | None:
    """The state of a request: its place or its label, whichever came first; empty once both have come."""
    side = "place" if "place" in value else "label"
    held = state.get("held")
    if held is None:
        state.set("held", [side, value[side]])
    elif held and held[0] != side:
        state.set("held", [])
        return f"{value['place']}|{held[1]}" if side == "place" else f"{held[1]}|{value['label']}"
    return None


def count(cell: str, state: State) -> tuple[str, int]:
    """One more in a cell."""
    number = state.get("count", 0) + 1
    state.set("count", number)
    return cell, number


app = Application(
    broker_address=os.environ["KAFKA_BROKER"],
    consumer_group=os.environ["GROUP_ID"],
    auto_offset_reset="earliest",
    state_dir=os.environ["STATE_FOLDER"],
    loglevel="WARNING",
)
predictions = app.dataframe(app.topic(os.environ["PREDICTIONS_TOPIC"], value_deserializer="json")).apply(place)
labels = app.dataframe(app.topic(os.environ["LABELS_TOPIC"], value_deserializer="json"))
pairs = predictions.concat(labels).apply(join, stateful=True).filter(bool)
pairs.group_by(lambda cell: cell, name="cell").apply(count, stateful=True).sink(Cells())
app.run(timeout=float(os.environ["IDLE_SECONDS"]))
