"""Generated traffic on the real Kafka, and what must come of it, counted by code of its own."""

from __future__ import annotations

import collections
import dataclasses
import json
import random
import uuid
from collections.abc import Sequence

from confluent_kafka import Producer

from schemas.times import format_time

__all__ = ["POISON_RECORDS", "Traffic", "draw_traffic", "produce"]

POISON_RECORDS: Sequence[bytes | None] = (None, b"", b"{", b"[1]", b'{"request_id": 7}', b'{"a": "\xff"}')
CLASSES = ("blue", "green", "red")
WINDOW_MS = 300_000

Cell = tuple[str, str, str | None, str]
"""Model, window start, label, prediction."""


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """Records per topic, and the cells of `{}` that they must end in."""

    predictions: list[bytes | None]
    labels: list[bytes | None]
    cells: dict[Cell, int]
    poison: int


def draw_traffic(seed: int, *, count: int, until_ms: int, poison_share: float = 0.01) -> Traffic:
    """Predictions of two models over the hour before `until_ms`, and a label for four in five.

    One in twenty labels is corrected later, one in fifty records is sent twice. Deterministic but for ids.
    """
    rng = random.Random(seed)
    predictions: list[bytes | None] = []
    labels: list[bytes | None] = []
    cells: collections.Counter[Cell] = collections.Counter()
    poison = 0
    for number in range(count):
        at_ms = until_ms - 3_600_000 + number * 3_500_000 // count
        request_id, model, answer = str(uuid.uuid4()), rng.choice(("shop", "fraud")), rng.choice(CLASSES)
        event = {"request_id": request_id, "model": model, "prediction": answer, "event_time": format_time(at_ms)}
        predictions += [json.dumps(event).encode()] * (2 if rng.random() < 0.02 else 1)
        truth = None
        for further in range(rng.choice((0, 1, 1, 1, 1))):
            truth = rng.choice(CLASSES)
            told = {"request_id": request_id, "label": truth, "event_time": format_time(at_ms + 1 + further)}
            labels.append(json.dumps(told).encode())
            if rng.random() < 0.05:
                truth = rng.choice(CLASSES)
                labels.append(json.dumps({**told, "label": truth, "event_time": format_time(at_ms + 9)}).encode())
        cells[model, format_time(at_ms // WINDOW_MS * WINDOW_MS), truth, answer] += 1
        for topic in (predictions, labels):
            if rng.random() < poison_share:
                topic.append(rng.choice(POISON_RECORDS))
                poison += 1
    return Traffic(predictions, labels, dict(cells), poison)


def produce(brokers: str, topic: str, records: Sequence[bytes | None], *, partitions: int) -> None:
    """Write the records, spread over the partitions, and wait until they are acknowledged."""
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 20, "compression.type": "lz4"})
    failures: list[object] = []
    for number, record in enumerate(records):
        while True:
            try:
                producer.produce(
                    topic, record, partition=number % partitions, on_delivery=lambda error, _: failures.append(error)
                )
                break
            except BufferError:
                producer.poll(0.1)
    assert 0 == producer.flush(30)
    assert {None} == {*failures}
