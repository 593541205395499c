"""Records and batches that are too much: large ones, bombs, and batches that nobody can read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Message, Producer

from deploy.servers import KafkaServer, RedisServer
from schemas.limits import DEAD_LETTER_EXCERPT_BYTES, RECORD_BYTES
from schemas.times import format_time
from tests.support.services import create_topic
from tests.support.topics import read_records
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

MEBIBYTE = 1 << 20
NOW_MS = int(time.time() * 1000)
BOMB_BYTES = 256 * MEBIBYTE
PEAK_BYTES = 320 * MEBIBYTE
"""Of a worker that meets bombs; about 200 are usual. Expanded whole, the first one alone would take more."""

PEAK_KILOBYTES = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def installed(folder: Path, *, brokers: str, redis_url: str) -> Installation:
    installation = Installation(folder, brokers=brokers, redis_url=redis_url, partitions=1)
    for role, topic in installation.topics.items():
        settings = {} if role == "metrics" else {"max.message.bytes": str(16 * MEBIBYTE)}
        create_topic(brokers, topic, settings=settings)
    return installation


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    return installed(tmp_path, brokers=kafka.address, redis_url=redis_server.url)


def prediction(request_id: str, *, size_bytes: int = 0) -> bytes:
    """A valid prediction, padded to a size."""
    event = {
        "request_id": request_id,
        "model": "fraud",
        "prediction": "ok",
        "event_time": format_time(NOW_MS - 60_000),
        "padding": "",
    }
    missing = size_bytes - len(json.dumps(event))
    return json.dumps({**event, "padding": "x" * max(missing, 0)}).encode()


def send(installation: Installation, values: Sequence[bytes]) -> None:
    """One batch per record."""
    producer = Producer({"bootstrap.servers": installation.brokers, "message.max.bytes": 17 * MEBIBYTE})
    for value in values:
        producer.produce(installation.topics["predictions"], value, partition=0)
        assert 0 == producer.flush(30)


def send_batch(installation: Installation, values: Sequence[bytes]) -> None:
    """All records in one batch."""
    producer = Producer({"bootstrap.servers": installation.brokers, "linger.ms": 500, "compression.type": "lz4"})
    for value in values:
        producer.produce(installation.topics["predictions"], value, partition=0)
    assert 0 == producer.flush(30)


async def send_bombs(installation: Installation, codecs: Sequence[str]) -> None:
    """One record of zeros per codec, small on the wire."""
    for codec in codecs:
        producer = AIOKafkaProducer(
            bootstrap_servers=installation.brokers,
            compression_type=codec,
            max_batch_size=2 * BOMB_BYTES,
            max_request_size=2 * BOMB_BYTES,
            request_timeout_ms=60_000,
        )
        await producer.start()
        batch = producer.create_batch()
        assert batch.append(key=None, value=bytes(BOMB_BYTES), timestamp=None) is not None
        await (await producer.send_batch(batch, installation.topics["predictions"], partition=0))
        await producer.stop()


Letter = tuple[Mapping[str, str], "Message[bytes, bytes]"]


def letters_of(installation: Installation) -> list[Letter]:
    """Our headers of every dead letter, and the letter."""
    letters: list[Letter] = []
    for message in read_records(installation.brokers, installation.topics["dead_letters"]):
        headers = dict(message.headers() or [])
        letters.append(
            ({str(name).removeprefix("latelabel-"): _text(value) for name, value in headers.items()}, message)
        )
    return letters


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def peak_bytes_of(process_id: int) -> int:
    """The largest resident memory that a process ever had."""
    found = PEAK_KILOBYTES.search(Path(f"/proc/{process_id}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def damage_second_batch(segment: Path) -> None:
    """Change one byte behind its header."""
    content = bytearray(segment.read_bytes())
    second = 12 + int.from_bytes(content[8:12], "big")
    content[second + 80] ^= 0xFF
    segment.write_bytes(content)


async def test_records_up_to_a_mebibyte_are_read_and_larger_ones_become_letters_that_fit(
    installation: Installation,
) -> None:
    large, largest = os.urandom(15 * MEBIBYTE), os.urandom(16 * MEBIBYTE - 1000)
    readable, too_large = prediction("a", size_bytes=RECORD_BYTES), prediction("b", size_bytes=RECORD_BYTES + 1)
    send(installation, [readable, too_large, large, largest, prediction("c")])
    with worker(installation, "--until-caught-up") as process:
        code, log = finish(process)
    assert 0 == code, log
    _, fates = await installation.counts()
    assert {"predictions:read": 5, "predictions:waiting": 2, "predictions:rejected": 3} == fates
    letters = letters_of(installation)
    assert [("1", "too_large"), ("2", "too_large"), ("3", "too_large")] == [
        (headers["offset"], headers["reason"]) for headers, _ in letters
    ]
    assert [too_large, large, largest[:DEAD_LETTER_EXCERPT_BYTES]] == [letter.value() for _, letter in letters]
    assert [None, None, hashlib.sha256(largest).hexdigest()] == [headers.get("sha256") for headers, _ in letters]


async def test_bombs_become_letters_and_the_worker_stays_small(installation: Installation) -> None:
    codecs = ("gzip", "lz4", "zstd", "snappy")
    send(installation, [prediction("before")])
    await send_bombs(installation, codecs)
    send(installation, [prediction("after")])
    with worker(installation) as process:
        wait_until(lambda: len(letters_of(installation)) == len(codecs), what="a letter for every bomb", seconds=60)
        peak_bytes = peak_bytes_of(process.pid)
        process.terminate()
        code, log = finish(process)
    assert 0 == code, log
    print(f"    peak of the worker: {peak_bytes / MEBIBYTE:.0f} MiB")
    assert peak_bytes < PEAK_BYTES
    for number, (headers, letter) in enumerate(letters_of(installation), start=1):
        assert ("unreadable_batch", str(number)) == (headers["reason"], headers["offset"])
        assert (None, None) == (letter.key(), letter.value())
        assert "expands to more than" in headers["message"]
    with worker(installation, "--until-caught-up") as process:
        code, log = finish(process)
    assert 0 == code, log
    _, fates = await installation.counts()
    assert {"predictions:read": 6, "predictions:waiting": 2, "predictions:rejected": 4} == fates


async def test_batch_that_the_disk_damaged_becomes_one_letter_and_its_partition_goes_on(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    with KafkaServer() as kafka:
        installation = installed(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
        for name in "abc":
            send_batch(installation, [prediction(f"{name}-{number}") for number in range(10)])
        kafka.stop()
        [segment] = kafka.folder.glob(f"data/{installation.topics['predictions']}-0/*.log")
        damage_second_batch(segment)
        kafka.start()
        with worker(installation, "--until-caught-up") as process:
            code, log = finish(process)
        assert 0 == code, log
        _, fates = await installation.counts()
        assert 20 == fates["predictions:waiting"]
        assert 1 == fates["predictions:rejected"]
        [(headers, letter)] = letters_of(installation)
        assert ("unreadable_batch", "10") == (headers["reason"], headers["offset"])
        assert (None, None) == (letter.key(), letter.value())
