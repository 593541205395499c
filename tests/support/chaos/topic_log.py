"""A whole topic, read back from Kafka: what was written, as everybody can see it."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.support.topics import when_led

__all__ = ["Entry", "read_topic"]

READ_SECONDS = 300.0
AT_ONCE = 5_000


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One record of a topic. `headers` keep their order; `timestamp_ms` is Kafka's."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    def header(self, name: str) -> str:
        """The text of a header that is there."""
        return next(value or b"" for key, value in self.headers if key == name).decode()


def read_topic(brokers: str, topic: str) -> list[Entry]:
    """Return every record that stands on the topic now, in the order of each partition."""
    consumer = Consumer(
        {"bootstrap.servers": brokers, "group.id": "unused", "enable.auto.commit": False, "log_level": 0}
    )
    try:
        return _read(consumer, topic)
    finally:
        consumer.close()


def _read(consumer: Consumer, topic: str) -> list[Entry]:
    partitions = consumer.list_topics(topic, timeout=READ_SECONDS).topics[topic].partitions
    wanted: dict[int, int] = {}
    starts = []
    for partition in partitions:
        place = TopicPartition(topic, partition)
        ask = functools.partial(consumer.get_watermark_offsets, place, timeout=READ_SECONDS)
        low, high = when_led(ask, what=f"{topic}/{partition}")
        if high > low:
            wanted[partition] = high
            starts.append(TopicPartition(topic, partition, low))
    consumer.assign(starts)
    entries: list[Entry] = []
    deadline = time.monotonic() + READ_SECONDS
    while wanted:
        assert time.monotonic() < deadline, f"could not read {topic} within {READ_SECONDS:g} s; missing {wanted}"
        for message in consumer.consume(AT_ONCE, timeout=0.2):
            if (error := message.error()) is not None:
                assert error.retriable() or error.code() == KafkaError._TRANSPORT, error
                continue
            partition, offset = int(message.partition() or 0), int(message.offset() or 0)
            headers: Any = message.headers() or ()
            entries.append(
                Entry(partition, offset, message.timestamp()[1], _raw(message.key()), _raw(message.value()), headers)
            )
            if offset + 1 >= wanted.get(partition, 1 << 62):
                del wanted[partition]
    return entries


def _raw(content: str | bytes | None) -> bytes | None:
    return content.encode() if isinstance(content, str) else content
