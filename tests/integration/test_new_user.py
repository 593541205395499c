"""With nothing but the README: a worker beside a broker with TLS and SCRAM; then whatever breaks, `doctor` names it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from redis import Redis

from deploy.servers import RedisServer
from schemas.topics import TOPICS
from tests.support.certificates import make_certificates
from tests.support.guarded_kafka import GUARDED, PASSWORD, Grant, GuardedKafka, start_guarded_kafka
from tests.support.redis_topologies import operate, user_rules
from tests.support.traffic import draw_traffic, produce

ROOT = Path(__file__).resolve().parents[2]
USER = "latelabel"
REDIS_PASSWORD = "of Redis, 100 % @ ours"
COMMAND_SECONDS = 90.0


class NewUser:
    """Somebody with the README in one hand, and in the other what their Kafka's operators gave them."""

    def __init__(self, folder: Path, guarded: GuardedKafka, redis: RedisServer) -> None:
        self.folder, self.guarded, self.redis = folder, guarded, redis
        readme = (ROOT / "README.md").read_text()
        chapter = readme[readme.index("## Run it") : readme.index("## Read on")]
        (text,) = re.findall(r"```yaml\n(.+?)```", chapter, re.DOTALL)
        self.commands = [
            line.split("#")[0].strip() for line in re.findall(r"^    (latelabel .+)$", chapter, re.MULTILINE)
        ]
        self.configuration: dict[str, Any] = yaml.safe_load(text)
        self.configuration["kafka"]["brokers"] = [guarded.server.address_of(GUARDED)]
        url = self.configuration["redis"]["url"]
        url = url.replace("redis.example:6379", redis.address)
        self.configuration["redis"]["url"] = url.replace("/run/secrets/redis-password", str(folder / "redis-password"))
        (folder / "redis-password").write_text(f"{REDIS_PASSWORD}\n")
        self.set_security(password_file=folder / "password", ca_file=guarded.certificates.authority)
        (folder / "password").write_text(f"{PASSWORD}\n")

    def set_security(self, **files: Path) -> None:
        """Say where these files are."""
        security = self.configuration["kafka"]["security"]
        assert files.keys() <= security.keys(), "the README names them"
        security |= {name: str(file) for name, file in files.items()}
        self.write()

    def write(self) -> None:
        """Save the configuration."""
        (self.folder / "latelabel.yaml").write_text(yaml.safe_dump(self.configuration))

    def run(self, command: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Run a command line of the README; no password is in anything that it says."""
        program, *arguments = shlex.split(command)
        assert "latelabel" == program
        done = subprocess.run(
            [sys.executable, "-m", "agents", *arguments, *more],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert not any(password in done.stdout + done.stderr for password in (PASSWORD, REDIS_PASSWORD))
        assert "Traceback" not in done.stderr
        return done

    def examined(self) -> tuple[int, dict[str, tuple[str, str]]]:
        """What `doctor` ends with, and what it found to be broken: by check, what was found and what to do."""
        done = self.run("latelabel doctor", "--json")
        findings = [json.loads(line) for line in done.stdout.splitlines()]
        assert findings, done.stderr
        return done.returncode, {
            each["check"]: (each["found"], each["remedy"]) for each in findings if each["verdict"] == "failed"
        }


@pytest.fixture
def user(tmp_path: Path) -> Iterator[NewUser]:
    (tmp_path / "certificates").mkdir()
    with start_guarded_kafka(tmp_path / "certificates") as guarded, RedisServer() as redis:
        operate(redis, "ACL SETUSER", USER, "on", f">{REDIS_PASSWORD}", *user_rules(USER))
        guarded.admit(USER)
        guarded.allow(USER, rights())
        yield NewUser(tmp_path, guarded, redis)


def rights() -> list[Grant]:
    """On everything, of topics and of the group: what a platform team gives to whoever sets something up."""
    topics = [topic.default_name for topic in TOPICS.values()]
    operations = ("READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS")
    return [(operation, "TOPIC", topic) for topic in topics for operation in operations] + [
        (operation, "GROUP", USER) for operation in ("READ", "DESCRIBE")
    ]


def retention(user: NewUser, topic: str, milliseconds: int) -> None:
    admin = AdminClient({"bootstrap.servers": user.guarded.server.address})
    entry = ConfigEntry("retention.ms", str(milliseconds), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for changed in admin.incremental_alter_configs([resource]).values():
        changed.result(30)


# --- what breaks: how, and how it is put right ----------------------------------------------------------


@contextlib.contextmanager
def wrong_password(user: NewUser) -> Iterator[None]:
    (user.folder / "password").write_text("forgotten")
    yield
    (user.folder / "password").write_text(PASSWORD)


@contextlib.contextmanager
def wrong_password_of_redis(user: NewUser) -> Iterator[None]:
    (user.folder / "redis-password").write_text("forgotten")
    yield
    (user.folder / "redis-password").write_text(REDIS_PASSWORD)


@contextlib.contextmanager
def another_authority(user: NewUser) -> Iterator[None]:
    strangers = user.folder / "strangers"
    strangers.mkdir()
    user.set_security(ca_file=make_certificates(strangers).authority)
    yield
    user.set_security(ca_file=user.guarded.certificates.authority)


@contextlib.contextmanager
def right_taken_away(user: NewUser) -> Iterator[None]:
    user.guarded.allow(USER, [grant for grant in rights() if grant[1:] != ("TOPIC", "labels")])
    yield
    user.guarded.allow(USER, rights())


@contextlib.contextmanager
def retention_too_short(user: NewUser) -> Iterator[None]:
    retention(user, "labels", 3_600_000)
    yield
    retention(user, "labels", 30 * 86_400_000)


@contextlib.contextmanager
def redis_that_evicts(user: NewUser) -> Iterator[None]:
    with Redis.from_url(user.redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        yield
        client.config_set("maxmemory-policy", "noeviction")


@contextlib.contextmanager
def setting_of_a_counted_model(user: NewUser) -> Iterator[None]:
    user.configuration["models"] = [{"name": "fraud", "base_window": "1m"}]
    user.write()
    yield
    del user.configuration["models"]
    user.write()


@contextlib.contextmanager
def redis_that_is_away(user: NewUser) -> Iterator[None]:
    url = user.configuration["redis"]["url"]
    user.configuration["redis"]["url"] = "redis://127.0.0.1:1/0"
    user.write()
    yield
    user.configuration["redis"]["url"] = url
    user.write()


BROKEN: list[tuple[Callable[[NewUser], contextlib.AbstractContextManager[None]], str, str, str]] = [
    (wrong_password, "kafka", f"refuses the credentials of {USER}", "kafka.security.password_file"),
    (wrong_password_of_redis, "redis", "refuses the credentials", "password_file"),
    (another_authority, "kafka", "certificate that is not trusted", "kafka.security.ca_file"),
    (right_taken_away, "topic labels", "or this user may not see it", "grant Describe"),
    (retention_too_short, "topic labels", "retention", "retention.ms"),
    (redis_that_evicts, "redis eviction", "allkeys-lru", "noeviction"),
    (
        setting_of_a_counted_model,
        "counted models",
        "fraud was counted with base_window 5m",
        "set base_window to 5m",
    ),
    (redis_that_is_away, "redis", "127.0.0.1:1", "redis.url"),
]
"""What is broken, which check fails, what it says, and what of the remedy."""


@pytest.mark.timeout(600)
def test_readme_is_enough_to_attach_a_worker_and_doctor_names_whatever_breaks(user: NewUser) -> None:
    check, topics, doctor, worker = user.commands
    for command in (check, topics, doctor):
        done = user.run(command)
        assert 0 == done.returncode, done.stdout + done.stderr
    traffic = draw_traffic(1, count=300, until_ms=int(time.time() * 1000), poison_share=0.0)
    for topic, records in (("predictions", traffic.predictions), ("labels", traffic.labels)):
        produce(user.guarded.server.address, topic, records, partitions=12)
    done = user.run(worker, "--until-caught-up")
    assert 0 == done.returncode, done.stderr
    counted = [json.loads(line) for line in user.run("latelabel counts --format jsonl").stdout.splitlines()]
    assert sum(traffic.cells.values()) == sum(cell["count"] for cell in counted)
    assert "fraud" in user.run("latelabel show").stdout
    assert (0, {}) == user.examined()

    for breaking, name, found, remedy in BROKEN:
        with breaking(user):
            code, failed = user.examined()
            assert 1 == code, breaking.__name__
            assert name in failed, (breaking.__name__, failed)
            said = " ".join(failed[name])
            assert found in said, (breaking.__name__, failed)
            assert remedy in said, (breaking.__name__, failed)
    assert (0, {}) == user.examined()
