"""W1: a million predictions of four models and their late labels, waiting in Kafka.

Five classes, sixty one-minute windows, ids that are UUIDs; 5 % of the predictions never get a label, 2 % of the
labels come twice, 0.5 % before their prediction. A label comes some 20,000 records after its prediction.

One seed makes all records. `recount` parses the very bytes that are written and counts with dictionaries: it
imports nothing of what it judges.
"""

from __future__ import annotations

import dataclasses
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from confluent_kafka import Producer

__all__ = ["Cell", "Record", "backlog", "recount", "write"]

START_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
SPAN_MS = 60 * 60_000
MODELS = 4
CLASSES = 5
REGIONS = ("eu", "us", "ap")
LABEL_AFTER_RECORDS = (10_000, 30_000)
NEVER_LABELLED, REPEATED, EARLY = 0.05, 0.02, 0.005
EARLY_BY_RECORDS = 2_000
REPEATED_AFTER_RECORDS = 5_000
RIGHT = 0.7
FLUSH_SECONDS = 120.0

Cell = tuple[str, str, str, str | None, str]
"""Model, segment as JSON, minute, label (None: none came) and predicted class."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """Of the predictions topic, or else of the labels topic."""

    is_prediction: bool
    key: str
    value: bytes
    time_ms: int


def _text(offset_ms: int) -> str:
    hours, rest = divmod(offset_ms, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    seconds, milliseconds = divmod(rest, 1000)
    return f"2026-01-01T{hours:02d}:{minutes:02d}:{seconds:02d}.{milliseconds:03d}Z"


def _labels(rng: random.Random, predicted: Sequence[int]) -> list[tuple[int, int, int]]:
    """When each label is written (as a number of predictions before it), for which prediction, and its class."""
    count = len(predicted)
    scale = min(1.0, count / 100_000)  # so that labels of few records come within the hour too
    least, most = (int(after * scale) + 1 for after in LABEL_AFTER_RECORDS)
    early = int(EARLY_BY_RECORDS * scale) + 2
    written = []
    for index, class_ in enumerate(predicted):
        if rng.random() < NEVER_LABELLED:
            continue
        truth = class_ if rng.random() < RIGHT else rng.randrange(CLASSES)
        is_early = rng.random() < EARLY
        at = max(0, index - rng.randrange(1, early)) if is_early else index + rng.randrange(least, most + 1)
        written.append((at, index, truth))
        if rng.random() < REPEATED:
            written.append((at + rng.randrange(1, REPEATED_AFTER_RECORDS), index, truth))
    return sorted(written)


def backlog(predictions: int, *, seed: int = 7, bare: bool = False) -> Iterator[Record]:
    """All records in the order in which they are written; after the hour only labels are left.

    Args:
        bare: without score, segment, features and latency.
    """
    rng = random.Random(seed)
    ids = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(predictions)]
    predicted = [rng.randrange(CLASSES) for _ in range(predictions)]
    labels = iter(_labels(rng, predicted))
    label = next(labels, None)
    first: dict[int, bytes] = {}
    position = 0
    while position < predictions or label is not None:
        now_ms = position * SPAN_MS // predictions
        while label is not None and label[0] <= position:
            _, index, truth = label
            if index not in first:
                first[index] = (
                    f'{{"request_id": "{ids[index]}", "label": "c{truth}", "event_time": "{_text(now_ms)}", '
                    '"source": "review"}'
                ).encode()
            yield Record(False, ids[index], first[index], START_MS + now_ms)
            label = next(labels, None)
        if position < predictions:
            value = (
                f'{{"request_id": "{ids[position]}", "model": "m{rng.randrange(MODELS)}", "model_version": "1", '
                f'"event_time": "{_text(now_ms)}", "prediction": "c{predicted[position]}"'
            )
            if not bare:
                value += (
                    f', "score": {rng.random():.4f}, "segment": {{"region": "{REGIONS[rng.randrange(3)]}"}}, '
                    f'"features": {{"f1": {rng.random():.6f}, "f2": {rng.random():.6f}, "f3": {rng.random():.6f}}}, '
                    f'"latency_ms": {rng.random() * 50:.2f}'
                )
            yield Record(True, ids[position], (value + "}").encode(), START_MS + now_ms)
        position += 1


def recount(predictions: int, *, seed: int = 7, bare: bool = False) -> tuple[Counter[Cell], Counter[bool]]:
    """The exact cells, and how many records each topic holds (True: predictions)."""
    said: dict[str, tuple[list[tuple[str, str, str]], str]] = {}
    truth: dict[str, str] = {}
    written: Counter[bool] = Counter()
    for record in backlog(predictions, seed=seed, bare=bare):
        row = json.loads(record.value)
        written[record.is_prediction] += 1
        if record.is_prediction:
            slices = [{}, *([] if bare else [row["segment"]])]
            minute = row["event_time"][:16]
            places = [(row["model"], json.dumps(slice_), minute) for slice_ in slices]
            said[row["request_id"]] = places, row["prediction"]
        else:
            truth[row["request_id"]] = row["label"]
    cells: Counter[Cell] = Counter()
    for request_id, (places, prediction) in said.items():
        label = truth.get(request_id)
        cells.update((*place, label, prediction) for place in places)
    return cells, written


def write(predictions: int, *, brokers: str, topics: tuple[str, str], seed: int = 7, bare: bool = False) -> None:
    """Write all records to (labels, predictions), keyed by request id.

    Raises:
        RuntimeError: a record was not delivered.
    """
    failed: list[object] = []
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "linger.ms": 50,
            "batch.size": 262_144,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 400_000,
            "log_level": 0,
            "on_delivery": lambda error, _: failed.append(error) if error is not None else None,
        }
    )
    for count, record in enumerate(backlog(predictions, seed=seed, bare=bare)):
        while True:
            try:
                producer.produce(topics[record.is_prediction], record.value, record.key, timestamp=record.time_ms)
                break
            except BufferError:
                producer.poll(0.1)
        if count % 2000 == 0:
            producer.poll(0)
    if producer.flush(FLUSH_SECONDS) or failed:
        raise RuntimeError(f"{len(failed) or 'some'} records were not delivered: {failed[:1]}")
