"""Predictions and their late labels, drawn from one seed, written to Kafka, and counted without what is judged.

Unless its shape says otherwise, a log is W1: a prediction each 3.6 ms (a million in an hour) of four models and five
classes, ids that are UUIDs; 5 % of the predictions never get a label, 2 % of the labels come twice, 0.5 % before
their prediction. A label comes some 20,000 records after its prediction.

`recount` parses the very bytes that are written and counts with dictionaries: it imports nothing of what it judges.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from confluent_kafka import Producer

from tests.bench.errors import BenchError

__all__ = ["Cell", "Record", "Recount", "Shape", "backlog", "finish", "producer", "recount", "write"]

START_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
NEVER_LABELLED, REPEATED, EARLY = 0.05, 0.02, 0.005
EARLY_BY_RECORDS = 2_000
REPEATED_AFTER_RECORDS = 5_000
RIGHT = 0.7
FLUSH_SECONDS = 120.0

Cell = tuple[str, str, str, str | None, str]
"""Model, segment as JSON, minute, label (None: none came) and predicted class."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a log holds.

    Args:
        predictions: how many.
        bare: without score, segment, features and latency.
        segment_values: how many regions there are.
        hot_share: of the predictions, for the first model; None: all models have as many.
        sequential_ids: counted up, in place of UUIDs.
        label_after_records: least and most predictions between one and its label; None: no label ever comes.
        start_ms: event time of the first.
        microseconds_apart: event time between two predictions.
    """

    predictions: int
    bare: bool = False
    models: int = 4
    classes: int = 5
    segment_values: int = 3
    hot_share: float | None = None
    sequential_ids: bool = False
    label_after_records: tuple[int, int] | None = (10_000, 30_000)
    start_ms: int = START_MS
    microseconds_apart: int = 3_600
    seed: int = 7

    def time_ms(self, position: int) -> int:
        """Event time of what is written at a position, a number of predictions before it."""
        return self.start_ms + position * self.microseconds_apart // 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """Of the predictions topic, or else of the labels topic."""

    is_prediction: bool
    key: str
    value: bytes
    time_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Recount:
    """What a log must end in: its cells, how many records it has, and how many of its predictions have a label."""

    cells: Counter[Cell]
    records: int
    pairs: int


@functools.lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _text(time_ms: int) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


def _labels(rng: random.Random, shape: Shape, predicted: Sequence[int]) -> list[tuple[int, int, int]]:
    """When each label is written (as a number of predictions before it), for which prediction, and its class."""
    if shape.label_after_records is None:
        return []
    least, most = shape.label_after_records
    written = []
    for index, class_ in enumerate(predicted):
        if rng.random() < NEVER_LABELLED:
            continue
        truth = class_ if rng.random() < RIGHT else rng.randrange(shape.classes)
        is_early = rng.random() < EARLY
        by = rng.randrange(1, EARLY_BY_RECORDS) if is_early else -rng.randrange(least, most + 1)
        at = max(0, index - by)
        written.append((at, index, truth))
        if rng.random() < REPEATED:
            written.append((at + rng.randrange(1, REPEATED_AFTER_RECORDS), index, truth))
    return sorted(written)


def _model(rng: random.Random, shape: Shape) -> int:
    if shape.hot_share is not None and rng.random() < shape.hot_share:
        return 0
    return rng.randrange(shape.models)


def _prediction(rng: random.Random, shape: Shape, request_id: str, class_: int, time_ms: int) -> bytes:
    value = (
        f'{{"request_id": "{request_id}", "model": "m{_model(rng, shape)}", "model_version": "1", '
        f'"event_time": "{_text(time_ms)}", "prediction": "c{class_}"'
    )
    if not shape.bare:
        value += (
            f', "score": {rng.random():.4f}, "segment": {{"region": "r{rng.randrange(shape.segment_values)}"}}, '
            f'"features": {{"f1": {rng.random():.6f}, "f2": {rng.random():.6f}, "f3": {rng.random():.6f}}}, '
            f'"latency_ms": {rng.random() * 50:.2f}'
        )
    return (value + "}").encode()


def backlog(shape: Shape) -> Iterator[Record]:
    """All records in the order in which they are written; after the last prediction only labels are left."""
    rng = random.Random(shape.seed)
    count = shape.predictions
    if shape.sequential_ids:
        ids = [f"request-{number:09d}" for number in range(count)]
    else:
        ids = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(count)]
    predicted = [rng.randrange(shape.classes) for _ in range(count)]
    labels = iter(_labels(rng, shape, predicted))
    label = next(labels, None)
    first: dict[int, bytes] = {}
    position = 0
    while position < count or label is not None:
        time_ms = shape.time_ms(position)
        while label is not None and label[0] <= position:
            _, index, truth = label
            if index not in first:
                first[index] = (
                    f'{{"request_id": "{ids[index]}", "label": "c{truth}", "event_time": "{_text(time_ms)}", '
                    '"source": "review"}'
                ).encode()
            yield Record(False, ids[index], first[index], time_ms)
            label = next(labels, None)
        if position < count:
            yield Record(
                True, ids[position], _prediction(rng, shape, ids[position], predicted[position], time_ms), time_ms
            )
        position += 1


def recount(shape: Shape) -> Recount:
    """Count with dictionaries."""
    said: dict[str, tuple[tuple[tuple[str, str, str], ...], str]] = {}
    truth: dict[str, str] = {}
    cells: Counter[Cell] = Counter()
    records = 0
    for record in backlog(shape):
        row = json.loads(record.value)
        records += 1
        if not record.is_prediction:
            truth[row["request_id"]] = row["label"]
            continue
        slices = [{}, *([] if shape.bare else [row["segment"]])]
        places = tuple((row["model"], json.dumps(slice_), row["event_time"][:16]) for slice_ in slices)
        if shape.label_after_records is None:
            cells.update((*place, None, row["prediction"]) for place in places)
        else:
            said[row["request_id"]] = places, row["prediction"]
    for request_id, (places, prediction) in said.items():
        label = truth.get(request_id)
        cells.update((*place, label, prediction) for place in places)
    return Recount(cells, records, len(said.keys() & truth.keys()))


def producer(brokers: str, *, linger_ms: int, failures: list[object]) -> Producer:
    """A producer that keeps what could not be delivered."""
    return Producer(
        {
            "bootstrap.servers": brokers,
            "linger.ms": linger_ms,
            "batch.size": 262_144,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 400_000,
            "log_level": 0,
            "on_delivery": lambda error, _: failures.append(error) if error is not None else None,
        }
    )


def write(records: Iterable[Record], *, brokers: str, topics: tuple[str, str]) -> None:
    """Write the records to (labels, predictions), keyed by request id.

    Raises:
        BenchError: a record was not delivered.
    """
    failed: list[object] = []
    sender = producer(brokers, linger_ms=50, failures=failed)
    for count, record in enumerate(records):
        while True:
            try:
                sender.produce(topics[record.is_prediction], record.value, record.key, timestamp=record.time_ms)
                break
            except BufferError:
                sender.poll(0.1)
        if count % 2000 == 0:
            sender.poll(0)
    finish(sender, failed)


def finish(sender: Producer, failed: Sequence[object]) -> None:
    """Wait until all is delivered. Raises BenchError if something is not."""
    if sender.flush(FLUSH_SECONDS) or failed:
        raise BenchError(f"{len(failed) or 'some'} records were not delivered: {failed[:1]}")
