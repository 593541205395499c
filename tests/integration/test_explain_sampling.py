"""A worker asks why predictions were wrong: of a real stream, once each, without changing what it counts, whatever
becomes of those who answer."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
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


MODELS = """
import time
import numpy as np

def hang(rows):
    time.sleep(600)

def slow(rows):
    time.sleep(0.2)
    return np.full((len(rows), 2), 0.5)
"""
PARTS = 3


def request(installation: Installation, number: int) -> dict[str, Any]:
    return {
        "request_id": f"r{number}", "model": "cards", "model_version": "", "reason": "base", "rate": 1.0,
        "topic": installation.topics["predictions"], "partition": 0, "offset": number,
    }  # fmt: skip


@contextlib.contextmanager
def busy_explainer(installation: Installation) -> Iterator[subprocess.Popen[bytes]]:
    """An explainer whose model is being asked; killed with -9 at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "agents", "explainer"],
        cwd=installation.folder,
        env={**installation.environment, "PYTHONPATH": f"{Path.cwd()}:{installation.folder}"},
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            children = psutil.Process(process.pid).children
            wait_until(lambda: bool(children()), what="the model's process", seconds=60)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("model", ["hang", "slow"])
def test_no_cell_is_wrong_beside_explainers_that_hang_and_are_killed_one_after_the_other(
    model: str, tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.unix_url)
    installation.topics |= {role: f"{installation.name}-{role}" for role in ("explain_requests", "explanations")}
    installation.create_topics()
    (tmp_path / "served.py").write_text(MODELS)
    (tmp_path / "latelabel.yaml").write_text(
        CONFIGURATION.replace('"served:fraud"', f"'served:{model}', classes: [ok, fraud]")
    )

    def matched() -> int:
        return asyncio.run(installation.counts())[1].get("predictions:matched", 0)

    with worker(installation) as running:
        for part in range(PARTS):
            numbers = range(part * COUNT // PARTS, (part + 1) * COUNT // PARTS)
            send(installation, "predictions", [prediction(number) for number in numbers])
            send(installation, "explain_requests", [request(installation, number) for number in numbers])
            with busy_explainer(installation):
                labels = [
                    {"request_id": f"r{number}", "label": "fraud" if is_wrong(number) else "ok"} for number in numbers
                ]
                send(installation, "labels", labels)
                wait_until(lambda due=numbers.stop: matched() == due, what="all pairs", seconds=60)  # type: ignore[misc]
        counts, fates = asyncio.run(installation.counts())
        assert running.poll() is None
    cells: collections.Counter[tuple[str | None, str]] = collections.Counter()
    for (_, _, label, predicted), count in counts.items():
        cells[label, predicted] += count
    assert {("fraud", "ok"): COUNT // 10, ("ok", "ok"): COUNT - COUNT // 10} == dict(cells)
    assert COUNT == fates["predictions:matched"]
