"""Commands as processes on the real Kafka and Redis: what they print, where, and how they end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.kafka_topics import ExistingTopic, KafkaTopics
from agents.settings import load_settings
from deploy.servers import KafkaServer, RedisServer
from schemas.topics import TOPICS
from tests.support.services import create_topic, unique_name
from tests.support.traffic import produce
from tests.support.workers import Installation, finish, worker

ROOT = Path(__file__).resolve().parents[2]
ABSENT = "127.0.0.1:1"
WINDOW = "2026-11-23T12:00:00Z"


def prediction(request_id: str, answer: str, **more: object) -> bytes:
    record = {"request_id": request_id, "model": "fraud", "model_version": "3", "prediction": answer}
    return orjson.dumps({**record, "event_time": WINDOW, "segment": {"country": "DE"}, **more})


def label(request_id: str, answer: str, **more: object) -> bytes:
    return orjson.dumps({"request_id": request_id, "label": answer, "event_time": WINDOW, **more})


class Prompt:
    """A folder to type commands in, with a configuration and an environment."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Type a command and wait for its end."""
        return subprocess.run(
            [sys.executable, "-m", "agents", *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Type a command and let it run."""
        return subprocess.Popen(
            [sys.executable, "-m", "agents", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def records(self, *arguments: str) -> list[dict[str, Any]]:
        """The JSON Lines that a command prints."""
        done = self.run(*arguments)
        assert (0, "") == (done.returncode, done.stderr)
        return [orjson.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def prompt(tmp_path: Path) -> Prompt:
    return Prompt(tmp_path, {})


@pytest.fixture
def topics(tmp_path: Path, kafka: KafkaServer) -> Prompt:
    """Topic names that nobody has used, none of them created."""
    name = unique_name("topics")
    variables = {f"LATELABEL_KAFKA__TOPICS__{role.upper()}": f"{name}-{role}" for role in TOPICS}
    return Prompt(
        tmp_path, {**variables, "LATELABEL_KAFKA__BROKERS": kafka.address, "LATELABEL_KAFKA__PARTITIONS": "2"}
    )


@pytest.fixture
def counted(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Prompt:
    """A ledger and reports made from ten records, one of them bad."""
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    (tmp_path / "latelabel.yaml").write_text("models: [{name: fraud, segments: [country]}]")
    predictions: list[bytes | None] = [
        prediction("a", "ok"),
        prediction("b", "ok"),
        prediction("c", "fraud"),
        prediction("d", "fraud", status="error"),
        prediction("e", "ok", model="other", segment={}, signals={"margin": -0.5, "norm": None}),
        b"{",
    ]
    labels: list[bytes | None] = [label("a", "ok"), label("b", "fraud"), label("b", "ok"), label("x", "ok")]
    produce(kafka.address, installation.topics["predictions"], predictions, partitions=installation.partitions)
    produce(kafka.address, installation.topics["labels"], labels, partitions=installation.partitions)
    with worker(installation, "--until-caught-up") as process:
        code, log = finish(process)
    assert 0 == code, log
    return Prompt(tmp_path, installation.environment)


# --- topics create ---------------------------------------------------------------------------------------------------


def existing_topics(prompt: Prompt) -> dict[str, ExistingTopic]:
    settings = load_settings(None, prompt.environment)

    async def describe() -> dict[str, ExistingTopic]:
        async with KafkaTopics(settings.kafka) as kafka_topics:
            return await kafka_topics.existing(*settings.kafka.topic_names.values())

    found = asyncio.run(describe())
    return {role: found[name] for role, name in settings.kafka.topic_names.items() if name in found}


def test_topics_are_created_as_configured_and_left_alone_afterwards(topics: Prompt) -> None:
    first, second = topics.run("topics", "create"), topics.run("topics", "create")
    assert (0, "", 0, "") == (first.returncode, first.stderr, second.returncode, second.stderr)
    assert len(TOPICS) == first.stdout.count(": created, partitions=2, ")
    assert len(TOPICS) == second.stdout.count(": exists\n")
    found = existing_topics(topics)
    assert dict.fromkeys(TOPICS, (2, 1)) == {
        role: (topic.partitions, topic.replication_factor) for role, topic in found.items()
    }
    assert {role: topic.cleanup_policy for role, topic in TOPICS.items()} == {
        role: topic.config["cleanup.policy"] for role, topic in found.items()
    }
    assert str(16 << 20) == found["dead_letters"].config["max.message.bytes"]


def test_inputs_are_kept_a_day_longer_than_the_longest_horizon(topics: Prompt) -> None:
    (topics.folder / "latelabel.yaml").write_text("models: [{name: slow, label_horizon: 30d}]")
    assert 0 == topics.run("topics", "create").returncode
    found = existing_topics(topics)
    assert {str(31 * 86_400_000)} == {found[role].config["retention.ms"] for role in ("predictions", "labels")}


def test_topic_that_would_lose_records_is_unsafe(topics: Prompt, kafka: KafkaServer) -> None:
    names = load_settings(None, topics.environment).kafka.topic_names
    create_topic(kafka.address, names["labels"], partitions=3, settings={"retention.ms": "3600000"})
    create_topic(kafka.address, names["dead_letters"], partitions=2, settings={"max.message.bytes": "1000000"})
    done = topics.run("topics", "create")
    assert 1 == done.returncode
    assert f"{names['labels']}: differs\n    3 partitions, kafka.partitions is 2\n" in done.stdout
    assert "    UNSAFE retention.ms 3600000 (1h), shorter than the longest label horizon plus a day" in done.stdout
    assert "    UNSAFE max.message.bytes 1000000: large records would be refused" in done.stdout
    alter = f"`kafka-configs.sh --bootstrap-server {kafka.address} --alter --topic"
    assert f"{alter} {names['labels']} --add-config retention.ms=172800000`" in done.stderr
    assert f"{alter} {names['dead_letters']} --add-config max.message.bytes=16777216`" in done.stderr
    assert f"{names['predictions']}: created" in done.stdout


def test_difference_that_loses_nothing_is_only_told(topics: Prompt, kafka: KafkaServer) -> None:
    name = load_settings(None, topics.environment).kafka.topic("metrics")
    create_topic(kafka.address, name, partitions=5)
    done = topics.run("topics", "create")
    assert 0 == done.returncode
    assert f"{name}: differs\n    5 partitions, kafka.partitions is 2\n    cleanup.policy delete" in done.stdout


def test_topic_that_brokers_refuse_is_named_with_their_reason(topics: Prompt) -> None:
    done = topics.run("topics", "create", LATELABEL_KAFKA__REPLICATION_FACTOR="3")
    assert 1 == done.returncode
    assert "does not create the topic" in done.stderr
    assert "replication factor" in done.stderr
    assert "Traceback" not in done.stderr


# --- counts ----------------------------------------------------------------------------------------------------------


def cell(model: str, segment: dict[str, str], truth: str | None, answer: str, count: int) -> dict[str, Any]:
    return {
        "model": model,
        "model_version": "3",
        "segment": segment,
        "window_start": WINDOW,
        "label": truth,
        "prediction": answer,
        "count": count,
    }


GERMANY = {"country": "DE"}
FRAUD_CELLS = [
    *(cell("fraud", {}, None, "fraud", 1), cell("fraud", {}, "ok", "ok", 2)),
    *(cell("fraud", GERMANY, None, "fraud", 1), cell("fraud", GERMANY, "ok", "ok", 2)),
]


def test_counts_are_the_cells_of_the_ledger_in_order(counted: Prompt) -> None:
    other = cell("other", {}, None, "ok", 1)
    found = counted.records("counts", "--format", "jsonl")
    assert [*FRAUD_CELLS, other] == found
    assert list(other) == list(found[-1])
    assert FRAUD_CELLS == counted.records("counts", "--model", "fraud", "--json")
    assert [] == counted.records("counts", "--model", "nobody", "--json")


def test_counts_are_a_table_for_people(counted: Prompt) -> None:
    lines = counted.run("counts", "--model", "fraud").stdout.splitlines()
    assert ["model", "model_version", "segment", "window_start", "label", "prediction", "count"] == lines[0].split()
    assert ["fraud", "3", "everything", WINDOW, "-", "fraud", "1"] == lines[1].split()
    assert ["fraud", "3", "country=DE", WINDOW, "ok", "ok", "2"] == lines[4].split()
    assert (
        'Nothing is counted of model "nobody"; `latelabel show` lists'
        in counted.run("counts", "--model", "nobody").stderr
    )


def test_totals_give_every_fate_and_add_up_to_what_was_read(counted: Prompt) -> None:
    kafka = load_settings(None, counted.environment).kafka
    predictions = {"waiting": 2, "matched": 2, "failed": 1, "rejected": 1}
    labels = {"held": 1, "matched": 2, "corrected_label": 1}
    nothing = dict.fromkeys(("never_labelled", "duplicate_prediction", "conflicting_prediction", "late_prediction"), 0)
    no_label = dict.fromkeys(("duplicate_label", "out_of_range", "unmatched_label", "rejected"), 0)
    found = counted.records("counts", "--totals", "--json")
    assert [
        {"topic": kafka.topic("predictions"), "read": 6, **predictions, **nothing},
        {"topic": kafka.topic("labels"), "read": 4, **labels, **no_label},
    ] == found
    assert [6, 4] == [sum(count for count in list(total.values())[2:]) for total in found]


def test_counts_without_a_ledger_fail_with_the_remedy(prompt: Prompt, redis_server: RedisServer) -> None:
    done = prompt.run(
        "counts", "--json", LATELABEL_REDIS__URL=redis_server.url, LATELABEL_REDIS__PREFIX=unique_name("none")
    )
    assert (1, "") == (done.returncode, done.stdout)
    assert "nothing has been counted. `latelabel worker` begins one" in done.stderr


# --- show ------------------------------------------------------------------------------------------------------------


def test_fleet_is_shown_for_people_and_as_published_for_programs(counted: Prompt) -> None:
    lines = counted.run("show").stdout.splitlines()
    assert "2 model versions, worst first" == lines[0]
    assert ["fraud", "3", "open", "2026-11-23", "12:00", "1h"] == lines[4].split()[:6]
    assert ["accuracy", "1.000", "[0.342,", "1.000]", "2", "66.7%", "3", "1"] == lines[5].split()
    assert ["accuracy:", "no", "label", "yet", "0%", "1", "0"] == lines[7].split()
    found = counted.records("show", "--json")
    assert [("fraud", 3600), ("other", 3600)] == [(each["model"], each["window"]["size_seconds"]) for each in found]
    published = counted.records("tail", "metrics", "--from", "beginning", "--timeout", "5")
    assert all(each in published for each in found)


def test_one_model_is_shown_on_one_screen_of_plain_text(counted: Prompt) -> None:
    done = counted.run("show", "fraud")
    assert (0, "") == (done.returncode, done.stderr)
    assert "\x1b" not in done.stdout
    assert "accuracy, newest windows first, UTC\n1h from " in done.stdout
    assert "3 predictions: 2 labelled (66.7%), 1 due, 0 never; 1 more failed\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    [hour, stability] = counted.records("show", "fraud", "--json")
    [minutes, _] = counted.records("show", "fraud", "--model-version", "3", "--window", "5m", "--format", "jsonl")
    assert ("stability", hour["window"]) == (stability["kind"], stability["window"])
    assert [3600, 300] == [report["window"]["size_seconds"] for report in (hour, minutes)]
    assert [{}, {}] == [report["segment"] for report in (hour, minutes)]
    [*_, signals] = counted.records("show", "other", "--json")
    assert ("signals", {"margin": 1}) == (signals["kind"], signals["values"])
    assert -0.5 == signals["metrics"]["signal.margin.mean"]["value"]
    assert "\nmargin  1         0%" in counted.run("show", "other").stdout


def test_terminal_without_these_characters_gets_others(counted: Prompt) -> None:
    done = counted.run("show", "fraud", PYTHONIOENCODING="ascii")
    assert (0, "") == (done.returncode, done.stderr)
    assert "\no value  = 95 % interval  . what" in done.stdout


def test_model_version_metric_or_window_that_is_not_there_is_told_with_those_that_are(counted: Prompt) -> None:
    unknown = counted.run("show", "nobody", "--json")
    assert (1, "") == (unknown.returncode, unknown.stdout)
    assert 'Error: no report of model "nobody"; there are "fraud", "other"\n' == unknown.stderr
    version = counted.run("show", "fraud", "--model-version", "4")
    assert (1, 'Error: no report of version "4"; there are "3"\n') == (version.returncode, version.stderr)
    window = counted.run("show", "fraud", "--window", "7m")
    assert (1, "") == (window.returncode, window.stdout)
    metric = counted.run("show", "--metric", "luck")
    assert (2, "") == (metric.returncode, metric.stdout)
    assert "There is no metric 'luck' here; there are accuracy, " in metric.stderr


def test_empty_installation_shows_how_to_publish(prompt: Prompt, redis_server: RedisServer) -> None:
    place = {"LATELABEL_REDIS__URL": redis_server.url, "LATELABEL_REDIS__PREFIX": unique_name("none")}
    done = prompt.run("show", **place)
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("No model has a report yet. Run `latelabel worker`, then publish JSON objects:\n")
    nothing = prompt.run("show", "--json", **place)
    assert (0, "", "") == (nothing.returncode, nothing.stdout, nothing.stderr)


def test_totals_of_one_model_are_wrong_usage(prompt: Prompt) -> None:
    assert 2 == prompt.run("counts", "--totals", "--model", "fraud").returncode


# --- tail ------------------------------------------------------------------------------------------------------------


def explanations(prompt: Prompt) -> str:
    """A topic that takes values without keys, as `tail` does not look at them."""
    return load_settings(None, prompt.environment).kafka.topic("explanations")


def test_tail_prints_values_byte_for_byte_from_the_beginning(topics: Prompt, kafka: KafkaServer) -> None:
    assert 0 == topics.run("topics", "create").returncode
    values: list[bytes | None] = [b'{"n": %d, "text":  "\xc3\xa4"}' % number for number in range(40)]
    produce(kafka.address, explanations(topics), [*values, None], partitions=2)
    process = topics.start("tail", "explanations", "--from", "beginning", "--max", "40", "--timeout", "30s")
    output, errors = process.communicate(timeout=60)
    assert (0, b"") == (process.returncode, errors)
    assert sorted(value for value in values if value) == sorted(output.splitlines())


def test_tail_from_now_prints_only_what_comes_later(topics: Prompt, kafka: KafkaServer) -> None:
    assert 0 == topics.run("topics", "create").returncode
    produce(kafka.address, explanations(topics), [b"old"] * 4, partitions=2)
    process = topics.start("tail", "explanations", "--max", "1")
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"Waiting for what comes on ")
    produce(kafka.address, explanations(topics), [b"new"], partitions=2)
    output, _ = process.communicate(timeout=60)
    assert (0, b"new\n") == (process.returncode, output)


def test_tail_of_metrics_prints_the_reports_of_a_worker_of_both_kinds(counted: Prompt) -> None:
    reports = counted.records("tail", "metrics", "--from", "beginning", "--max", "2", "--timeout", "30")
    assert {"quality", "stability"} == {report["kind"] for report in reports}
    assert {WINDOW} == {report["window"]["start"] for report in reports}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_tail_ends_on_a_signal_without_a_complaint(topics: Prompt, number: signal.Signals, code: int) -> None:
    assert 0 == topics.run("topics", "create").returncode
    process = topics.start("tail", "alerts")
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (code, b"", b"") == (process.returncode, output, errors.strip())


def test_tail_ends_when_its_reader_has_seen_enough(topics: Prompt, kafka: KafkaServer) -> None:
    assert 0 == topics.run("topics", "create").returncode
    produce(kafka.address, explanations(topics), [b"value"] * 3, partitions=2)
    process = topics.start("tail", "explanations", "--from", "beginning")
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"value\n" == process.stdout.readline()
    process.stdout.close()
    assert (0, b"") == (process.wait(timeout=60), process.stderr.read())
    process.stderr.close()


def test_tail_ends_after_its_time(topics: Prompt) -> None:
    assert 0 == topics.run("topics", "create").returncode
    started = time.monotonic()
    assert 0 == topics.run("tail", "explanations", "--timeout", "0.3").returncode
    assert 0.3 <= time.monotonic() - started


def test_tail_of_a_topic_that_is_not_there_names_the_remedy(topics: Prompt) -> None:
    done = topics.run("tail", "metrics")
    assert (1, "") == (done.returncode, done.stdout)
    assert "`latelabel topics create` makes what is missing" in done.stderr


# --- the program -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [("topics", "create"), ("tail", "metrics"), ("counts",), ("counts", "--totals"), ("show",)]
)
def test_service_that_is_absent_is_named_with_address_and_remedy(prompt: Prompt, arguments: tuple[str, ...]) -> None:
    addresses = {"LATELABEL_KAFKA__BROKERS": ABSENT, "LATELABEL_REDIS__URL": f"redis://{ABSENT}/0"}
    done = prompt.run(*arguments, **addresses)
    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("Error: ")
    assert ABSENT in done.stderr
    assert "LATELABEL_KAFKA__BROKERS" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config", "other.yaml", "config", "show"),
        ("config", "--config", "other.yaml", "show"),
        ("config", "show", "--config", "other.yaml"),
    ],
)
def test_config_is_accepted_before_and_after_the_command(prompt: Prompt, arguments: tuple[str, ...]) -> None:
    (prompt.folder / "other.yaml").write_text("kafka: {group: theirs}")
    done = prompt.run(*arguments)
    assert (0, "") == (done.returncode, done.stderr)
    assert "  group: theirs\n" in done.stdout


@pytest.mark.parametrize(
    "arguments", [("config", "check"), ("counts",), ("show",), ("tail", "metrics"), ("topics", "create")]
)
def test_mistakes_in_the_configuration_are_all_told_and_end_with_2(prompt: Prompt, arguments: tuple[str, ...]) -> None:
    (prompt.folder / "latelabel.yaml").write_text("redis:\n  shards: eight\nidle_after: 5\n")
    done = prompt.run(*arguments)
    assert (2, "") == (done.returncode, done.stdout)
    assert [
        'latelabel.yaml:2: redis.shards: found "eight", expected a whole number from 1 to 1024',
        "latelabel.yaml:3: idle_after: found 5, expected a duration such as 30s, 5m, 1h30m or 7d",
    ] == done.stderr.splitlines()


def test_check_tells_what_a_change_of_each_setting_needs(prompt: Prompt) -> None:
    done = prompt.run("config", "check")
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("No file, all defaults: ok, 0 models listed, 0 alert rules\n")
    ledger = "never to an existing ledger: rebuild it, or count under another prefix:\n  kafka.topics.predictions,"
    assert ledger in done.stdout
    assert "at once: on SIGHUP, past windows as they are revised:\n  evaluation_interval, conf" in done.stdout
    assert done.stdout.endswith("A change of any other setting applies with the next start of the workers.\n")


def test_schema_for_editors_is_printed_without_reading_any_file(prompt: Prompt) -> None:
    (prompt.folder / "latelabel.yaml").write_text("redis: {shards: eight}")
    schema = orjson.loads(prompt.run("config", "schema").stdout)
    shards = schema["properties"]["redis"]["properties"]["shards"]
    assert (1, 1024, 8) == (shards["minimum"], shards["maximum"], shards["default"])


@pytest.mark.parametrize("arguments", [("nonsense",), ("tail", "nonsense"), ("tail",), ("counts", "--format", "xml")])
def test_wrong_usage_ends_with_2(prompt: Prompt, arguments: tuple[str, ...]) -> None:
    done = prompt.run(*arguments)
    assert (2, "") == (done.returncode, done.stdout)
    assert "Error: " in done.stderr


def test_help_lists_every_command_and_each_has_its_own(prompt: Prompt) -> None:
    from agents.__main__ import COMMANDS

    listed = prompt.run("--help").stdout
    for name, description in COMMANDS.items():
        assert name in listed
        assert description.split()[0] in listed
        done = prompt.run(name, "--help")
        assert (0, "") == (done.returncode, done.stderr)
        assert "--config FILE" in done.stdout
