"""The servers that the demo and all tests stand on: they come back after a crash and never outlive who started them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer
from redis import Redis

from deploy import servers
from deploy.server_process import StackError
from deploy.servers import KafkaServer, RedisServer
from tests.support.services import create_topic, unique_name
from tests.support.topics import read_topic
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


def publish(server: KafkaServer, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": server.address, "acks": "all"})
    producer.produce(topic, value)
    assert 0 == producer.flush(30)


def write_together(server: RedisServer, *keys: str) -> None:
    with Redis.from_url(server.url) as client, client.pipeline(transaction=True) as transaction:
        for key in keys:
            transaction.set(key, 1)
        transaction.execute()


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


# --- servers ----------------------------------------------------------------------------------------------------------


def test_killed_kafka_comes_back_at_its_address_with_its_records() -> None:
    with KafkaServer() as server:
        address = server.address
        topic = create_topic(address, unique_name("kept"))
        publish(server, topic, b"before")
        server.kill()
        server.start()
        assert address == server.address
        publish(server, topic, b"after")
        assert [b"before", b"after"] == [value for _, value in read_topic(address, topic)]


def test_kafka_refuses_a_topic_that_nobody_created(kafka: KafkaServer) -> None:
    producer = Producer({"bootstrap.servers": kafka.address, "message.timeout.ms": 5_000})
    outcomes: list[object] = []
    producer.produce(unique_name("misspelt"), b"x", on_delivery=lambda error, _: outcomes.append(error))
    producer.flush(30)
    assert [True] == [error is not None for error in outcomes]


def test_kafka_takes_a_record_of_16_mib(kafka: KafkaServer) -> None:
    size_bytes = 16 * 1024 * 1024
    topic = create_topic(kafka.address, unique_name("large"))
    settings = {"bootstrap.servers": kafka.address, "message.max.bytes": size_bytes + 10_000}
    producer = Producer(settings)
    outcomes: list[object] = []
    producer.produce(topic, b"x" * size_bytes, on_delivery=lambda error, _: outcomes.append(error))
    producer.flush(60)
    assert [None] == outcomes


def test_redis_answers_on_both_addresses_and_keeps_what_the_ledger_needs(redis_server: RedisServer) -> None:
    for url in (redis_server.url, redis_server.unix_url):
        with Redis.from_url(url, decode_responses=True) as client:
            settings = client.config_get("maxmemory-policy", "appendonly", "appendfsync")
            assert {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"} == settings


def test_redis_takes_further_options() -> None:
    with RedisServer(options={"maxmemory": "64mb"}) as server, Redis.from_url(server.url) as client:
        assert {"maxmemory": "67108864"} == client.config_get("maxmemory")


def test_restarted_redis_has_its_address_and_its_keys() -> None:
    with RedisServer() as server:
        with Redis.from_url(server.url) as client:
            client.set("key", "value")
        url = server.url
        server.restart()
        assert url == server.url
        with Redis.from_url(server.url) as client:
            assert b"value" == client.get("key")


def test_half_a_transaction_at_the_end_of_the_file_never_comes_back() -> None:
    # Redis 7.0 alone skips the half at the first start, and at the second takes the next transaction for its end.
    with RedisServer() as server:
        write_together(server, "before")
        write_together(server, "first", "second")
        server.stop()
        (log,) = server.append_only_folder.glob("*.incr.aof")
        content = log.read_bytes()
        log.write_bytes(content[: content.index(b"second")])
        server._pid_path.write_text("left by a crash")
        expected = {"before"}
        for start in range(3):
            server.start()
            with Redis.from_url(server.url, decode_responses=True) as client:
                assert expected == set(client.keys()), f"start {start}"
            write_together(server, f"after {start}", "and")
            expected |= {f"after {start}", "and"}
            server.kill()


def test_paused_server_is_silent_until_it_is_resumed() -> None:
    with RedisServer() as server:
        server.pause()
        assert not server._answers()
        server.resume()
        assert server._answers()


def test_paused_server_can_be_stopped() -> None:
    with RedisServer() as server:
        server.pause()
        server.stop()
        assert not server.is_running


def test_closed_server_leaves_neither_process_nor_folder() -> None:
    with RedisServer() as server:
        process = psutil.Process(server.pid)
    assert not is_alive(process)
    assert not server.folder.exists()


def test_closed_server_keeps_a_folder_that_it_was_given(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    with RedisServer(folder) as server, Redis.from_url(server.url) as client:
        client.set("key", "value")
    with RedisServer(folder) as server, Redis.from_url(server.url) as client:
        assert b"value" == client.get("key")


def test_server_that_ends_at_once_says_why() -> None:
    with (
        pytest.raises(StackError, match=r"(?s)redis ended with code 1.*no-such-option"),
        RedisServer(options={"no-such-option": "1"}),
    ):
        pass


def test_missing_program_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StackError, match=r"redis-server is not installed; run `make setup`, or `apt-get install"):
        RedisServer().__enter__()


def test_missing_jars_are_named_with_their_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(servers, "KAFKA_LIBS", tmp_path)
    with pytest.raises(StackError, match=r"Kafka's jars are not in .*; run `make setup`"):
        KafkaServer().__enter__()


# --- command line -----------------------------------------------------------------------------------------------------


class Launcher:
    """`python -m deploy.stack` as a child, with its output and everything it started."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-m", "deploy.stack", *arguments]
        # A launcher that is killed with -9 cannot remove the servers' folders.
        self.folder = tempfile.TemporaryDirectory(prefix="launcher-")
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": self.folder.name, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def read_until(self, text: str) -> None:
        """Read the output up to and including the line that holds `text`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        pytest.fail(f"{text!r} never came:\n{self.output}")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def finish(self) -> int:
        """Read the rest of the output and return the exit code."""
        rest, _ = self.process.communicate(timeout=60)
        self.output += rest
        return self.process.returncode


@pytest.fixture
def launchers() -> Iterator[list[Launcher]]:
    started: list[Launcher] = []
    yield started
    for launcher in started:
        launcher.process.kill()
        launcher.process.wait()
        assert launcher.process.stdout is not None
        launcher.process.stdout.close()
        launcher.folder.cleanup()


def test_command_gets_the_addresses_and_its_exit_code_is_ours(launchers: list[Launcher]) -> None:
    launchers.append(
        launcher := Launcher("run", "--", "bash", "-c", "env; redis-cli -u $LATELABEL_REDIS__URL ping; exit 7")
    )
    assert 7 == launcher.finish(), launcher.output
    assert re.search(r"^LATELABEL_KAFKA__BROKERS=127\.0\.0\.1:\d+$", launcher.output, re.MULTILINE)
    assert re.search(r"^LATELABEL_REDIS__URL=redis://127\.0\.0\.1:\d+/0$", launcher.output, re.MULTILINE)
    assert "PONG" in launcher.output


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_nothing_is_left_when_the_launcher_is_ended(
    launchers: list[Launcher], kafka: KafkaServer, number: signal.Signals, code: int
) -> None:
    launchers.append(
        launcher := Launcher(
            "run", "--", "bash", "-c", "echo waiting; exec sleep 1000", LATELABEL_KAFKA__BROKERS=kafka.address
        )
    )
    launcher.read_until("waiting")
    started = launcher.descendants()
    assert 2 == len(started), started
    launcher.process.send_signal(number)
    assert code == launcher.finish(), launcher.output
    wait_until(lambda: not any(map(is_alive, started)), what="the end of redis-server and sleep")


def test_interrupted_start_leaves_nothing(launchers: list[Launcher]) -> None:
    launchers.append(launcher := Launcher("run", "--", "true"))
    launcher.read_until("kafka  starting")
    wait_until(lambda: len(launcher.descendants()) >= 2, what="Kafka's start beside Redis")
    started = launcher.descendants()
    launcher.process.send_signal(signal.SIGINT)
    assert 130 == launcher.finish(), launcher.output
    wait_until(lambda: not any(map(is_alive, started)), what="the end of both servers")


def test_processes_that_the_command_left_are_ended_with_it(launchers: list[Launcher], kafka: KafkaServer) -> None:
    launchers.append(
        launcher := Launcher(
            "run", "--", "bash", "-c", "sleep 1000 & echo left $!", LATELABEL_KAFKA__BROKERS=kafka.address
        )
    )
    assert 0 == launcher.finish(), launcher.output
    left = re.search(r"left (\d+)", launcher.output)
    assert left is not None
    wait_until(lambda: not psutil.pid_exists(int(left[1])), what="the end of sleep")


def test_command_may_answer_a_signal_in_its_own_way(launchers: list[Launcher], kafka: KafkaServer) -> None:
    script = "trap 'echo tidied; exit 5' TERM; echo waiting; while :; do sleep 0.05; done"
    launchers.append(launcher := Launcher("run", "--", "bash", "-c", script, LATELABEL_KAFKA__BROKERS=kafka.address))
    launcher.read_until("waiting")
    launcher.process.terminate()
    assert 5 == launcher.finish()
    assert "tidied" in launcher.output


def test_services_that_are_given_are_used_and_left_running(
    launchers: list[Launcher], kafka: KafkaServer, redis_server: RedisServer
) -> None:
    launchers.append(
        launcher := Launcher(
            "run",
            "--",
            "bash",
            "-c",
            'echo "$LATELABEL_KAFKA__BROKERS $LATELABEL_REDIS__URL"',
            LATELABEL_KAFKA__BROKERS=kafka.address,
            LATELABEL_REDIS__URL=redis_server.unix_url,
        )
    )
    assert 0 == launcher.finish(), launcher.output
    assert f"{kafka.address} {redis_server.unix_url}\n" in launcher.output
    assert "ready at" not in launcher.output
    assert kafka.is_running
    assert redis_server.is_running


@pytest.mark.parametrize(
    ("variable", "address"),
    [("LATELABEL_REDIS__URL", "redis://127.0.0.1:1/0"), ("LATELABEL_KAFKA__BROKERS", "127.0.0.1:1")],
)
def test_given_service_that_is_absent_is_named_with_address_and_remedy(
    launchers: list[Launcher], redis_server: RedisServer, variable: str, address: str
) -> None:
    given = {"LATELABEL_REDIS__URL": redis_server.url, variable: address}
    launchers.append(launcher := Launcher("run", "--", "true", **given))
    assert 1 == launcher.finish()
    assert f"does not answer at {address}" in launcher.output
    assert f"correct {variable}, or unset it" in launcher.output


def test_foreground_prints_the_addresses_as_shell_commands(launchers: list[Launcher], kafka: KafkaServer) -> None:
    launchers.append(launcher := Launcher("up", LATELABEL_KAFKA__BROKERS=kafka.address))
    launcher.read_until("Ctrl-C stops both")
    assert re.search(r"^export LATELABEL_REDIS__URL=redis://127\.0\.0\.1:\d+/0$", launcher.output, re.MULTILINE)
    assert f"export LATELABEL_KAFKA__BROKERS={kafka.address}\n" in launcher.output
    launcher.process.send_signal(signal.SIGINT)
    assert 130 == launcher.finish()


def test_command_that_fails_because_it_is_interrupted_counts_as_interrupted() -> None:
    command = ["sh", "-c", "trap 'exit 1' INT; echo ready; while :; do sleep 0.05; done"]
    program = f"import sys; from deploy.stack import _run; sys.exit(_run({command!r}, {{}}))"
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(60)
