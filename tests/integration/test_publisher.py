from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from agents.publisher import KafkaPublisher, OutgoingMessage, _abandon
from deploy.servers import KafkaServer
from streams.errors import PermanentFailure, TemporaryFailure
from tests.support.services import create_topic, unique_name

MEBIBYTE = 1024 * 1024
COMPLAINTS = ("asyncio", "aiokafka.producer.sender")
"""Loggers that say at length what a producer that was given up makes of it."""


@pytest.fixture
async def publisher(kafka: KafkaServer) -> AsyncIterator[KafkaPublisher]:
    publisher = KafkaPublisher({"bootstrap_servers": kafka.address}, delivery_timeout_seconds=20)
    await publisher.start()
    yield publisher
    await publisher.stop()


async def read(kafka: KafkaServer, topic: str, *, count: int) -> list[ConsumerRecord[bytes, bytes]]:
    """The first `count` records of partition 0."""
    consumer: AIOKafkaConsumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.address, max_partition_fetch_bytes=32 * MEBIBYTE
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        async with asyncio.timeout(60):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of a producer that was given up, and of outcomes that nobody took."""
    gc.collect()
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    return [record.message for record in errors if record.name in COMPLAINTS]


async def test_topic_that_nobody_created_is_told_with_the_remedy(kafka: KafkaServer) -> None:
    publisher = KafkaPublisher({"bootstrap_servers": kafka.address}, delivery_timeout_seconds=5)
    await publisher.start()
    topic = unique_name("forgotten")
    try:
        with pytest.raises(TemporaryFailure, match=f"no topic '{topic}'; `latelabel topics create` creates it"):
            await publisher.send([OutgoingMessage(topic=topic, key=b"k", value=b"v")])
        create_topic(kafka.address, topic)
        await publisher.send([OutgoingMessage(topic=topic, key=b"k", value=b"v")])
    finally:
        await publisher.stop()


async def handed_over(publisher: KafkaPublisher) -> None:
    """Wait until the producer holds something that is not acknowledged."""
    producer = publisher._producer
    assert producer is not None
    accumulator = producer._message_accumulator
    while not accumulator._pending_batches and not any(accumulator._batches.values()):  # noqa: ASYNC110  (no event)
        await asyncio.sleep(0)


async def test_all_that_was_sent_is_on_the_topic_in_order(kafka: KafkaServer, publisher: KafkaPublisher) -> None:
    topic = create_topic(kafka.address, unique_name("metrics"))
    headers = (("ce_id", b"7"),)
    messages = [
        OutgoingMessage(topic=topic, key=b"key", value=b"%d" % n, headers=headers, timestamp_ms=1_000 + n)
        for n in range(2_000)
    ]
    await publisher.send(messages)
    records = await read(kafka, topic, count=2_000)
    assert messages == [
        OutgoingMessage(topic=topic, key=r.key, value=r.value, headers=r.headers, timestamp_ms=r.timestamp)
        for r in records
    ]


async def test_sending_nothing_needs_no_broker() -> None:
    await KafkaPublisher({"bootstrap_servers": "127.0.0.1:1"}).send([])


async def test_record_without_key_and_value_keeps_its_headers(kafka: KafkaServer, publisher: KafkaPublisher) -> None:
    topic = create_topic(kafka.address, unique_name("dead-letters"))
    await publisher.send([OutgoingMessage(topic=topic, key=None, value=None, headers=[("reason", b"tombstone")])])
    [record] = await read(kafka, topic, count=1)
    assert (None, None, (("reason", b"tombstone"),)) == (record.key, record.value, record.headers)


async def test_dead_letter_of_fifteen_mebibytes_passes(kafka: KafkaServer, publisher: KafkaPublisher) -> None:
    topic = create_topic(kafka.address, unique_name("dead-letters"), settings={"max.message.bytes": str(16 * MEBIBYTE)})
    value = os.urandom(15 * MEBIBYTE)
    await publisher.send([OutgoingMessage(topic=topic, key=None, value=value)])
    [record] = await read(kafka, topic, count=1)
    assert value == record.value


async def test_record_that_the_topic_finds_too_large_is_a_permanent_failure_and_the_next_one_passes(
    kafka: KafkaServer, publisher: KafkaPublisher
) -> None:
    topic = create_topic(kafka.address, unique_name("metrics"), settings={"max.message.bytes": "2000"})
    for size in (10_000, 18 * MEBIBYTE):
        with pytest.raises(PermanentFailure, match=f"{topic}.*max.message.bytes"):
            await publisher.send([OutgoingMessage(topic=topic, key=b"key", value=os.urandom(size))])
        await publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"small")])
    assert [b"small", b"small"] == [record.value for record in await read(kafka, topic, count=2)]


async def test_broker_that_does_not_answer_is_a_temporary_failure() -> None:
    publisher = KafkaPublisher({"bootstrap_servers": "127.0.0.1:1"}, delivery_timeout_seconds=1)
    with pytest.raises(TemporaryFailure, match="starting a Kafka producer"):
        await publisher.start()
    await publisher.stop()


async def test_topic_that_does_not_exist_is_a_temporary_failure_that_names_it(kafka: KafkaServer) -> None:
    publisher = KafkaPublisher({"bootstrap_servers": kafka.address}, delivery_timeout_seconds=1)
    await publisher.start()
    with pytest.raises(TemporaryFailure, match="no-such-topic"):
        await publisher.send([OutgoingMessage(topic=unique_name("no-such-topic"), key=b"key", value=b"")])
    await publisher.stop()


async def test_broker_that_was_away_gets_what_is_sent_again_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    with KafkaServer() as server:
        topic = create_topic(server.address, unique_name("metrics"))
        publisher = KafkaPublisher({"bootstrap_servers": server.address}, delivery_timeout_seconds=2)
        await publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"before")])
        await asyncio.to_thread(server.kill)
        with pytest.raises(TemporaryFailure, match=topic):
            await publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"meanwhile")])
        with pytest.raises(TemporaryFailure):
            await publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"meanwhile")])
        await asyncio.to_thread(server.start)
        await publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"after")])
        await publisher.stop()
        values = [record.value for record in await read(server, topic, count=2)]
        assert [b"before", b"after"] == values
    assert [] == complaints(caplog)


async def test_caller_that_is_cancelled_costs_others_nothing(kafka: KafkaServer, publisher: KafkaPublisher) -> None:
    topic = create_topic(kafka.address, unique_name("metrics"))
    await publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"first")])
    producer = publisher._producer
    kafka.pause()
    try:
        given_up = asyncio.create_task(publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"given up")]))
        waiting = asyncio.create_task(publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"waiting")]))
        await handed_over(publisher)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert given_up.cancelled()
    finally:
        kafka.resume()
    await waiting
    await publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"last")])
    assert publisher._producer is producer
    values = [record.value for record in await read(kafka, topic, count=4)]
    assert [b"first", b"given up", b"waiting", b"last"] == values


async def test_publisher_that_is_stopped_waits_for_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with KafkaServer() as server:
        topic = create_topic(server.address, unique_name("metrics"))
        publisher = KafkaPublisher({"bootstrap_servers": server.address})
        await publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"before")])
        server.pause()
        # One batch is on its way, one waits for it, and the last record for a batch.
        large = OutgoingMessage(topic=topic, key=b"key", value=os.urandom(200_000))
        sending = asyncio.create_task(publisher.send([large] * 3))
        producer = publisher._producer
        assert producer is not None
        accumulator = producer._message_accumulator
        while not (accumulator._pending_batches and any(accumulator._batches.values())):  # noqa: ASYNC110  (no event)
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await publisher.stop()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert [] == complaints(caplog)


async def test_producer_is_given_up_quietly_while_a_batch_waits_for_another_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with KafkaServer() as server:
        topic = create_topic(server.address, unique_name("metrics"))
        publisher = KafkaPublisher({"bootstrap_servers": server.address})
        await publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"before")])
        server.pause()
        sending = asyncio.create_task(publisher.send([OutgoingMessage(topic=topic, key=b"key", value=b"meanwhile")]))
        producer = publisher._producer
        assert producer is not None
        accumulator = producer._message_accumulator
        async with asyncio.timeout(60):
            while not accumulator._pending_batches:  # noqa: ASYNC110  (no event)
                await asyncio.sleep(0)
            server.kill()
            # Asked between any two steps of the producer, so that the batch is not on its way again meanwhile.
            while not any(batch.retry_count for batch in itertools.chain(*accumulator._batches.values())):  # noqa: ASYNC110
                await asyncio.sleep(0)
            await _abandon(producer)
            with pytest.raises(TemporaryFailure, match=topic):
                await sending
            await publisher.stop()
    assert [] == complaints(caplog)
