"""Requests as they come: explainers are members of one group and share the partitions.

Positions are committed every few seconds, so a crash may have the last requests explained again, with the same content.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiokafka.errors import KafkaError

from agents.kafka_connection import connection_options, kafka_failure, start_consumer
from agents.kafka_consumer import Consumer
from agents.kafka_topics import KafkaTopics
from agents.settings import KafkaSettings

__all__ = ["RequestFeed"]

POLL_MS = 500


class RequestFeed:
    """The topic of requests.

    Args:
        topic: its name on the wire.
    """

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Join the group.

        Raises: TemporaryFailure, PermanentFailure.
        """
        async with KafkaTopics(self._kafka) as topics:
            await topics.partitions(self._topic)
        consumer = Consumer(
            self._topic,
            **connection_options(self._kafka),
            group_id=f"{self._kafka.group}-explainer",
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        await start_consumer(consumer, self._kafka.address)
        self._consumer = consumer

    async def stop(self) -> None:
        """Leave the group."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def values(self) -> AsyncIterator[list[bytes | None]]:
        """Values as they come, for ever.

        Raises: PermanentFailure if reading is no longer allowed.
        """
        assert self._consumer is not None
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            except KafkaError as error:
                raise kafka_failure(error, self._kafka.address) from error
            yield [record.value for records in fetched.values() for record in records]
