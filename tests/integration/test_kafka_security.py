"""Kafka over TLS with passwords, certificates and ACLs, on a real broker: who is let in, what others are told."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from agents.alert_forwarding import RECEIVERS
from agents.kafka_connection import connection_options
from agents.kafka_greeting import greet
from agents.settings import KafkaSettings, SecuritySettings
from deploy.servers import RedisServer
from schemas.codec import encode
from schemas.dead_letter import dead_letter
from schemas.errors import Reason
from schemas.topics import TOPICS
from streams.errors import LatelabelError, PermanentFailure, TemporaryFailure
from tests.support.alert_receiver import AlertReceiver, alert_receiver
from tests.support.alerts import an_alert
from tests.support.certificates import Certificates, make_certificates
from tests.support.guarded_kafka import EXPIRED, GUARDED, MUTUAL, PASSWORD, Grant, GuardedKafka, start_guarded_kafka
from tests.support.proxy import Proxy
from tests.support.services import unique_name
from tests.support.traffic import Traffic, draw_traffic, produce
from tests.support.waiting import wait_until
from tests.support.workers import Installation

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "deploy/guides/security.md"
WRONG_PASSWORD = "no-password-of-anybody"
USER = "latelabel"
COMMAND_SECONDS = 90.0

Security = dict[str, Any]
"""Fields of `SecuritySettings`."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    with start_guarded_kafka(tmp_path_factory.mktemp("guarded")) as guarded:
        guarded.admit(USER)
        yield guarded


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of another authority."""
    return make_certificates(tmp_path_factory.mktemp("strangers"))


def by_password(guarded: GuardedKafka) -> Security:
    return {
        "protocol": "SASL_SSL",
        "mechanism": "SCRAM-SHA-512",
        "username": USER,
        "password": PASSWORD,
        "ca_file": guarded.certificates.authority,
    }


def by_certificate(guarded: GuardedKafka) -> Security:
    certificates = guarded.certificates
    return {
        "protocol": "SSL",
        "ca_file": certificates.authority,
        "certificate_file": certificates.certificate,
        "key_file": certificates.key,
    }


# --- who is let in ---------------------------------------------------------------------------------------------------


async def greeting(address: str, security: Security) -> None:
    await greet(connection_options(KafkaSettings(brokers=(address,), security=SecuritySettings(**security))))


async def failure(address: str, security: Security, kind: type[LatelabelError] = PermanentFailure) -> str:
    """What those are told who are not let in."""
    with pytest.raises(kind) as caught:
        await greeting(address, security)
    message = str(caught.value)
    assert address in message
    assert PASSWORD not in message
    assert WRONG_PASSWORD not in message
    return message


async def test_user_with_the_password_and_client_with_a_certificate_are_let_in(guarded: GuardedKafka) -> None:
    await greeting(guarded.server.address_of(GUARDED), by_password(guarded))
    await greeting(guarded.server.address_of(MUTUAL), by_certificate(guarded))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"password": WRONG_PASSWORD}, f"refuses the credentials of {USER}"),
        ({"username": "nobody"}, "refuses the credentials of nobody"),
        ({"mechanism": "PLAIN"}, "kafka.security.mechanism"),
        ({"ca_file": None}, "kafka.security.ca_file"),
    ],
    ids=["password", "user", "mechanism", "authorities of the system"],
)
async def test_wrong_credentials_are_told_with_the_setting_to_correct(
    guarded: GuardedKafka, wrong: Security, told: str
) -> None:
    assert told in await failure(guarded.server.address_of(GUARDED), by_password(guarded) | wrong)


async def test_broker_of_another_authority_is_not_trusted(guarded: GuardedKafka, strangers: Certificates) -> None:
    security = by_password(guarded) | {"ca_file": strangers.authority}
    assert "kafka.security.ca_file" in await failure(guarded.server.address_of(GUARDED), security)


async def test_expired_certificate_of_a_broker_is_not_trusted(guarded: GuardedKafka) -> None:
    told = await failure(guarded.server.address_of(EXPIRED), by_password(guarded))
    assert "certificate has expired" in told
    assert "renew" in told


async def test_broker_under_a_name_that_its_certificate_does_not_bear_is_not_trusted(guarded: GuardedKafka) -> None:
    async with Proxy(guarded.server.address_of(GUARDED), host="127.0.0.2") as proxy:
        assert "as their certificates do" in await failure(proxy.address, by_password(guarded))


async def test_certificate_of_ours_that_brokers_do_not_take_is_told(
    guarded: GuardedKafka, strangers: Certificates
) -> None:
    address, good = guarded.server.address_of(MUTUAL), by_certificate(guarded)
    for wrong in (
        {"certificate_file": None, "key_file": None},
        {"certificate_file": guarded.certificates.expired},
        {"certificate_file": strangers.certificate, "key_file": strangers.key},
    ):
        assert "kafka.security.certificate_file" in await failure(address, good | wrong)


async def test_protocol_of_another_port_is_told(guarded: GuardedKafka) -> None:
    server, tls = guarded.server, by_password(guarded)
    assert "speaks TLS" in await failure(server.address_of(GUARDED), {})
    assert "speaks TLS" in await failure(server.address_of(GUARDED), tls | {"protocol": "SASL_PLAINTEXT"})
    assert "asks for no user" in await failure(server.address_of(MUTUAL), tls | by_certificate(guarded) | tls)
    # A broker that is being started ends connections as well.
    assert "kafka.security.protocol SASL_SSL" in await failure(server.address, tls, TemporaryFailure)
    without_user = {"protocol": "SSL", "ca_file": tls["ca_file"]}
    assert "kafka.security.protocol SSL" in await failure(server.address_of(GUARDED), without_user, TemporaryFailure)


async def test_nothing_is_said_in_the_clear_where_tls_fails(guarded: GuardedKafka) -> None:
    async with Proxy(guarded.server.address) as proxy:
        await failure(proxy.address, by_password(guarded), TemporaryFailure)
        # A handshake of TLS, and nothing behind it.
        assert b"\x16\x03" == proxy.requests[:2]
        assert 5 + int.from_bytes(proxy.requests[3:5]) == len(proxy.requests)


async def test_one_broker_that_lets_us_in_is_enough(guarded: GuardedKafka) -> None:
    brokers = ("127.0.0.1:1", guarded.server.address_of(EXPIRED), guarded.server.address_of(GUARDED))
    await greet(connection_options(KafkaSettings(brokers=brokers, security=SecuritySettings(**by_password(guarded)))))


async def test_broker_that_is_away_may_come_back(guarded: GuardedKafka) -> None:
    assert "nothing listens there" in await failure("127.0.0.1:1", by_password(guarded), TemporaryFailure)


# --- who may do what -------------------------------------------------------------------------------------------------


FORWARDERS = tuple(f"-alerts-{receiver}" for receiver in RECEIVERS)
"""Endings of the groups in which alerts are forwarded."""


class Tenant(Installation):
    """An installation on the guarded broker, and one user's way in."""

    def __init__(self, folder: Path, guarded: GuardedKafka, redis: RedisServer) -> None:
        super().__init__(folder, brokers=guarded.server.address, redis_url=redis.url)
        self.guarded = guarded
        self.topics |= {role: f"{self.name}-{role}" for role in TOPICS}
        self._password_file = folder / "password"

    def start_again(self) -> None:
        """Another group, and another ledger, on the same topics."""
        self.name = unique_name("tenant")

    def resources(self, named: str) -> list[str]:
        """The names on the wire of what the guide names."""
        if named == "all":
            return list(self.topics.values())
        groups = {f"kafka.group{ending}": f"{self.name}{ending}" for ending in ("", *FORWARDERS)}
        names = {**self.topics, **groups}
        return [names[name] for name in re.findall(r"`([\w.-]+)`", named)]

    def grants(self, command: str) -> list[Grant]:
        """What the guide says that a command needs."""
        rows = re.findall(r"^\| `([a-z -]+)` \| (\w+) \| (topic|group) \| (.+) \|$", GUIDE.read_text(), re.M)
        return [
            (re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper(), kind.upper(), name)
            for of, operation, kind, named in rows
            if of == command
            for name in self.resources(named)
        ]

    def way_in(self, *, password: str = PASSWORD, **security: object) -> dict[str, str]:
        """The environment of commands that reach the guarded listener."""
        self._password_file.write_text(f"{password}\n")
        security = by_password(self.guarded) | {"password_file": self._password_file} | security
        del security["password"]
        return {
            **self.environment,
            **{f"LATELABEL_KAFKA__SECURITY__{name.upper()}": str(value) for name, value in security.items()},
            "LATELABEL_KAFKA__BROKERS": self.guarded.server.address_of(GUARDED),
            "LATELABEL_KAFKA__PARTITIONS": "1",
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *command: str, password: str = PASSWORD, **security: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; neither password is in anything that it says."""
        done = subprocess.run(
            [sys.executable, "-m", "agents", *command],
            cwd=self.folder,
            env=self.way_in(password=password, **security),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        for secret in (PASSWORD, WRONG_PASSWORD):
            assert secret not in done.stdout + done.stderr
        return done


@pytest.fixture
def tenant(guarded: GuardedKafka, redis_server: RedisServer, tmp_path: Path) -> Tenant:
    tenant = Tenant(tmp_path, guarded, redis_server)
    tenant.create_topics()
    return tenant


def send_traffic(tenant: Tenant) -> Traffic:
    traffic = draw_traffic(1, count=300, until_ms=int(time.time() * 1000))
    assert traffic.poison
    for role, records in (("predictions", traffic.predictions), ("labels", traffic.labels)):
        produce(tenant.brokers, tenant.topics[role], records, partitions=tenant.partitions)
    return traffic


WORK = ("worker", "--until-caught-up", "--close")


def test_worker_with_exactly_the_rights_of_the_guide_counts_and_names_each_that_is_missing(tenant: Tenant) -> None:
    traffic = send_traffic(tenant)
    tenant.guarded.allow(USER, tenant.grants("worker"))
    done = tenant.run(*WORK)
    assert 0 == done.returncode, done.stderr
    cells, _ = asyncio.run(tenant.counts())
    assert traffic.cells == cells
    # A worker without alert rules writes no alerts.
    needed = [at for at, (_, _, name) in enumerate(tenant.grants("worker")) if not name.endswith("alerts")]
    assert 5 == len(needed)
    for number in needed:
        tenant.start_again()
        grants = tenant.grants("worker")
        _, _, name = grants.pop(number)
        tenant.guarded.allow(USER, grants)
        done = tenant.run(*WORK)
        assert 1 == done.returncode, done.stderr
        assert name in done.stderr
        assert "Traceback" not in done.stderr


def send_letter(tenant: Tenant) -> None:
    """A prediction that was refused, as a worker would have written it."""
    now_ms = int(time.time() * 1000)
    letter = dead_letter(
        key=b"key",
        value=b'{"request_id": "r", "model": "m", "prediction": "ok"}',
        headers=[],
        reason=Reason.IMPLAUSIBLE_TIME,
        message="event_time is beyond max_future_skew",
        topic=tenant.topics["predictions"],
        partition=1,
        offset=1000,
        timestamp_ms=now_ms,
        now_ms=now_ms,
    )
    producer = Producer({"bootstrap.servers": tenant.brokers})
    producer.produce(tenant.topics["dead_letters"], letter.value, headers=list(letter.headers))
    assert 0 == producer.flush(30)


FILE = "predictions.jsonl"
FURTHER = {
    "tail metrics": ("--timeout", "1"),
    "tail alerts": ("--timeout", "1"),
    "replay": (FILE, "--topic", "predictions"),
}
TOLD = {
    "topics create": "created",
    "init": "Created ledger",
    "doctor": "kafka",
    "dead-letters list": "implausible_time",
    "dead-letters replay": "1 replayed",
    "tail metrics": "",
    "tail alerts": "",
    "replay": "",
}


@pytest.mark.parametrize("command", TOLD)
def test_command_with_exactly_the_rights_of_the_guide_does_its_work(tenant: Tenant, command: str) -> None:
    send_letter(tenant)
    (tenant.folder / FILE).write_text(
        '{"request_id": "r", "model": "m", "prediction": "ok", "event_time": "2026-01-01T00:00:00Z"}\n'
    )
    if command == "topics create":
        tenant.topics = {role: f"{name}-new" for role, name in tenant.topics.items()}
    tenant.guarded.allow(USER, tenant.grants(command))
    assert tenant.grants(command)
    done = tenant.run(*command.split(), *FURTHER.get(command, ()))
    assert "allow" not in done.stderr + done.stdout
    assert 0 == done.returncode, done.stderr + done.stdout
    assert TOLD[command] in done.stdout


@contextlib.contextmanager
def forwarding(tenant: Tenant, receiver: AlertReceiver) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "agents", "alerts", "forward", "--to", "webhook", "--url", receiver.url],
        cwd=tenant.folder, env=tenant.way_in(), stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def test_forwarder_with_exactly_the_rights_of_the_guide_forwards_and_names_each_that_is_missing(
    tenant: Tenant,
) -> None:
    producer = Producer({"bootstrap.servers": tenant.brokers})
    producer.produce(tenant.topics["alerts"], encode(an_alert()))
    assert 0 == producer.flush(30)
    grants = [grant for grant in tenant.grants("alerts forward") if not grant[2].endswith(("alertmanager", "apprise"))]
    assert 2 == len(grants)
    with alert_receiver() as receiver:
        tenant.guarded.allow(USER, grants)
        with forwarding(tenant, receiver):
            wait_until(lambda: bool(receiver.taken), what="the alert", seconds=COMMAND_SECONDS)
        for number in range(2):
            tenant.guarded.allow(USER, grants[:number] + grants[number + 1 :])
            with forwarding(tenant, receiver) as process:
                _, log = process.communicate(timeout=COMMAND_SECONDS)
            assert 1 == process.returncode, log
            assert grants[number][2] in log
            assert "Traceback" not in log


# --- what a person sees ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [WORK, ("topics", "create")], ids=["worker", "topics create"])
def test_wrong_password_ends_a_command_at_once_with_the_remedy(tenant: Tenant, command: tuple[str, ...]) -> None:
    done = tenant.run(*command, password=WRONG_PASSWORD)
    assert 1 == done.returncode
    assert f"refuses the credentials of {USER}" in done.stderr
    assert "kafka.security.password_file" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 3, done.stderr


def test_worker_that_may_no_longer_read_a_topic_ends_and_names_it(tenant: Tenant) -> None:
    tenant.guarded.allow(USER, tenant.grants("init"))
    assert 0 == tenant.run("init").returncode
    send_traffic(tenant)
    name = tenant.topics["labels"]
    grants = [("DESCRIBE", *grant[1:]) if grant[2] == name else grant for grant in tenant.grants("worker")]
    tenant.guarded.allow(USER, grants)
    done = tenant.run(*WORK)
    assert 1 == done.returncode, done.stderr
    assert name in done.stderr
    assert "Traceback" not in done.stderr
