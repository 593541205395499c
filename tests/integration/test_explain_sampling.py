"""A worker asks why predictions were wrong: of a real stream, once each, without changing what it counts, whatever
becomes of those who answer."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer
from redis import Redis

from agents.commands.explainer import NICENESS
from deploy.servers import KafkaServer, RedisServer
from streams.explanation.sampling import FIRST_TICK_SECONDS
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
        counted = time.monotonic()
        wait_until(lambda: time.monotonic() - counted > FIRST_TICK_SECONDS, what="the first tick to be due")
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
EXPLAINED = ("hang", "slow")
PARTS = 3


def of_its_session(process: psutil.Process) -> int | None:
    """The niceness that Linux goes by between sessions; None where it does not."""
    file = Path(f"/proc/{process.pid}/autogroup")
    return int(file.read_text().split()[-1]) if file.exists() else None


def check_niceness(explainer: psutil.Process, wanted: int) -> None:
    (child,) = explainer.children()
    assert wanted == explainer.nice() == child.nice()
    wait_until(lambda: of_its_session(child) in (None, wanted), what="its session to be nice")


def request(installation: Installation, number: int) -> dict[str, Any]:
    return {
        "request_id": f"r{number}", "model": "cards", "model_version": "", "reason": "base", "rate": 1.0,
        "topic": installation.topics["predictions"], "partition": 0, "offset": number,
    }  # fmt: skip


@contextlib.contextmanager
def busy_explainers(installation: Installation, part: int) -> Iterator[None]:
    """An explainer of each model, which is being asked when the block begins; both are killed with -9 at its end.

    Each in a group of its own, so that none waits until the broker misses the one before.
    """
    running: list[psutil.Process] = []
    with contextlib.ExitStack() as stack:
        for model in EXPLAINED:
            variables = {
                "LATELABEL_CONFIG": str(installation.folder / f"{model}.yaml"),
                "LATELABEL_KAFKA__GROUP": f"{installation.name}-{model}-{part}",
                "PYTHONPATH": f"{Path.cwd()}:{installation.folder}",
                "LATELABEL_EXPLAINER__RESERVED_CORES": "1",
            }
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "agents", "explainer"],
                    cwd=installation.folder,
                    env={**installation.environment, **variables},
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(process.kill)
            running.append(psutil.Process(process.pid))
        for each in running:
            wait_until(lambda each=each: bool(each.children()), what="the model's process", seconds=60)  # type: ignore[misc]
            check_niceness(each, min(os.nice(0) + NICENESS, 19))
        yield


def test_no_cell_is_wrong_beside_explainers_that_hang_and_are_killed_one_after_the_other(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.unix_url)
    installation.topics |= {role: f"{installation.name}-{role}" for role in ("explain_requests", "explanations")}
    installation.create_topics()
    (tmp_path / "served.py").write_text(MODELS)
    for name, model in (("latelabel", EXPLAINED[0]), *zip(EXPLAINED, EXPLAINED, strict=True)):
        predictor = CONFIGURATION.replace('"served:fraud"', f"'served:{model}', classes: [ok, fraud]")
        (tmp_path / f"{name}.yaml").write_text(predictor)

    def matched() -> int:
        return asyncio.run(installation.counts())[1].get("predictions:matched", 0)

    with worker(installation) as running:
        for part in range(PARTS):
            numbers = range(part * COUNT // PARTS, (part + 1) * COUNT // PARTS)
            send(installation, "predictions", [prediction(number) for number in numbers])
            send(installation, "explain_requests", [request(installation, number) for number in numbers])
            with busy_explainers(installation, part):
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
