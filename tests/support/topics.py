"""What stands on a topic of one partition."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.support.services import unique_name
from tests.support.waiting import wait_until

__all__ = ["read_topic"]


def read_topic(brokers: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values, as far as the topic is written now."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": unique_name("reader")})
    start = TopicPartition(topic, 0, 0)
    ends: list[int] = []
    wait_until(lambda: _ask_for_end(consumer, start, ends), what=f"{topic} to have a leader")
    consumer.assign([start])
    messages: list[tuple[bytes | None, bytes | None]] = []
    while len(messages) < ends[0]:
        message = consumer.poll(60)
        assert message is not None
        messages.append((message.key(), message.value()))
    consumer.close()
    return messages


def _ask_for_end(consumer: Consumer, place: TopicPartition, ends: list[int]) -> bool:
    """Whether it was told: a broker that had no processor for two seconds leads nothing until it is back."""
    try:
        ends.append(consumer.get_watermark_offsets(place, timeout=60)[1])
    except KafkaException as error:
        if error.args[0].code() != KafkaError._UNKNOWN_PARTITION:
            raise
    return bool(ends)
