"""Puts dead letters back where they came from, and says what that can still achieve.

A letter goes to its source topic and partition with key, value, headers and Kafka timestamp as the record had
them, so that a record that can be read by now lands in its own window. What is sent twice, because a replay was cut
or is repeated, is counted once: the ledger knows it by its id.

Whether a record comes too late follows from `streams.late_arrival`, with the watermark of its source partition as
the shards have stored it now. Records that are waiting in the log in front of it can only make it later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping

from agents.dead_letter_log import DeadLetterLog, Letter
from agents.settings import Settings
from schemas.codec import read_label, read_prediction
from schemas.dead_letter import without_ours
from schemas.errors import Reason, Rejected
from streams.errors import PermanentFailure
from streams.late_arrival import Prospect, label_prospect, prediction_prospect
from streams.ledger.agreements import Agreements
from streams.ledger.eras import era_at, settled_ms
from streams.ledger.parts import NEVER_MS, Role, Source
from streams.ledger.slicing import watermark_of
from streams.ports import Clock, Ledger, OutgoingMessage, Publisher

__all__ = ["Replay", "ReplayPorts", "Replayed", "highest_times"]

MESSAGES_AT_ONCE = 500
BYTES_AT_ONCE = 4 << 20
LARGE_BYTES = 512 << 10
"""Sent alone, so that a topic that finds it too large refuses nothing else."""

_CARRY_NOTHING = (Reason.TOMBSTONE, Reason.UNREADABLE_BATCH)


@dataclasses.dataclass(slots=True, kw_only=True)
class Replayed:
    """What became of the letters that were asked for.

    `too_late`, `may_miss_labels` and `still_bad` are among the `replayed`; the others were left where they are.
    """

    replayed: int = 0
    too_late: int = 0
    may_miss_labels: int = 0
    still_bad: int = 0
    cut: int = 0
    empty: int = 0
    foreign: int = 0
    refused: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPorts:
    """What a replay works with."""

    log: DeadLetterLog
    publisher: Publisher
    clock: Clock


async def highest_times(ledger: Ledger) -> Mapping[Source, int]:
    """The largest event time that was read in each partition; nothing without a ledger.

    Raises: TemporaryFailure if the ledger does not answer.
    """
    highest: dict[Source, int] = {}
    for shard in range(ledger.shards):
        state = await ledger.state(shard)
        for source, at in () if state is None else state.sources.items():
            highest[source] = max(highest.get(source, NEVER_MS), at.high_ms)
    return highest


class Replay:
    """One call of `latelabel dead-letters replay`.

    Args:
        highest_ms: from `highest_times`.
        agreed: how models are counted.
        is_dry: only say what would be done.
    """

    def __init__(
        self,
        settings: Settings,
        ports: ReplayPorts,
        *,
        highest_ms: Mapping[Source, int],
        agreed: Agreements,
        is_dry: bool = False,
    ) -> None:
        self.result = Replayed()
        self.first_refusal: str | None = None
        self._settings = settings
        self._ports = ports
        self._highest_ms = highest_ms
        self._agreed = agreed
        self._is_dry = is_dry
        self._roles = {settings.kafka.topic(role): role for role in Role}
        self._partitions: dict[str, frozenset[int]] = {}

    async def run(self, is_wanted: Callable[[Letter], bool]) -> Replayed:
        """Replay the letters that are wanted.

        Raises:
            TemporaryFailure: a service does not answer; some may have been sent, and all can be sent again.
            PermanentFailure: writing to a topic is not allowed.
        """
        async for messages in self._portions(is_wanted):
            await self._send(messages)
        return self.result

    async def _portions(self, is_wanted: Callable[[Letter], bool]) -> AsyncIterator[list[OutgoingMessage]]:
        portion: list[OutgoingMessage] = []
        portion_bytes = 0
        async for letter in self._ports.log.letters():
            message = await self._message(letter) if is_wanted(letter) else None
            if message is None:
                continue
            size_bytes = len(message.value or b"") + len(message.key or b"")
            if size_bytes > LARGE_BYTES:
                yield [message]
                continue
            portion.append(message)
            portion_bytes += size_bytes
            if len(portion) == MESSAGES_AT_ONCE or portion_bytes > BYTES_AT_ONCE:
                yield portion
                portion, portion_bytes = [], 0
        if portion:
            yield portion

    async def _message(self, letter: Letter) -> OutgoingMessage | None:
        origin = letter.origin
        role = self._roles.get(origin.topic)
        if role is None:
            self.result.foreign += 1
            return None
        if origin.sha256 is not None:
            self.result.cut += 1
            return None
        if letter.value is None or origin.reason in _CARRY_NOTHING:
            self.result.empty += 1
            return None
        timestamp_ms = self._ports.clock.now_ms() if origin.timestamp_ms is None else origin.timestamp_ms
        self._judge(letter.value, Source(role, origin.partition), timestamp_ms)
        if origin.topic not in self._partitions:
            self._partitions[origin.topic] = await self._ports.log.partitions(origin.topic)
        return OutgoingMessage(
            topic=origin.topic,
            partition=origin.partition if origin.partition in self._partitions[origin.topic] else None,
            key=letter.key,
            value=letter.value,
            headers=without_ours(letter.headers),  # type: ignore[arg-type]  # Kafka knows headers without a value
            timestamp_ms=timestamp_ms,
        )

    def _judge(self, value: bytes, source: Source, timestamp_ms: int) -> None:
        high_ms = self._highest_ms.get(source, NEVER_MS)
        watermark_ms = watermark_of(high_ms, lateness_ms=self._settings.allowed_lateness_ms)
        try:
            prospect = self._prospect(value, source.role, watermark_ms=watermark_ms, timestamp_ms=timestamp_ms)
        except Rejected:
            self.result.still_bad += 1
            return
        self.result.too_late += prospect is Prospect.TOO_LATE
        self.result.may_miss_labels += prospect is Prospect.MAY_MISS_LABELS

    def _prospect(self, value: bytes, role: Role, *, watermark_ms: int, timestamp_ms: int) -> Prospect:
        now_ms, skew_ms = self._ports.clock.now_ms(), self._settings.max_future_skew_ms
        if role is Role.PREDICTIONS:
            prediction = read_prediction(value, timestamp_ms=timestamp_ms, now_ms=now_ms, max_future_skew_ms=skew_ms)
            eras = self._agreed.eras(self._settings.model(prediction.model))
            horizon_ms = era_at(eras, prediction.event_time_ms).label_horizon_ms
            return prediction_prospect(prediction.event_time_ms, watermark_ms=watermark_ms, horizon_ms=horizon_ms)
        label = read_label(value, timestamp_ms=timestamp_ms, now_ms=now_ms, max_future_skew_ms=skew_ms)
        models = self._settings.every_model if label.model is None else (self._settings.model(label.model),)
        prospects = {
            label_prospect(
                label.event_time_ms,
                watermark_ms=watermark_ms,
                settled_ms=settled_ms(self._agreed.eras(model), label.event_time_ms + model.allowed_skew_ms + 1),
            )
            for model in models
        }
        return Prospect.IN_TIME if Prospect.IN_TIME in prospects else Prospect.TOO_LATE

    async def _send(self, messages: list[OutgoingMessage]) -> None:
        if not self._is_dry:
            try:
                await self._ports.publisher.send(messages)
            except PermanentFailure as failure:
                if len(messages) > 1:
                    raise
                self.result.refused += 1
                self.first_refusal = self.first_refusal or str(failure)
                return
        self.result.replayed += len(messages)
