"""From predictions to reports on attribution: a real Kafka and Redis, an explainer, and workers that share the work."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.servers import KafkaServer, RedisServer
from tests.integration.test_explain import MODELS
from tests.support.attributions import newest_attributions
from tests.support.services import create_topic
from tests.support.topics import read_topic
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = """\
models:
  - name: cards
    task: binary
    positive_class: fraud
    explain: {predictor: "served:fraud", samples: 1000, classes: [fraud, ok], rate_per_minute: 0}
"""
COUNT = 60
OUTPUTS = {"explain_requests": 1, "explanations": 3}


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    for role, partitions in OUTPUTS.items():
        topic = f"{installation.name}-{role}"
        installation.topics[role] = create_topic(kafka.address, topic, partitions=partitions)
    (tmp_path / "latelabel.yaml").write_text(CONFIGURATION)
    (tmp_path / "served.py").write_text(MODELS)
    return installation


def send(installation: Installation, role: str, records: list[dict[str, Any]]) -> None:
    producer = Producer({"bootstrap.servers": installation.brokers})
    for record in records:
        producer.produce(installation.topics[role], json.dumps(record), partition=0)
    assert 0 == producer.flush(30)


def request(installation: Installation, number: int) -> dict[str, Any]:
    """Every second one is about a prediction that was wrong."""
    return {
        "request_id": f"r{number}", "model": "cards", "model_version": "3", "topic": installation.topics["predictions"],
        "partition": 0, "offset": number, "reason": "base" if number % 2 else "wrong", "rate": 0.5,
    }  # fmt: skip


@contextlib.contextmanager
def explainer(installation: Installation) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-m", "agents", "explainer"],
        cwd=installation.folder,
        env={
            **installation.environment,
            "PYTHONPATH": f"{ROOT}:{installation.folder}",
            "LATELABEL_EXPLAINER__RESERVED_CORES": "1",
        },
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.kill()


def reports(installation: Installation) -> list[dict[str, Any]]:
    """The newest revision of each window of five minutes, in order."""
    found = newest_attributions(read_topic(installation.brokers, installation.topics["metrics"]))
    return [each for _, each in sorted(found.items()) if each["window"]["size_seconds"] == 300]


def explained(installation: Installation) -> tuple[int, int]:
    """Explanations of wrong predictions and of those for comparison, in all windows."""
    wrong, base = (sum(each[sample]["explained"] for each in reports(installation)) for sample in ("wrong", "base"))
    return wrong, base


@pytest.mark.timeout(600)
def test_explanations_reach_reports_once_each_whichever_worker_reads_them_or_dies(installation: Installation) -> None:
    predictions = [
        {
            "request_id": f"r{number}", "model": "cards", "model_version": "3", "prediction": "ok",
            "features": {"amount": number * 100 / COUNT, "country": ("DE", "FR")[number % 3 == 0]},
        }
        for number in range(COUNT + 1)
    ]  # fmt: skip
    send(installation, "predictions", predictions)
    requests = [request(installation, number) for number in range(COUNT + 1)]
    half = COUNT // 2
    with explainer(installation), worker(installation) as first, worker(installation) as second:
        send(installation, "explain_requests", requests[:half])
        wait_until(lambda: explained(installation) == (half // 2, half // 2), what="the first half", seconds=240)
        first.send_signal(signal.SIGKILL)
        # What is known comes again, before and beside what is new.
        send(installation, "explain_requests", [*requests[:half], *requests[half:COUNT], *requests[: COUNT + 1]])
        wait_until(lambda: explained(installation) == (half + 1, half), what="all explanations", seconds=240)
        shown = show(installation)
        second.send_signal(signal.SIGTERM)
        code, log = finish(second)
    assert 0 == code, log
    assert "Traceback" not in log
    assert (half + 1, half) == explained(installation)
    one = max(reports(installation), key=lambda each: each["base"]["explained"])
    assert ("cards", "3", {}, "open", 0) == (
        one["model"], one["model_version"], one["segment"], one["status"], one["wrong"]["failed"],
    )  # fmt: skip
    assert pytest.approx(2 * one["base"]["explained"]) == one["base"]["stands_for"]
    assert ["amount", "country"] == [each["feature"] for each in one["features"]]
    assert one["features"][0]["base"]["mean_absolute"] > 5 * one["features"][1]["base"]["mean_absolute"]
    assert "what decided, 1h from" in shown
    assert "\namount  " in shown


def show(installation: Installation) -> str:
    return subprocess.run(
        [sys.executable, "-m", "agents", "show", "cards"],
        cwd=installation.folder,
        env={**installation.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_worker_of_an_explained_model_without_the_topic_counts_and_says_so_once(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    installation.topics["explanations"] = f"{installation.name}-nowhere"
    (tmp_path / "latelabel.yaml").write_text(CONFIGURATION)
    with worker(installation) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if "No attributions are compared" in line)
        process.send_signal(signal.SIGTERM)
        code, _ = finish(process)
    assert 0 == code
    assert "latelabel topics create" in told
