"""A consumer that is stopped while its broker goes away."""

from __future__ import annotations

import asyncio
import logging

import pytest

from agents.kafka_consumer import Consumer
from deploy.servers import KafkaServer
from tests.support.services import create_topic, unique_name

RETRY_MS = 60_000
"""Longer than the test: a fetch that has failed waits for the whole of it."""


async def test_consumer_whose_fetch_has_failed_is_stopped_without_being_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR, "aiokafka")
    with KafkaServer() as server:
        topic = create_topic(server.address, unique_name("stopped"))
        consumer = Consumer(topic, bootstrap_servers=server.address, retry_backoff_ms=RETRY_MS)
        await consumer.start()
        async with asyncio.timeout(60):
            await consumer.seek_to_end()
            while not consumer._fetcher._pending_tasks:  # noqa: ASYNC110  (no event)
                await asyncio.sleep(0)
            server.kill()
            while "Failed fetch messages" not in caplog.text:  # noqa: ASYNC110  (no event)
                await asyncio.sleep(0)
            await consumer.stop()
    assert not any(connection.connected() for connection in consumer._client._conns.values())
