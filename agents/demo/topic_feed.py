"""Reads an output topic while it is written, from its beginning, outside any consumer group."""

from __future__ import annotations

from collections.abc import Callable

from agents.kafka_consumer import Consumer

__all__ = ["TopicFeed"]

POLL_MS = 100


class TopicFeed:
    """Hands key and value of every record to `receive`."""

    def __init__(self, *, brokers: str, topic: str, receive: Callable[[bytes, bytes], None]) -> None:
        # Without a group it reads all partitions, and leaves no trace.
        self._consumer = Consumer(
            topic,
            bootstrap_servers=brokers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            enable_auto_commit=False,
        )
        self._receive = receive

    async def __aenter__(self) -> TopicFeed:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def follow(self) -> None:
        """Read for ever."""
        while True:
            await self._poll()

    async def drain(self) -> None:
        """Read what the topic holds now, and return."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        while True:
            positions = {partition: await self._consumer.position(partition) for partition in ends}
            if all(positions[partition] >= end for partition, end in ends.items()):
                return
            await self._poll()

    async def _poll(self) -> None:
        fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
        for records in fetched.values():
            for record in records:
                if record.value is not None:
                    self._receive(record.key, record.value)
