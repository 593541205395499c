"""`latelabel explain` from the topics to the reason, with models that behave and models that do not."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.servers import KafkaServer
from tests.support.inference_server import serving
from tests.support.services import create_topic, unique_name

ROOT = Path(__file__).resolve().parents[2]
MODELS = '''
import os, signal, sys, time
import numpy as np

def fraud(rows):
    """Fraud where the amount is large; the country does not matter."""
    amount = np.array([row[0] for row in rows], dtype=float)
    share = 1 / (1 + np.exp(-(amount - 50) / 10))
    return np.column_stack([share, 1 - share])

def mood(texts):
    good = np.array([0.9 if "splendid" in text else 0.2 for text in texts])
    return np.column_stack([1 - good, good])

def crash(rows):
    os.kill(os.getpid(), signal.SIGSEGV)

def leave(rows):
    os._exit(3)

def hang(rows):
    time.sleep(600)

def leak(rows):
    return bytearray(8 << 30)

def talk(rows):
    print("x" * 1000)
    sys.stdout.flush()
    return fraud(rows)

def peek(rows):
    assert not [name for name in os.environ if "LATELABEL" in name or "SECRET" in name], "inherited"
    return fraud(rows)

def files(rows):
    held = [open(os.devnull) for _ in range(1000)]

def fail(rows):
    raise ValueError("the country DE is not to be told")
'''
CLASSES = "{names: [fraud, ok]}"


class Place:
    """A folder with a configuration, topics with 200 predictions and a label, and the program."""

    def __init__(self, folder: Path, brokers: str) -> None:
        self.folder = folder
        self.brokers = brokers
        self.topics = {role: unique_name(role) for role in ("predictions", "labels")}
        for topic in self.topics.values():
            create_topic(brokers, topic, partitions=2)
        (folder / "served.py").write_text(MODELS)
        self.publish()

    def publish(self) -> None:
        chance = random.Random(4)
        producer = Producer({"bootstrap.servers": self.brokers})
        for number in range(200):
            record = {
                "request_id": f"r{number}", "model": "cards", "model_version": "3", "prediction": "ok",
                "features": {"amount": chance.uniform(0, 100), "country": chance.choice(["DE", "FR"])},
            }  # fmt: skip
            if number == 150:
                record["features"] = {"amount": 93.5, "country": "DE"}
            if number == 151:
                record["features"] = {"amount": None, "country": "DE"}
            if number == 152:
                del record["features"]
            producer.produce(self.topics["predictions"], json.dumps(record), partition=0)
        label = {"request_id": "r150", "label": "fraud"}
        producer.produce(self.topics["labels"], json.dumps(label), partition=1)
        producer.flush()

    def configure(self, predictor: str, *, explain: str = "", explainer: str = "", classes: str = CLASSES) -> None:
        (self.folder / "latelabel.yaml").write_text(
            f"kafka: {{brokers: ['{self.brokers}'], topics: {json.dumps(self.topics)}}}\n"
            f"explainer: {{allowed_hosts: ['127.0.0.1'], {explainer}}}\n"
            f"models: [{{name: cards, classes: {classes}, explain: {{predictor: '{predictor}', samples: 1000,"
            f" {explain}}}}}]\n"
        )

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "agents", "explain", *arguments],
            cwd=self.folder,
            env={"PYTHONPATH": f"{ROOT}:{self.folder}", "PATH": "/usr/bin:/bin", "SECRET": "x", **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def explained(self, request_id: str = "r150", *, code: int = 0) -> dict[str, Any]:
        done = self.run(request_id, "--json")
        assert code == done.returncode, done.stderr
        loaded: dict[str, Any] = json.loads(done.stdout)
        return loaded


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, kafka: KafkaServer) -> Place:
    return Place(tmp_path_factory.mktemp("explain"), kafka.address)


def failure(explanation: Mapping[str, Any]) -> tuple[str, str]:
    return explanation["failure"]["reason"], explanation["failure"]["message"]


def test_wrong_prediction_is_explained_by_what_decided_it(place: Place) -> None:
    place.configure("served:fraud")
    explanation = place.explained()
    assert None is explanation["failure"]
    assert ("ok", "fraud", "asked", 1.0) == tuple(explanation[key] for key in ("predicted", "label", "reason", "rate"))
    assert {"topic": place.topics["predictions"], "partition": 0, "offset": 150} == explanation["source"]
    first, second = explanation["attributions"]
    assert ("amount", 93.5) == (first["feature"], first["value"])
    assert first["weight"] < -10 * first["standard_error"]
    assert ("country", "country = DE") == (second["feature"], second["rule"])
    assert abs(second["weight"]) < 4 * second["standard_error"]
    assert {"amount": 93.5, "country": "DE"} == explanation["inputs"]
    assert ["answer_differs", "version_unknown"] == explanation["notes"]
    assert 1000 == explanation["fit"]["samples"]
    again = place.explained()
    assert explanation["event_id"] == again["event_id"]


def test_people_read_it_in_words_and_see_it_as_a_picture(place: Place) -> None:
    place.configure("served:fraud")
    done = place.run("r150", "--picture", "why.html")
    assert 0 == done.returncode, done.stderr
    assert "Predicted ok (asked again: 0.013), the label is fraud: wrong." in done.stdout
    assert " < amount " in done.stdout
    page = (place.folder / "why.html").read_text()
    assert "<svg" in page
    assert "<script" not in page
    assert "country = DE" in page


def test_words_of_the_text_are_marked_in_the_picture_wherever_they_stand_and_whatever_else_was_sent(
    place: Place,
) -> None:
    features = {"language": "a splendid one", "text": "word " * 60 + "splendid day"}
    record = {"request_id": "written", "model": "cards", "prediction": "ok", "features": features}
    producer = Producer({"bootstrap.servers": place.brokers})
    producer.produce(place.topics["predictions"], json.dumps(record), partition=1)
    producer.flush()
    place.configure("served:mood", explain="input: text, features: [text]", explainer="timeout: 60s")
    # Where the locale is another, the page says that it is UTF-8 all the same.
    done = place.run("written", "--picture", "text.html", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    assert 0 == done.returncode, done.stderr
    page = (place.folder / "text.html").read_text(encoding="utf-8")
    assert re.search(r"word <mark [^>]*>splendid</mark> ", page)
    assert "R²" in page
    place.configure("served:mood", explain="input: text, features: [text], hashed: [text]", explainer="timeout: 60s")
    place.run("written", "--picture", "hidden.html")
    hidden = (place.folder / "hidden.html").read_text(encoding="utf-8")
    assert "splendid" not in hidden
    assert "<mark" not in hidden


def test_served_model_is_asked_over_the_open_inference_protocol_and_its_version_compared(place: Place) -> None:
    inputs = [
        {"name": "amount", "datatype": "FP64", "shape": [-1, 1]},
        {"name": "country", "datatype": "BYTES", "shape": [-1, 1]},
    ]

    def model(rows: Any) -> list[list[float]]:
        return [[0.9, 0.1] if float(row[0]) > 50 else [0.2, 0.8] for row in rows]

    with serving(model, inputs=inputs, version="4") as server:
        place.configure(server.url)
        explanation = place.explained()
    assert "amount" == explanation["attributions"][0]["feature"]
    assert "4" == explanation["answered_version"]
    assert ["answer_differs", "version_differs"] == explanation["notes"]


@pytest.mark.parametrize(
    ("model", "reason", "said"),
    [
        ("crash", "crashed", "SIGSEGV"),
        ("leave", "crashed", "exit code 3"),
        ("hang", "too_slow", "explainer.timeout"),
        ("leak", "out_of_memory", "explainer.memory_mib"),
        ("files", "model_failed", "Too many open files"),
        ("fail", "model_failed", "ValueError"),
        ("absent", "not_loadable", "PYTHONPATH"),
    ],
)
def test_model_that_misbehaves_is_told_with_its_reason(place: Place, model: str, reason: str, said: str) -> None:
    place.configure(f"served:{model}", explainer="timeout: 3s" if model == "hang" else "")
    found, message = failure(place.explained(code=1))
    assert reason == found
    assert said in message
    if reason in ("crashed", "too_slow", "out_of_memory"):
        assert "tried 3 times" in message


@pytest.mark.parametrize("model", ["talk", "peek"])
def test_model_that_prints_or_looks_around_disturbs_nothing_and_sees_nothing(place: Place, model: str) -> None:
    place.configure(f"served:{model}")
    assert None is place.explained()["failure"]


def test_missing_value_is_refused_imputed_or_kept_as_configured(place: Place) -> None:
    place.configure("served:fraud")
    reason, message = failure(place.explained("r151", code=1))
    assert "missing_values" == reason
    assert "no value for amount" in message
    place.configure("served:fraud", explain="missing: impute")
    explanation = place.explained("r151")
    assert ["amount"] == list(explanation["imputed"])
    assert 30 < explanation["imputed"]["amount"] < 70


def test_features_that_may_not_be_told_are_not(place: Place) -> None:
    place.configure("served:fraud", explain="shown: [amount, country], hashed: [country]")
    explanation = place.explained()
    assert "DE" not in json.dumps(explanation)
    assert explanation["inputs"]["country"].startswith("blake2b:")
    place.configure("served:fail", explain="shown: [amount]")
    reason, message = failure(place.explained(code=1))
    assert ("model_failed", "The model raised an error.") == (reason, message)


def test_prediction_without_features_and_model_without_predictor_say_so(place: Place) -> None:
    place.configure("served:fraud")
    assert "no_features" == failure(place.explained("r152", code=1))[0]
    (place.folder / "latelabel.yaml").write_text(
        f"kafka: {{brokers: ['{place.brokers}'], topics: {json.dumps(place.topics)}}}\n"
    )
    reason, message = failure(place.explained(code=1))
    assert "not_configured" == reason
    assert "explain.predictor" in message


@pytest.mark.parametrize("written", [r'"a\"b"', r'"a\u003db"'])
def test_request_is_found_however_its_id_is_written(place: Place, written: str) -> None:
    producer = Producer({"bootstrap.servers": place.brokers})
    record = f'{{"request_id":{written},"model":"cards","model_version":"escaped","prediction":"ok"}}'
    producer.produce(place.topics["predictions"], record, partition=1)
    producer.flush()
    place.configure("served:fraud")
    assert "no_features" == failure(place.explained(json.loads(written), code=1))[0]


def test_request_that_is_on_no_topic_is_an_error_with_the_remedy(place: Place) -> None:
    place.configure("served:fraud")
    done = place.run("nobody")
    assert 1 == done.returncode
    assert "--since" in done.stderr
