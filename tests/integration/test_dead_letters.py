"""Dead letters on the real Kafka and Redis: floods stop their partition, and the commands bring records back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from redis import Redis

from deploy.servers import KafkaServer, RedisServer
from schemas.dead_letter import dead_letter
from schemas.errors import Reason
from schemas.times import format_time
from streams.monitored_model import DAY_MS, MINUTE_MS
from tests.support.services import create_topic
from tests.support.topics import read_records
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

ROOT = Path(__file__).resolve().parents[2]
NOW_MS = int(time.time() * 1000) // 1000 * 1000
BAD = b'{"request_id": '
MEBIBYTE = 1 << 20


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url, partitions=2)
    for role, topic in installation.topics.items():
        is_output = role not in ("predictions", "labels")
        settings = {"max.message.bytes": str(16 * MEBIBYTE)} if role != "metrics" else {}
        create_topic(kafka.address, topic, partitions=1 if is_output else 2, settings=settings)
    return installation


def prediction(request_id: str, *, at_ms: int = NOW_MS - MINUTE_MS, **fields: Any) -> bytes:
    event = {"request_id": request_id, "model": "fraud", "prediction": "ok", "event_time": format_time(at_ms)}
    return json.dumps({**event, **fields}).encode()


def send(
    installation: Installation,
    values: Sequence[bytes | None],
    *,
    role: str = "predictions",
    partition: int = 0,
    timestamp_ms: int = NOW_MS,
    key: bytes | None = None,
    **settings: Any,
) -> None:
    producer = Producer({"bootstrap.servers": installation.brokers, "linger.ms": 20, **settings})
    for value in values:
        producer.produce(
            installation.topics[role],
            value,
            key=key,
            partition=partition,
            timestamp=timestamp_ms,
            headers=[("trace", b"\x01")],
        )
        producer.poll(0)
    assert 0 == producer.flush(30)


def records_of(installation: Installation, role: str, *, partition: int = 0) -> list[Any]:
    """What stands on a partition now."""
    return read_records(installation.brokers, installation.topics[role], partition=partition)


def latelabel(installation: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agents", *arguments],
        cwd=installation.folder,
        env={**installation.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def catch_up(installation: Installation) -> tuple[int, str]:
    with worker(installation, "--until-caught-up") as process:
        return finish(process)


def letters_of(installation: Installation, *arguments: str) -> list[dict[str, Any]]:
    listed = latelabel(installation, "dead-letters", "list", "--format", "jsonl", *arguments)
    assert 0 == listed.returncode, listed.stderr
    return [json.loads(line) for line in listed.stdout.splitlines()]


async def test_flood_stops_its_partition_while_the_other_is_read_to_its_end(installation: Installation) -> None:
    send(installation, [prediction(f"a-{number}") for number in range(20)])
    send(installation, [BAD] * 300)
    send(installation, [prediction(f"b-{number}") for number in range(50)], partition=1)
    code, log = catch_up(installation)
    assert 1 == code
    assert "predictions/0 is stopped at offset 120 and was not read to its end: 101 bad records in a row" in log
    assert 1 == sum("Stopped predictions/0" in line for line in log.splitlines())
    _, fates = await installation.counts()
    assert {"predictions:read": 170, "predictions:waiting": 70, "predictions:rejected": 100} == fates
    assert 100 == len(records_of(installation, "dead_letters"))


async def test_another_start_lets_no_further_record_through(installation: Installation) -> None:
    send(installation, [BAD] * 300)
    for _ in range(2):
        code, _ = catch_up(installation)
        assert 1 == code
    assert 100 == len(records_of(installation, "dead_letters"))


async def test_accepted_records_are_let_through_by_a_running_worker(installation: Installation) -> None:
    source = f"{installation.topics['predictions']}/0"
    send(installation, [*([BAD] * 300), prediction("after")])
    nothing = latelabel(installation, "dead-letters", "accept", source)
    assert (1, True) == (nothing.returncode, "is not stopped" in nothing.stderr)
    with worker(installation) as process, Redis.from_url(installation.redis_url) as redis:
        stopped = f"{{{installation.name}}}:stopped"
        wait_until(lambda: redis.hexists(stopped, "predictions/0"), what="the partition to be stopped")
        some = latelabel(installation, "dead-letters", "accept", source, "--count", "50")
        assert 0 == some.returncode, some.stderr
        assert "Accepted 50 offsets, 100 to 149" in some.stdout
        wait_until(lambda: json.loads(redis.hget(stopped, "predictions/0"))["offset"] == 150, what="50 records more")
        accepted = latelabel(installation, "dead-letters", "accept", "predictions/0")
        assert "Accepted 151 offsets, 150 to 300, all that are there now" in accepted.stdout
        wait_until(lambda: not redis.hexists(stopped, "predictions/0"), what="the partition to go on")
        process.terminate()
        assert 0 == finish(process)[0]
    code, log = catch_up(installation)
    assert 0 == code, log
    _, fates = await installation.counts()
    assert {"predictions:read": 301, "predictions:waiting": 1, "predictions:rejected": 300} == fates


async def test_letters_are_listed_newest_first_and_one_is_shown(installation: Installation) -> None:
    send(installation, [BAD, b"\xff\xfe", None, b"[1]"], key=b"k")
    send(installation, [b"{}"], role="labels", partition=1)
    code, log = catch_up(installation)
    assert 0 == code, log
    letters = letters_of(installation)
    predictions, labels = installation.topics["predictions"], installation.topics["labels"]
    assert {
        (f"{predictions}/0@0", "malformed_json"),
        (f"{predictions}/0@1", "bad_utf8"),
        (f"{predictions}/0@2", "tombstone"),
        (f"{predictions}/0@3", "wrong_shape"),
        (f"{labels}/1@0", "missing_field"),
    } == {(letter["source"], letter["reason"]) for letter in letters}
    written = [letter["written"] for letter in letters]
    assert sorted(written, reverse=True) == written
    assert [f"{labels}/1@0"] == [letter["source"] for letter in letters_of(installation, "--topic", labels)]
    assert [f"{predictions}/0@1"] == [letter["source"] for letter in letters_of(installation, "--reason", "bad_utf8")]
    assert 2 == len(letters_of(installation, "--max", "2"))
    table = latelabel(installation, "dead-letters", "list").stdout
    assert "The newest 5 of 5:" in table
    misspelt = latelabel(installation, "dead-letters", "list", "--topic", "elsewhere").stdout
    assert "None of 5 dead letters is of this topic and reason.\n" == misspelt
    [found] = [letter for letter in letters if letter["reason"] == "bad_utf8"]
    for place in (found["source"], found["letter"]):
        shown = latelabel(installation, "dead-letters", "show", place)
        assert 0 == shown.returncode, shown.stderr
        lines = shown.stdout.splitlines()
        assert "  trace: 0x01" in lines
        assert ["key", "  k", "", "value", "  ff fe"] == lines[-5:]
        assert f"  latelabel-topic: {predictions}" in lines
    missing = latelabel(installation, "dead-letters", "show", f"{predictions}/0@99")
    assert (1, True) == (missing.returncode, "there is no dead letter" in missing.stderr)
    assert 2 == latelabel(installation, "dead-letters", "show", "nonsense").returncode


def test_log_of_a_partition_that_there_is_not_is_not_accepted(installation: Installation) -> None:
    refused = latelabel(installation, "init", "--accept", "predictions/99")
    told = f"Error: predictions/99 does not exist: predictions has partitions 0 to {installation.partitions - 1}\n"
    assert (1, told) == (refused.returncode, refused.stderr)


def put_letters(installation: Installation, values: Sequence[bytes | None], **changes: Any) -> None:
    """Dead letters as a worker would have written them."""
    producer = Producer({"bootstrap.servers": installation.brokers, "message.max.bytes": 17 * MEBIBYTE})
    for number, value in enumerate(values):
        letter = dead_letter(
            **{
                "key": b"key",
                "value": value,
                "headers": [("trace", b"\x01"), ("empty", None)],
                "reason": Reason.IMPLAUSIBLE_TIME,
                "message": "event_time is beyond max_future_skew",
                "topic": installation.topics["predictions"],
                "partition": 1,
                "offset": 1000 + number,
                "timestamp_ms": NOW_MS - MINUTE_MS,
                "now_ms": NOW_MS,
                **changes,
            }
        )
        producer.produce(
            installation.topics["dead_letters"],
            letter.value,
            key=letter.key,
            headers=list(letter.headers),
            timestamp=letter.timestamp_ms,
        )
    assert 0 == producer.flush(30)


async def test_replayed_record_comes_back_as_it_was_and_is_counted_once(installation: Installation) -> None:
    value = prediction("later", at_ms=NOW_MS - 5 * MINUTE_MS)
    put_letters(installation, [value])
    put_letters(installation, [value])  # a copy
    dry = latelabel(installation, "dead-letters", "replay", "--dry-run")
    assert "1 would be replayed" in dry.stdout, dry.stderr
    assert [] == records_of(installation, "predictions", partition=1)
    for _ in range(2):
        replayed = latelabel(installation, "dead-letters", "replay")
        assert 0 == replayed.returncode, replayed.stderr
        assert replayed.stdout.startswith("1 replayed\n  0 of them came too late to count")
        assert "1 not replayed: copies of others" in replayed.stdout
    records = records_of(installation, "predictions", partition=1)
    assert [(b"key", value, [("trace", b"\x01"), ("empty", None)], NOW_MS - MINUTE_MS)] * 2 == [
        (record.key(), record.value(), record.headers(), record.timestamp()[1]) for record in records
    ]
    code, log = catch_up(installation)
    assert 0 == code, log
    cells, fates = await installation.counts()
    assert 1 == sum(cells.values())
    assert {"predictions:read": 2, "predictions:waiting": 1, "predictions:duplicate_prediction": 1} == fates


async def test_replay_says_what_comes_too_late_what_is_still_bad_and_what_cannot_be_sent(
    installation: Installation,
) -> None:
    send(installation, [prediction("now", at_ms=NOW_MS)], partition=1)
    assert 0 == catch_up(installation)[0]
    late = prediction("late", at_ms=NOW_MS - 2 * DAY_MS)
    behind = prediction("behind", at_ms=NOW_MS - DAY_MS // 2)
    put_letters(installation, [late, behind, BAD, None, b"x" * (16 * MEBIBYTE)])
    put_letters(installation, [b"{}"], topic="elsewhere")
    replayed = latelabel(installation, "dead-letters", "replay")
    assert 0 == replayed.returncode, replayed.stderr
    assert [
        "3 replayed",
        "  1 of them came too late to count: nothing that they belong to is remembered",
        "  1 of them came late: labels forgotten before are not applied to them",
        "  1 of them still cannot be read and become dead letters again",
        "  1 not replayed: cut to an excerpt, latelabel-sha256 says of which record",
        "  1 not replayed: there is no value to send",
        "  1 not replayed: from a topic that is none of the inputs",
    ] == replayed.stdout.splitlines()
    assert 0 == catch_up(installation)[0]
    _, fates = await installation.counts()
    assert {
        "predictions:read": 4,
        "predictions:waiting": 2,
        "predictions:late_prediction": 1,
        "predictions:rejected": 1,
    } == fates


async def test_only_the_wanted_letters_are_replayed(installation: Installation) -> None:
    put_letters(installation, [prediction("a")])
    put_letters(installation, [prediction("b")], reason=Reason.MALFORMED_JSON, offset=2000)
    none = latelabel(installation, "dead-letters", "replay", "--topic", installation.topics["labels"])
    assert none.stdout.startswith("0 replayed")
    one = latelabel(installation, "dead-letters", "replay", "--reason", "malformed_json")
    assert one.stdout.startswith("1 replayed")
    assert [prediction("b")] == [record.value() for record in records_of(installation, "predictions", partition=1)]
