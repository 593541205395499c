"""Bytewax: two Kafka inputs, its own join, a stateful count. A crash loses everything."""

from __future__ import annotations

import os
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from tests.bench.peers.outcome import write_cells


class Prediction(msgspec.Struct, gc=False):
    """What a cell needs."""

    request_id: str
    model: str
    event_time: str
    prediction: str


class Label(msgspec.Struct, gc=False):
    """As `Prediction`."""

    request_id: str
    label: str


read_prediction, read_label = msgspec.json.Decoder(Prediction).decode, msgspec.json.Decoder(Label).decode


def prediction(message: Any) -> tuple[str, str]:
    """By request id."""
    row = read_prediction(message.value)
    return row.request_id, f"{row.model}|{row.event_time[:16]}|{row.prediction}"


def label(message: Any) -> tuple[str, str]:
    """By request id."""
    row = read_label(message.value)
    return row.request_id, row.label


class Count(op.StatefulBatchLogic):  # type: ignore[misc]  # a base without types
    """Of one cell, told once a batch."""

    def __init__(self, count: int) -> None:
        self.count = count

    def on_batch(self, values: Any) -> Any:
        """Count them."""
        self.count += len(values)
        return [self.count], op.StatefulBatchLogic.RETAIN

    def snapshot(self) -> int:
        """What recovery would keep."""
        return self.count


class Cells(StatelessSinkPartition):  # type: ignore[misc]  # a base without types
    """The newest counts; told at the end of the topics."""

    def __init__(self) -> None:
        self.cells: dict[str, int] = {}

    def write_batch(self, items: Any) -> None:
        """Remember them."""
        self.cells.update(items)

    def close(self) -> None:
        """Tell them."""
        write_cells(self.cells)


class CellsSink(DynamicSink):  # type: ignore[misc]  # a base without types
    """One for each worker; there is one."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Cells:
        """As Bytewax wants it."""
        return Cells()


def source(role: str) -> KafkaSource:
    """A topic to its end."""
    return KafkaSource([os.environ["KAFKA_BROKER"]], [os.environ[role]], tail=False)


flow = Dataflow("confusion")
predictions = op.map("read_prediction", op.input("predictions", flow, source("PREDICTIONS_TOPIC")), prediction)
labels = op.map("read_label", op.input("labels", flow, source("LABELS_TOPIC")), label)
# The first of each side counts; a repeated label then waits for a prediction that does not come.
joined = op.join("join", predictions, labels, insert_mode="first", emit_mode="complete")
keyed = op.map("cell", joined, lambda item: (f"{item[1][0]}|{item[1][1]}", None))
op.output("out", op.stateful_batch("count", keyed, lambda state: Count(state or 0)), CellsSink())
