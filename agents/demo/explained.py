"""What the explainer published while the flights were replayed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec

from agents.demo.classifier import NEGATIVE
from agents.kafka_consumer import Consumer
from schemas.explain_request import WhyAsked
from schemas.explanation import Explanation

__all__ = ["Explained", "read_explained", "surest_miss"]

POLL_MS = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Explained:
    """How many predictions were explained, how many of those were wrong, and the miss that the model was surest of."""

    count: int
    misses: int
    surest: Explanation | None


def surest_miss(explanations: Sequence[Explanation]) -> Explained:
    """Sum up: the miss is a flight that was said to be on time and came late."""
    good = [each for each in explanations if each.failure is None]
    wrong = [each for each in good if each.reason is WhyAsked.WRONG]
    missed = [each for each in wrong if each.predicted == NEGATIVE]
    return Explained(len(good), len(wrong), max(missed, key=lambda each: each.answer or 0.0, default=None))


async def read_explained(*, brokers: str, topic: str) -> Explained:
    """Read the topic as far as it is written now."""
    decode = msgspec.json.Decoder(Explanation).decode
    consumer = Consumer(topic, bootstrap_servers=brokers, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        found: list[Explanation] = []
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            found += [decode(record.value) for records in fetched.values() for record in records]
    finally:
        await consumer.stop()
    return surest_miss(found)
