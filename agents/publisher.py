"""The only writer to Kafka: one idempotent producer, and `send` that returns when all is acknowledged.

A producer that has failed once is not used again: with idempotence a lost batch leaves a gap in the
sequence numbers of its partition, and everything after it would be refused. The next `send` starts a
fresh one. What the old one had in flight may still be written, so receivers must bear repeats.

The producer is shared, so a `send` goes on when its caller is cancelled: giving up in the middle would cost all
others what they have in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    RecordTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from streams.errors import PermanentFailure, TemporaryFailure
from streams.ports import OutgoingMessage

__all__ = ["MAX_REQUEST_BYTES", "KafkaPublisher", "OutgoingMessage"]

_log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 17 * 1024 * 1024
"""Room for a dead letter of 16 MiB, the largest record its topic takes, with its framing."""
BATCH_BYTES = 256 * 1024
"""Of one partition, before compression; well below the 1 MiB that a topic takes by default."""
DELIVERY_TIMEOUT_SECONDS = 30.0
"""An idempotent producer tries for ever; after this long the caller is told, and decides."""

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError)
_NOT_ALLOWED = (
    TopicAuthorizationFailedError,
    ClusterAuthorizationFailedError,
    AuthenticationFailedError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
_NOT_ACCEPTED = (InvalidTopicError, PolicyViolationError)

Acknowledgement: TypeAlias = "asyncio.Future[Any]"


class KafkaPublisher:
    """The publisher port over aiokafka. Safe to use from several tasks of one event loop.

    Args:
        connection: aiokafka's arguments for brokers and security.
        delivery_timeout_seconds: how long `start` and one `send` may take.
    """

    def __init__(
        self, connection: Mapping[str, Any], *, delivery_timeout_seconds: float = DELIVERY_TIMEOUT_SECONDS
    ) -> None:
        self._connection = dict(connection)
        self._timeout_seconds = delivery_timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._sending: set[asyncio.Task[None]] = set()
        self._abandoning: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect.

        Raises:
            TemporaryFailure: no broker answers.
            PermanentFailure: the brokers do not let us in.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._running()
        except (KafkaError, TimeoutError, OSError) as error:
            raise _failure(error, "starting a Kafka producer", self._timeout_seconds) from error

    async def stop(self) -> None:
        """Let go of the connections. What was not acknowledged may not have been written."""
        for sending in self._sending:
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        producer, self._producer = self._producer, None
        if producer is not None:
            await _abandon(producer)
        await asyncio.gather(*self._abandoning)

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        """Write all messages; return when every one is acknowledged. See `streams.ports.Publisher`."""
        if not messages:
            return
        sending = asyncio.create_task(self._send(messages))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        sending.add_done_callback(_take_outcome)
        await asyncio.wait([sending])
        sending.result()

    async def _send(self, messages: Sequence[OutgoingMessage]) -> None:
        topics = ", ".join(sorted({message.topic for message in messages}))
        producer: AIOKafkaProducer | None = None
        acknowledgements: list[Acknowledgement] = []
        try:
            async with asyncio.timeout(self._timeout_seconds):
                producer = await self._running()
                for message in messages:
                    topics = message.topic
                    acknowledgements.append(await _enqueue(producer, message))
                for message, acknowledgement in zip(messages, acknowledgements, strict=True):
                    topics = message.topic
                    await acknowledgement
        except (KafkaError, TimeoutError, OSError) as error:
            self._retire(producer)
            if isinstance(error, TimeoutError) and producer is not None and _is_missing(producer, topics):
                raise TemporaryFailure(
                    f"the brokers tell of no topic {topics!r}; `latelabel topics create` creates it"
                ) from error
            raise _failure(error, f"writing to topic {topics!r}", self._timeout_seconds) from error
        finally:
            for acknowledgement in acknowledgements:
                acknowledgement.add_done_callback(_take_outcome)

    async def _running(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._connection,
                    enable_idempotence=True,
                    acks="all",
                    compression_type="zstd",
                    max_batch_size=BATCH_BYTES,
                    max_request_size=MAX_REQUEST_BYTES,
                )
                try:
                    await producer.start()
                except BaseException:
                    await _abandon(producer)
                    raise
                self._producer = producer
            return self._producer

    def _retire(self, producer: AIOKafkaProducer | None) -> None:
        if producer is None or producer is not self._producer:
            return
        self._producer = None
        task = asyncio.create_task(_abandon(producer))
        self._abandoning.add(task)
        task.add_done_callback(self._abandoning.discard)


async def _enqueue(producer: AIOKafkaProducer, message: OutgoingMessage) -> Acknowledgement:
    headers = list(message.headers)
    if message.key is not None or message.value is not None:
        sent: Acknowledgement = await producer.send(
            message.topic,
            message.value,
            message.key,
            partition=message.partition,
            timestamp_ms=message.timestamp_ms,
            headers=headers,
        )
        return sent
    # `send` refuses a record with neither key nor value, as the dead letter of a tombstone may be.
    partition = message.partition
    if partition is None:
        partition = min(await producer.partitions_for(message.topic))
    batch = producer.create_batch()
    batch.append(key=None, value=None, timestamp=message.timestamp_ms, headers=headers)
    sent = await producer.send_batch(batch, message.topic, partition=partition)
    return sent  # noqa: RET504  (the name carries the type, which aiokafka lacks)


def _is_missing(producer: AIOKafkaProducer, topic: str) -> bool:
    """Whether the brokers that the producer asked know no such topic."""
    return not producer.client.cluster.partitions_for_topic(topic)


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Stop a producer at once. `stop` alone waits for its batches, and without a broker waits for ever."""
    sender, accumulator = producer._sender, producer._message_accumulator  # noqa: SLF001
    if sender.sender_task is not None:
        # It may find batches failed under its hands, and aiokafka would complain of that at length.
        sender.sender_task.remove_done_callback(sender._fail_all)  # noqa: SLF001
        sender.sender_task.add_done_callback(_take_outcome)
    # Whatever fails is taken from here, also batches that wait for another attempt, which stand elsewhere.
    accumulator._pending_batches.update(itertools.chain(*accumulator._batches.values()))  # noqa: SLF001
    for batch in accumulator._pending_batches:  # noqa: SLF001
        batch._drain_waiter.add_done_callback(_take_outcome)  # noqa: SLF001
    accumulator.fail_all(KafkaError("the producer was stopped"))
    accumulator._batches.clear()  # noqa: SLF001
    with contextlib.suppress(Exception):
        await producer.client.close()
        await producer.stop()


def _take_outcome(done: asyncio.Future[Any]) -> None:
    """Without this asyncio would complain of an error that nobody waits for any longer."""
    if not done.cancelled():
        done.exception()


def _failure(error: BaseException, doing: str, timeout_seconds: float) -> TemporaryFailure | PermanentFailure:
    if isinstance(error, TimeoutError):
        return TemporaryFailure(f"{doing}: not acknowledged within {timeout_seconds:g} s")
    what = f"{doing}: {type(error).__name__} {error}".rstrip()
    if isinstance(error, _TOO_LARGE):
        return PermanentFailure(f"{what}; raise the topic's max.message.bytes")
    if isinstance(error, _NOT_ALLOWED):
        return PermanentFailure(f"{what}; allow this user to describe and write it")
    if isinstance(error, _NOT_ACCEPTED):
        return PermanentFailure(f"{what}; the brokers will never take it")
    return TemporaryFailure(what)
