"""What stands on a partition of a topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tests.support.services import unique_name
from tests.support.waiting import wait_until

__all__ = ["read_records", "read_topic", "when_led"]

Messages = list[tuple[bytes | None, bytes | None]]
Answer = TypeVar("Answer")

LARGEST = {"fetch.message.max.bytes": 20 << 20, "receive.message.max.bytes": 100 << 20}
# What a broker and its clients say of a partition until they have agreed on who leads it.
NO_LEADER = frozenset(
    {
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


def when_led(ask: Callable[[], Answer], *, what: str) -> Answer:
    """The answer to a question about a topic, asked until every partition that it is about has a leader.

    A broker that has just begun, or had no processor for two seconds, leads nothing for a moment.

    Args:
        ask: may raise a KafkaException that says so.
        what: completes the sentence "waited ... s for ... to have a leader".
    """
    answers: list[Answer] = []

    def is_led() -> bool:
        try:
            answers.append(ask())
        except KafkaException as error:
            if error.args[0].code() not in NO_LEADER:
                raise
        return bool(answers)

    wait_until(is_led, what=f"{what} to have a leader")
    return answers[0]


def read_topic(brokers: str, topic: str) -> Messages:
    """Keys and values of a topic of one partition, as far as it is written now."""
    return [(record.key(), record.value()) for record in read_records(brokers, topic)]


def read_records(brokers: str, topic: str, *, partition: int = 0) -> list[Message[bytes, bytes]]:
    """Whole records of a partition, as far as it is written now, however large they are."""

    def read() -> list[Message[bytes, bytes]]:
        # Each time with a client of its own: one that has heard of no leader may go on believing it.
        consumer = Consumer({"bootstrap.servers": brokers, "group.id": unique_name("reader"), **LARGEST})
        try:
            return _read(consumer, TopicPartition(topic, partition, 0))
        finally:
            consumer.close()

    return when_led(read, what=f"{topic}/{partition}")


def _read(consumer: Consumer, start: TopicPartition) -> list[Message[bytes, bytes]]:
    _, end = consumer.get_watermark_offsets(start, timeout=60)
    consumer.assign([start])
    messages: list[Message[bytes, bytes]] = []
    while len(messages) < end:
        message = consumer.poll(60)
        assert message is not None
        if (error := message.error()) is not None:
            raise KafkaException(error)
        messages.append(message)
    return messages
