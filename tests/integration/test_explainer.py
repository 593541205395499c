"""`latelabel explainer` on a real Kafka: explains what is asked, survives its models, shares the work."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.servers import KafkaServer
from tests.integration.test_explain import Place
from tests.support.services import create_topic, unique_name
from tests.support.topics import read_topic
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Explaining(Place):
    """A place with the topics of the explainer, and the program itself."""

    def __init__(self, folder: Path, brokers: str) -> None:
        super().__init__(folder, brokers)
        self.topics |= {role: unique_name(role) for role in ("explain_requests", "explanations")}
        create_topic(brokers, self.topics["explain_requests"], partitions=2)
        create_topic(brokers, self.topics["explanations"])
        self.group = unique_name("group")

    def publish_one(self, request_id: str, features: Mapping[str, Any]) -> int:
        """Publish a prediction of another version; its offset in partition 0."""
        offsets: list[int | None] = []
        record = {"request_id": request_id, "model": "cards", "model_version": "4", "prediction": "ok"}
        producer = Producer({"bootstrap.servers": self.brokers})
        producer.produce(
            self.topics["predictions"],
            json.dumps({**record, "features": features}),
            partition=0,
            on_delivery=lambda _, message: offsets.append(message.offset()),
        )
        producer.flush()
        (offset,) = offsets
        assert offset is not None
        return offset

    def ask(self, *offsets: int, request_id: str = "r{}", partition: int = 0, **fields: Any) -> None:
        producer = Producer({"bootstrap.servers": self.brokers})
        for offset in offsets:
            request = {
                "request_id": request_id.format(offset), "model": "cards", "model_version": "3", "reason": "wrong",
                "topic": self.topics["predictions"], "partition": partition, "offset": offset, "rate": 0.5, **fields,
            }  # fmt: skip
            producer.produce(self.topics["explain_requests"], json.dumps(request))
        producer.flush()

    def explanations(self) -> list[dict[str, Any]]:
        return [json.loads(value or b"") for _, value in read_topic(self.brokers, self.topics["explanations"])]

    def wait_for(self, count: int, *, seconds: float = 60.0) -> list[dict[str, Any]]:
        """Explanations of so many requests, of which some may have been published twice."""

        def asked() -> int:
            return len({(each["request_id"], each["model"]) for each in self.explanations()})

        wait_until(lambda: asked() >= count, what=f"{count} explanations", seconds=seconds)
        return self.explanations()

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-m", "agents", "explainer"],
            cwd=self.folder,
            env={
                "PYTHONPATH": f"{ROOT}:{self.folder}", "PATH": "/usr/bin:/bin", "LATELABEL_SECRET": "x",
                "LATELABEL_KAFKA__GROUP": self.group, "LATELABEL_WEB__PORT": "0", "LATELABEL_LOG__FORMAT": "text",
                "LATELABEL_EXPLAINER__RESERVED_CORES": "1",
            },
            stderr=subprocess.PIPE,
            text=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


@pytest.fixture
def place(tmp_path: Path, kafka: KafkaServer) -> Explaining:
    return Explaining(tmp_path, kafka.address)


def test_requests_are_explained_and_each_failure_has_its_reason(place: Explaining) -> None:
    place.configure("served:fraud")
    with place.running() as process:
        place.ask(150, predicted="ok", label="fraud")
        place.ask(151, 152, 153)
        place.ask(100_000)
        place.ask(7, request_id="another")
        place.ask(8, model="nobody")
        place.ask(9, partition=7)
        place.ask(10, topic="no-such-topic")
        place.ask(place.publish_one("large", {"amount": 10**29}), request_id="large", model_version="4")
        by_id = {(each["request_id"], each["model"]): each for each in place.wait_for(10)}
        port = re.search(r"127\.0\.0\.1:(\d+)", log(process))
        assert port is not None
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics", timeout=10).read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        told = [line for line in process.stderr if "was not explained" in line]
        assert 0 == process.wait(60)
    good = by_id["r150", "cards"]
    assert ("wrong", 0.5, "fraud", None) == (good["reason"], good["rate"], good["label"], good["failure"])
    assert good["event_time"] < good["produced_at"]
    assert None is by_id["r100000", "cards"]["event_time"]
    assert "amount" == good["attributions"][0]["feature"]
    assert abs(time.time() - datetime.datetime.fromisoformat(good["event_time"]).timestamp()) < 3600
    assert by_id["r100000", "cards"]["event_time"] is None
    reasons = {name: each["failure"]["reason"] for (name, _), each in by_id.items() if each["failure"]}
    assert {
        "r151": "missing_values",
        "r152": "no_features",
        "r100000": "offset_beyond_log",
        "another": "record_changed",
        "r8": "not_configured",
        "r9": "offset_beyond_log",
        "r10": "offset_beyond_log",
        "large": "no_background",
    } == reasons
    assert 'latelabel_explanations_total{model="cards",outcome="explained"} 2' in metrics
    assert 'latelabel_explanations_total{model="cards",outcome="crashed"} 0' in metrics
    assert 'latelabel_explanations_total{model="__other__",outcome="not_configured"} 1' in metrics
    assert 6 == len(told), told
    assert any("of cards was not explained, no_features: the prediction came with" in line for line in told)


def log(process: subprocess.Popen[str]) -> str:
    """The line that tells where it listens."""
    assert process.stderr is not None
    for line in process.stderr:
        if "Serving HTTP" in line:
            return line
    raise AssertionError("it ended")


def test_record_that_is_no_longer_kept_is_told_as_such(place: Explaining) -> None:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": place.brokers})
    for deleted in admin.delete_records([TopicPartition(place.topics["predictions"], 0, 50)]).values():
        deleted.result(30)
    place.configure("served:fraud")
    place.ask(10)
    with place.running():
        (explanation,) = place.wait_for(1)
    assert "retention_passed" == explanation["failure"]["reason"]
    assert "from offset 50 on" in explanation["failure"]["message"]


def test_prediction_that_kills_the_model_takes_no_other_with_it(place: Explaining) -> None:
    (place.folder / "served.py").write_text(
        (place.folder / "served.py").read_text()
        + "\ndef touchy(rows):\n    if len(rows) < 100 and any(row[0] == 93.5 for row in rows):\n        crash(rows)\n"
        "    return fraud(rows)\n"
    )
    place.configure("served:touchy")
    place.ask(149, 150, 153)
    with place.running():
        by_id = {each["request_id"]: each["failure"] for each in place.wait_for(3)}
    assert {"r149": None, "r153": None} == {name: by_id[name] for name in ("r149", "r153")}
    assert "crashed" == by_id["r150"]["reason"]


def test_model_that_never_gets_ready_holds_up_nobody_for_each_of_its_predictions(place: Explaining) -> None:
    place.configure("served:hang", explainer="timeout: 1s")
    place.ask(*range(30))
    with place.running():
        # Three attempts of three seconds for all of them; each alone would take minutes.
        explanations = place.wait_for(30, seconds=90)
    assert {"too_slow"} == {each["failure"]["reason"] for each in explanations}


def test_two_explainers_share_the_work_and_one_that_is_killed_is_replaced(place: Explaining) -> None:
    place.configure("served:fraud")
    with place.running() as first, place.running() as second:
        log(first), log(second)
        place.ask(*range(40))
        place.wait_for(40)
        first.kill()
        first.wait()
        place.ask(*range(40, 60))
        explained = {each["request_id"] for each in place.wait_for(60, seconds=90)}
    assert {f"r{number}" for number in range(60)} == explained


def test_explainer_without_its_topic_says_how_to_make_it(place: Explaining) -> None:
    place.topics["explain_requests"] = "not-there"
    place.configure("served:fraud")
    with place.running() as process:
        _, said = process.communicate(timeout=60)
    assert 1 == process.returncode
    assert "latelabel topics create" in said
