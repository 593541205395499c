"""What stands on a topic of one partition."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition

from tests.support.services import unique_name

__all__ = ["read_topic"]


def read_topic(brokers: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values, as far as the topic is written now."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": unique_name("reader")})
    start = TopicPartition(topic, 0, 0)
    _, end = consumer.get_watermark_offsets(start, timeout=60)
    consumer.assign([start])
    messages: list[tuple[bytes | None, bytes | None]] = []
    while len(messages) < end:
        message = consumer.poll(60)
        assert message is not None
        messages.append((message.key(), message.value()))
    consumer.close()
    return messages
