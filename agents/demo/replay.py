"""Publishes a timeline to Kafka many times faster than life.

Event times are those of 2013; record timestamps are now, so that retention leaves the records alone. Each
tick sends everything that has become due, as one batch per partition, so that a partition's records stay
in event-time order. If the machine cannot keep up, ticks grow rather than time bending: the order never
changes, only the speed that is reported.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from agents.clock import SystemClock
from agents.demo.timeline import Message, Timeline

__all__ = ["Progress", "publish"]

TICK_SECONDS = 0.05
"""About half a day of flights at the usual speed: often enough to look like a stream."""

MAX_BATCH_BYTES = 256 * 1024
"""Far below the broker's limit of 1 MiB; a batch that is full is sent and another is begun."""


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is: `now` is the event time reached, `speed` event seconds per second."""

    published: int
    total: int
    now: datetime
    speed: float


async def publish(
    timeline: Timeline,
    *,
    brokers: str,
    topics: Mapping[str, str],
    speed: float,
    report: Callable[[Progress], None],
) -> Progress:
    """Send every message of `timeline` and wait until the broker has all of them.

    Args:
        brokers: bootstrap addresses, comma-separated.
        topics: name on the wire of each role.
        speed: event seconds per second; the first message leaves at once.
        report: called after every tick.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers,
        compression_type="lz4",
        enable_idempotence=True,
        max_batch_size=MAX_BATCH_BYTES,
    )
    await producer.start()
    clock = SystemClock()
    try:
        partitions = {role: len(await producer.partitions_for(name)) for role, name in topics.items()}
        started = clock.monotonic_seconds()
        published = 0
        while True:
            elapsed = clock.monotonic_seconds() - started
            reached = min(timeline.start + elapsed * speed, timeline.end)
            published, messages = timeline.messages_until(published, instant=reached)
            await _send(producer, messages, topics=topics, partitions=partitions)
            spent = clock.monotonic_seconds() - started
            progress = Progress(
                published=published,
                total=len(timeline),
                now=datetime.fromtimestamp(reached, tz=UTC),
                speed=(reached - timeline.start) / spent,
            )
            report(progress)
            if published == len(timeline):
                return progress
            await asyncio.sleep(max(0.0, elapsed + TICK_SECONDS - spent))
    finally:
        await producer.stop()


async def _send(
    producer: AIOKafkaProducer,
    messages: list[Message],
    *,
    topics: Mapping[str, str],
    partitions: Mapping[str, int],
) -> None:
    """Send one tick, and return when the broker has acknowledged it."""
    batches: dict[tuple[str, int], list[BatchBuilder]] = collections.defaultdict(list)
    for message in messages:
        partition = zlib.crc32(message.key) % partitions[message.role]
        waiting = batches[topics[message.role], partition]
        if not waiting or not _append(waiting[-1], message):
            waiting.append(producer.create_batch())
            _append(waiting[-1], message)
    acknowledgements = [
        await producer.send_batch(batch, topic, partition=partition)
        for (topic, partition), in_order in batches.items()
        for batch in in_order
    ]
    await asyncio.gather(*acknowledgements)


def _append(batch: BatchBuilder, message: Message) -> bool:
    """Add a message that is timestamped now; false if the batch is full."""
    return batch.append(key=message.key, value=message.value, timestamp=None) is not None
