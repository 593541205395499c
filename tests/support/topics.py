"""What stands on a topic of one partition, and what comes to it."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, TopicPartition

from tests.support.services import unique_name

__all__ = ["end_of", "read_topic", "wait_for_keys"]


def end_of(brokers: str, topic: str) -> int:
    """The offset of the next record."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": unique_name("reader")})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    consumer.close()
    return int(end)


def read_topic(brokers: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values, as far as the topic is written now."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": unique_name("reader")})
    start = TopicPartition(topic, 0, 0)
    _, end = consumer.get_watermark_offsets(start, timeout=10)
    consumer.assign([start])
    messages: list[tuple[bytes | None, bytes | None]] = []
    while len(messages) < end:
        message = consumer.poll(10)
        assert message is not None
        messages.append((message.key(), message.value()))
    consumer.close()
    return messages


def wait_for_keys(brokers: str, topic: str, *, start: int, prefix: bytes, count: int, seconds: float) -> None:
    """Return once so many records from the offset `start` on have keys that begin so.

    Raises:
        AssertionError: the time is over.
    """
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": unique_name("reader")})
    consumer.assign([TopicPartition(topic, 0, start)])
    deadline, missing = time.monotonic() + seconds, count
    while missing:
        message = consumer.poll(1)
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {missing} of {count} records on {topic}"
        if message is not None and message.error() is None and (message.key() or b"").startswith(prefix):
            missing -= 1
    consumer.close()
