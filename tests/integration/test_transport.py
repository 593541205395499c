"""Logs that are not a plain run of records: holes, transactions, codecs, compaction."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from redis import Redis

from agents.batch_transport import FETCH_MAX_WAIT_MS
from deploy.servers import KafkaServer, RedisServer
from schemas.times import format_time
from tests.support.services import unique_name
from tests.support.waiting import wait_until
from tests.support.workers import SHARDS, Installation, finish, worker


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url, partitions=1)
    installation.create_topics()
    return installation


def prediction(request_id: str) -> bytes:
    at_ms = int(time.time() * 1000) - 60_000
    event = {"request_id": request_id, "model": "shop", "prediction": "ok", "event_time": format_time(at_ms)}
    return json.dumps(event).encode()


def send(producer: Producer, installation: Installation, request_ids: Sequence[str]) -> None:
    for request_id in request_ids:
        producer.produce(installation.topics["predictions"], prediction(request_id), partition=0)
    assert 0 == producer.flush(30)


async def counted(installation: Installation) -> dict[str, int]:
    """The fates, once a worker has caught up."""

    def run() -> None:
        with worker(installation, "--until-caught-up") as process:
            code, log = finish(process)
        assert 0 == code, log

    await asyncio.to_thread(run)
    _, fates = await installation.counts()
    return fates


async def test_aborted_transactions_are_not_counted_and_markers_are_stepped_over(installation: Installation) -> None:
    producer = Producer({"bootstrap.servers": installation.brokers, "transactional.id": unique_name("sender")})
    producer.init_transactions(30)
    producer.begin_transaction()
    send(producer, installation, ["kept-1", "kept-2"])
    producer.commit_transaction(30)
    producer.begin_transaction()
    send(producer, installation, ["dropped-1", "dropped-2", "dropped-3"])
    producer.abort_transaction(30)
    assert {"predictions:read": 2, "predictions:waiting": 2} == await counted(installation)
    assert {"predictions:read": 2, "predictions:waiting": 2} == await counted(installation)


async def test_a_log_of_nothing_but_an_aborted_transaction_is_read_to_its_end(installation: Installation) -> None:
    producer = Producer({"bootstrap.servers": installation.brokers, "transactional.id": unique_name("sender")})
    producer.init_transactions(30)
    producer.begin_transaction()
    send(producer, installation, ["dropped"])
    producer.abort_transaction(30)
    assert {} == await counted(installation)


async def test_records_of_an_open_transaction_wait_for_its_end(installation: Installation) -> None:
    producer = Producer({"bootstrap.servers": installation.brokers, "transactional.id": unique_name("sender")})
    producer.init_transactions(30)
    producer.begin_transaction()
    send(producer, installation, ["open"])
    assert {} == await counted(installation)
    producer.commit_transaction(30)
    assert {"predictions:read": 1, "predictions:waiting": 1} == await counted(installation)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_is_read(installation: Installation, codec: str) -> None:
    producer = Producer({"bootstrap.servers": installation.brokers, "compression.type": codec, "linger.ms": 50})
    send(producer, installation, [f"id-{number}" for number in range(200)])
    assert {"predictions:read": 200, "predictions:waiting": 200} == await counted(installation)


async def test_records_that_trickle_in_are_gathered_by_the_broker(
    installation: Installation, redis_server: RedisServer
) -> None:
    producer = Producer({"bootstrap.servers": installation.brokers})
    count, seconds = 300, 3.0

    def waiting() -> int:
        return asyncio.run(installation.counts())[1].get("predictions:waiting", 0)

    with worker(installation) as process, Redis.from_url(redis_server.url) as client:
        send(producer, installation, ["first"])
        await asyncio.to_thread(wait_until, lambda: waiting() == 1, what="the worker to read")
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        began = time.monotonic()
        for number in range(count):
            await asyncio.sleep(began + number * seconds / count - time.monotonic())
            send(producer, installation, [f"id-{number}"])
        took = time.monotonic() - began
        scripts = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
        await asyncio.to_thread(wait_until, lambda: waiting() == 1 + count, what="all records")
        process.send_signal(signal.SIGTERM)
        finish(process)
    # Each of them alone would be a commit to every shard.
    fetches = took * 1000 / FETCH_MAX_WAIT_MS
    assert scripts < 3 * SHARDS * fetches


async def test_retention_that_overtakes_a_running_worker_is_a_gap_and_reading_goes_on(
    installation: Installation,
) -> None:
    topic = installation.topics["predictions"]
    producer = Producer({"bootstrap.servers": installation.brokers})
    send(producer, installation, [f"early-{number}" for number in range(3)])

    def waiting() -> int:
        return asyncio.run(installation.counts())[1].get("predictions:waiting", 0)

    with worker(installation) as process:
        await asyncio.to_thread(wait_until, lambda: waiting() == 3, what="the first records")
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(10 * FETCH_MAX_WAIT_MS / 1000)  # what it has asked for is answered by now
        send(producer, installation, [f"lost-{number}" for number in range(5)] + ["kept"])
        admin = AdminClient({"bootstrap.servers": installation.brokers})
        for deleted in admin.delete_records([TopicPartition(topic, 0, 8)]).values():
            deleted.result(30)
        process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(wait_until, lambda: waiting() == 4, what="the record behind the gap")
        process.send_signal(signal.SIGTERM)
        code, log = finish(process)
    _, fates = await installation.counts()
    assert (0, {"predictions:read": 4, "predictions:waiting": 4, "predictions:lost": 5 * SHARDS}) == (code, fates), log
