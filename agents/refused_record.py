"""From a refused record to the message that keeps it among the dead letters."""

from __future__ import annotations

from agents.record_batch import RecordBatch, UnreadableBatch
from schemas.dead_letter import dead_letter
from schemas.errors import Reason, Rejected
from streams.ports import OutgoingMessage

__all__ = ["letter_message", "refusal"]


def refusal(value: bytes | None, rejected: Rejected) -> Rejected:
    """Why a value is refused: as the decoder says, unless it stands for a whole batch."""
    if isinstance(value, UnreadableBatch):
        return Rejected(Reason.UNREADABLE_BATCH, value.decode("utf-8", "replace"))
    return rejected


def letter_message(batch: RecordBatch, index: int, rejected: Rejected, *, topic: str, now_ms: int) -> OutgoingMessage:
    """The dead letter of one record of a batch, for the topic of dead letters."""
    envelope, value = batch.envelope(index), batch.values[index]
    letter = dead_letter(
        key=envelope.key,
        value=None if isinstance(value, UnreadableBatch) else value,
        headers=envelope.headers,
        reason=rejected.reason,
        message=rejected.message,
        topic=batch.topic,
        partition=batch.partition,
        offset=batch.offset_of(index),
        timestamp_ms=batch.timestamps_ms[index],
        now_ms=now_ms,
    )
    return OutgoingMessage(
        topic=topic,
        key=letter.key,
        value=letter.value,
        headers=letter.headers,  # type: ignore[arg-type]  # Kafka knows headers without a value
        timestamp_ms=letter.timestamp_ms,
    )
