"""Files through `latelabel replay`, Kafka and a worker to the counts, and what stops on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.servers import KafkaServer, RedisServer
from tests.support.topics import read_records
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

ROOT = Path(__file__).resolve().parents[2]

FLIGHTS = """\
id,scheduled,Carrier,answer,p
f1,2013-01-01 05:15,UA,late,0.9
f2,2013-01-01 05:29,UA,on_time,0.2
f3,2013-01-01 05:40,B6,late,0.7
f4,2013-01-02 05:40,B6,on_time,0.1
f5,2013-01-02 05:50,,late,
"""
LANDINGS = [
    {"flight": {"id": "f2"}, "was": "on_time", "landed": "2013-01-01T13:00:00Z"},
    {"flight": {"id": "f1"}, "was": "late", "landed": "2013-01-01T13:45:00Z"},
    {"flight": {"id": "f3"}, "was": "on_time", "landed": "2013-01-01T13:10:00Z"},
    {"flight": {"id": "f4"}, "was": None, "landed": None},
    {"flight": {"id": "f5"}, "was": "late", "landed": "2013-01-02T15:00:00Z"},
]
ARGUMENTS = [
    *("flights.csv", "--topic", "predictions", "--map", "request_id=id", "--map", "event_time=scheduled"),
    *("--map", "segment.carrier=Carrier", "--map", "prediction=answer", "--map", "score=p", "--set", "model=delay"),
    *("landings.jsonl", "--topic=labels", "--map=request_id=flight.id", "--map=label=was", "--map=event_time=landed"),
    *("--timezone", "America/New_York"),
]


class Replays:
    """A folder with files, and topics that nobody else uses."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.folder = installation.folder
        self.environment = {**installation.environment, "PYTHONPATH": str(ROOT)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Type the command and let it run."""
        command = [sys.executable, "-m", "agents", "replay", *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Type the command and wait. Returns exit code and stderr."""
        return finish(self.start(*arguments))

    def counts(self, *options: str) -> list[dict[str, Any]]:
        """What `latelabel counts` prints."""
        command = [sys.executable, "-m", "agents", "counts", *options, "--format", "jsonl"]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, check=True)
        return [orjson.loads(line) for line in done.stdout.splitlines()]

    def records(self, role: str) -> list[Any]:
        """All messages of a topic."""
        brokers, topic = self.installation.brokers, self.installation.topics[role]
        partitions = range(self.installation.partitions)
        return [record for partition in partitions for record in read_records(brokers, topic, partition=partition)]


@pytest.fixture
def replays(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Replays:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    (tmp_path / "latelabel.yaml").write_text(
        "models: [{name: delay, segments: [carrier], report_windows: [1d], label_horizon: 7d}]"
    )
    (tmp_path / "flights.csv").write_text(FLIGHTS)
    (tmp_path / "landings.jsonl").write_bytes(b"\n".join(map(orjson.dumps, LANDINGS)))
    return Replays(installation)


def test_csv_of_predictions_and_json_lines_of_labels_are_counted_exactly(replays: Replays) -> None:
    code, log = replays.run(*ARGUMENTS)
    assert 0 == code, log
    assert "flights.csv: 5 predictions, 2013-01-01T10:15:00Z to 2013-01-02T10:50:00Z" in log
    assert "1 without a label left out, not in order of time, will be sorted" in log
    assert "9 of 9 records (100.0%), event time 2013-01-02T15:00:00Z" in log
    with worker(replays.installation, "--until-caught-up") as process:
        code, log = finish(process)
    assert 0 == code, log
    cells: dict[tuple[str | None, ...], int] = {
        (str(cell["segment"]), cell["window_start"][:10], cell["label"], cell["prediction"]): cell["count"]
        for cell in replays.counts("--model", "delay")
    }
    everything: dict[tuple[str | None, ...], int] = {
        ("2013-01-01", "late", "late"): 1,
        ("2013-01-01", "on_time", "on_time"): 1,
        ("2013-01-01", "on_time", "late"): 1,
        ("2013-01-02", None, "on_time"): 1,
        ("2013-01-02", "late", "late"): 1,
    }
    carriers: dict[tuple[str | None, ...], int] = {
        ("UA", "2013-01-01", "late", "late"): 1,
        ("UA", "2013-01-01", "on_time", "on_time"): 1,
        ("B6", "2013-01-01", "on_time", "late"): 1,
        ("B6", "2013-01-02", None, "on_time"): 1,
        ("__missing__", "2013-01-02", "late", "late"): 1,
    }
    expected: dict[tuple[str | None, ...], int] = {("{}", *cell): count for cell, count in everything.items()}
    expected |= {(f"{{'carrier': '{carrier}'}}", *cell): count for (carrier, *cell), count in carriers.items()}
    assert expected == cells


def test_records_carry_headers_and_the_time_of_sending(replays: Replays) -> None:
    assert 0 == replays.run(*ARGUMENTS)[0]
    labels = {message.key(): message for message in replays.records("labels")}
    headers = dict(labels[b"f1"].headers())
    assert {"request_id": "f1", "label": "late", "event_time": "2013-01-01T13:45:00Z"} == orjson.loads(
        labels[b"f1"].value()
    )
    assert (b"application/json", b"1.0", b"io.latelabel.label.v1", b"2013-01-01T13:45:00Z") == tuple(
        headers[name] for name in ("content-type", "ce_specversion", "ce_type", "ce_time")
    )
    assert 4 == len({dict(message.headers())["ce_id"] for message in labels.values()})
    # A broker that deletes by age must not take them for records of 2013.
    assert all(message.timestamp()[1] > 1_700_000_000_000 for message in labels.values())


def test_interrupted_replay_says_how_to_go_on_and_then_every_record_is_there_once(replays: Replays) -> None:
    # Eight hours of event time lie between the last prediction and the first label, so it waits there.
    process = replays.start(*ARGUMENTS, "--speed", "1800")
    wait_until(lambda: len(replays.records("predictions")) == 3, what="the first three predictions")
    process.send_signal(signal.SIGINT)
    code, log = finish(process)
    assert 130 == code, log
    assert "Stopped after 3 of 9 records. To go on, repeat the command with --skip 3;" in log
    assert (3, 0) == (len(replays.records("predictions")), len(replays.records("labels")))
    assert 0 == replays.run(*ARGUMENTS, "--skip", "3")[0]
    assert [b"f1", b"f2", b"f3", b"f4", b"f5"] == sorted(message.key() for message in replays.records("predictions"))
    assert [b"f1", b"f2", b"f3", b"f5"] == sorted(message.key() for message in replays.records("labels"))


def test_nothing_is_sent_of_any_file_if_one_has_a_mistake(replays: Replays) -> None:
    (replays.folder / "landings.jsonl").write_text('{"flight": {"id": "f1"}, "was": "late", "landed": "soon"}\n{')
    code, log = replays.run(*ARGUMENTS)
    assert 1 == code
    assert "landings.jsonl:1: event_time: soon is no time such as" in log
    assert "landings.jsonl:2: not JSON" in log
    assert "Error: 2 mistakes; nothing was sent" in log
    assert [] == replays.records("predictions")


def test_missing_topic_is_told_and_not_created(replays: Replays) -> None:
    replays.environment["LATELABEL_KAFKA__TOPICS__LABELS"] = f"{replays.installation.name}-absent"
    code, log = replays.run(*ARGUMENTS)
    assert 1 == code
    assert "has no topic" in log
    assert "`latelabel topics create`" in log
    assert [] == replays.records("predictions")
