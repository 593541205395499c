"""The least that a Python program can do: aiokafka's `getmany`, msgspec, dictionaries. A crash loses everything."""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.bench.peers.outcome import write_cells


class Prediction(msgspec.Struct, gc=False):
    """The fields that a cell needs."""

    request_id: str
    model: str
    event_time: str
    prediction: str


class Label(msgspec.Struct, gc=False):
    """As `Prediction`."""

    request_id: str
    label: str


async def main() -> None:
    """Read both topics to their ends."""
    predictions_topic, labels_topic = os.environ["PREDICTIONS_TOPIC"], os.environ["LABELS_TOPIC"]
    consumer = AIOKafkaConsumer(
        predictions_topic,
        labels_topic,
        bootstrap_servers=os.environ["KAFKA_BROKER"],
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 2**20,
        check_crcs=False,
    )
    await consumer.start()
    ends = await consumer.end_offsets(list(consumer.assignment()))
    unread: set[TopicPartition] = {partition for partition, end in ends.items() if end}
    read_prediction, read_label = msgspec.json.Decoder(Prediction).decode, msgspec.json.Decoder(Label).decode
    waiting: dict[str, tuple[str, str, str]] = {}
    early: dict[str, str] = {}
    labelled: set[str] = set()
    cells: Counter[tuple[str, ...]] = Counter()
    while unread:
        for partition, messages in (await consumer.getmany(timeout_ms=1_000, max_records=20_000)).items():
            if partition.topic == predictions_topic:
                for message in messages:
                    prediction = read_prediction(message.value)
                    cell = prediction.model, prediction.event_time[:16], prediction.prediction
                    held = early.pop(prediction.request_id, None)
                    if held is None:
                        waiting[prediction.request_id] = cell
                    else:
                        cells[(*cell, held)] += 1
                        labelled.add(prediction.request_id)
            else:
                for message in messages:
                    label = read_label(message.value)
                    found = waiting.pop(label.request_id, None)
                    if found is not None:
                        cells[(*found, label.label)] += 1
                        labelled.add(label.request_id)
                    elif label.request_id not in labelled:
                        early.setdefault(label.request_id, label.label)
            if messages[-1].offset + 1 >= ends[partition]:
                unread.discard(partition)
    write_cells({"|".join(cell): count for cell, count in cells.items()})
    await consumer.stop()


asyncio.run(main())
