"""A worker asks why predictions were wrong: of a real stream, once each, without changing what it counts."""

from __future__ import annotations

import asyncio
import collections
import json
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from redis import Redis

from deploy.servers import KafkaServer, RedisServer
from tests.support.services import create_topic
from tests.support.topics import read_topic
from tests.support.waiting import wait_until
from tests.support.workers import Installation, worker

CONFIGURATION = """\
models:
  - name: cards
    task: binary
    positive_class: fraud
    explain: {predictor: "served:fraud", rate_per_minute: 12000}
"""
COUNT = 150


def send(installation: Installation, role: str, records: list[dict[str, Any]]) -> None:
    producer = Producer({"bootstrap.servers": installation.brokers})
    for record in records:
        producer.produce(installation.topics[role], json.dumps(record), partition=0)
    producer.flush()


def prediction(number: int) -> dict[str, Any]:
    return {
        "request_id": f"r{number}", "model": "cards", "prediction": "ok", "score": number / COUNT,
        "features": {"amount": number},
    }  # fmt: skip


def is_wrong(number: int) -> bool:
    return number % 10 == 0


def test_wrong_pairs_are_asked_about_once_and_counted_all_the_same(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.unix_url)
    installation.create_topics()
    installation.topics["explain_requests"] = create_topic(kafka.address, f"{installation.name}-explain")
    (tmp_path / "latelabel.yaml").write_text(CONFIGURATION)

    def requests() -> list[dict[str, Any]]:
        values = read_topic(kafka.address, installation.topics["explain_requests"])
        return [json.loads(value or b"") for _, value in values]

    def wrong() -> list[dict[str, Any]]:
        return [each for each in requests() if each["reason"] == "wrong"]

    with worker(installation) as running, Redis.from_url(redis_server.unix_url) as redis:
        # Until a rate is known, little is asked: the first prediction teaches it that there are few.
        send(installation, "predictions", [prediction(0)])
        wait_until(lambda: asyncio.run(installation.counts())[0] != {}, what="the first prediction")
        time.sleep(5.5)
        send(installation, "predictions", [prediction(number) for number in range(1, COUNT)])
        pointers = f"{{{installation.name}}}:explain:*"
        wait_until(lambda: len(redis.keys(pointers)) == COUNT - 1, what="pointers")
        labels = [
            {"request_id": f"r{number}", "label": "fraud" if is_wrong(number) else "ok"} for number in range(COUNT)
        ]
        send(installation, "labels", labels)
        send(installation, "labels", labels)
        expected = {f"r{number}" for number in range(1, COUNT) if is_wrong(number)}
        wait_until(lambda: len(wrong()) >= len(expected), what="requests", seconds=60)
        wait_until(lambda: asyncio.run(installation.counts())[1].get("labels:duplicate_label") == COUNT, what="repeats")
        counts, fates = asyncio.run(installation.counts())
        assert running.poll() is None
    found = wrong()
    assert expected == {each["request_id"] for each in found}
    assert len(expected) == len(found)
    assert COUNT == fates["predictions:matched"]
    assert COUNT // 10 == sum(count for (_, _, label, _), count in counts.items() if label == "fraud")
    one = next(each for each in found if each["request_id"] == "r10")
    assert ("ok", "fraud", 0, 10) == tuple(one[name] for name in ("predicted", "label", "partition", "offset"))
    assert 1.0 == one.get("rate", 1.0)
    reasons = collections.Counter(each["reason"] for each in requests())
    assert reasons["base"] > 0
