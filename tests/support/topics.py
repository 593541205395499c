"""What stands on a topic of one partition."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.support.services import unique_name
from tests.support.waiting import wait_until

__all__ = ["has_no_leader", "read_topic"]

Messages = list[tuple[bytes | None, bytes | None]]

# What a broker and its clients say of a partition until they have agreed on who leads it.
NO_LEADER = frozenset(
    {
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


def has_no_leader(error: KafkaException) -> bool:
    """Whether a partition is led by nobody for a moment: its broker has just begun, or had no processor for seconds."""
    return error.args[0].code() in NO_LEADER


def read_topic(brokers: str, topic: str) -> Messages:
    """Keys and values, as far as the topic is written now."""
    found: list[Messages] = []

    def has_leader() -> bool:
        # Each time with a client of its own: one that has heard of no leader may go on believing it.
        consumer = Consumer({"bootstrap.servers": brokers, "group.id": unique_name("reader")})
        try:
            found.append(_read(consumer, TopicPartition(topic, 0, 0)))
        except KafkaException as error:
            if not has_no_leader(error):
                raise
        finally:
            consumer.close()
        return bool(found)

    wait_until(has_leader, what=f"{topic} to have a leader")
    return found[0]


def _read(consumer: Consumer, start: TopicPartition) -> Messages:
    _, end = consumer.get_watermark_offsets(start, timeout=60)
    consumer.assign([start])
    messages: Messages = []
    while len(messages) < end:
        message = consumer.poll(60)
        assert message is not None
        if (error := message.error()) is not None:
            raise KafkaException(error)
        messages.append((message.key(), message.value()))
    return messages
