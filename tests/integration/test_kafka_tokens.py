"""OAUTHBEARER on a real broker: tokens of a file and of an endpoint, and what is said without a good one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.kafka_connection import connection_options
from agents.kafka_greeting import greet
from agents.settings import KafkaSettings, SecuritySettings
from deploy.servers import RedisServer
from streams.errors import LatelabelError, PermanentFailure, TemporaryFailure
from tests.support.guarded_kafka import TOKENS, GuardedKafka, start_guarded_kafka
from tests.support.tokens import CLIENT_ID, CLIENT_SECRET, make_token, token_endpoint
from tests.support.traffic import draw_traffic, produce
from tests.support.workers import Installation, finish, worker

USER = "latelabel"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    with start_guarded_kafka(tmp_path_factory.mktemp("guarded")) as guarded:
        yield guarded


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{make_token(USER)}\n")
    return file


def by_token(guarded: GuardedKafka, **source: Any) -> dict[str, Any]:
    return {
        "protocol": "SASL_SSL",
        "mechanism": "OAUTHBEARER",
        "ca_file": guarded.certificates.authority,
        **source,
    }


async def greeting(guarded: GuardedKafka, **source: Any) -> None:
    security = SecuritySettings(**by_token(guarded, **source))
    await greet(connection_options(KafkaSettings(brokers=(guarded.server.address_of(TOKENS),), security=security)))


async def failure(guarded: GuardedKafka, kind: type[LatelabelError] = PermanentFailure, **source: Any) -> str:
    with pytest.raises(kind) as caught:
        await greeting(guarded, **source)
    return str(caught.value)


def write(file: Path, text: str) -> None:
    file.write_text(text)


def remove(file: Path) -> None:
    file.unlink()


async def test_token_of_a_file_is_let_in_and_read_anew_for_each_connection(
    guarded: GuardedKafka, token_file: Path
) -> None:
    security = SecuritySettings(**by_token(guarded, token_file=token_file))
    connection = connection_options(KafkaSettings(brokers=(guarded.server.address_of(TOKENS),), security=security))
    write(token_file, make_token(USER, lasts_seconds=-60))
    with pytest.raises(PermanentFailure):
        await greet(connection)
    write(token_file, make_token(USER))
    await greet(connection)


async def test_bad_token_is_told_with_what_to_correct(guarded: GuardedKafka, token_file: Path) -> None:
    write(token_file, make_token(USER, lasts_seconds=-60))
    told = await failure(guarded, token_file=token_file)
    assert f"the token in {token_file} (kafka.security.token_file) expired at " in told
    assert "have it renewed" in told

    write(token_file, "no.token.at-all")
    told = await failure(guarded, token_file=token_file)
    assert "refuses the token" in told
    assert "correct kafka.security.token_file" in told
    assert "no.token.at-all" not in told

    write(token_file, "two words")
    assert "the file has to hold one, and nothing else" in await failure(guarded, token_file=token_file)
    remove(token_file)
    assert f"{token_file} (kafka.security.token_file) cannot be read" in await failure(guarded, token_file=token_file)


async def test_endpoint_gives_a_token_that_is_kept_until_shortly_before_its_end(
    guarded: GuardedKafka, tmp_path: Path
) -> None:
    write(tmp_path / "secret", f"{CLIENT_SECRET}\n")
    async with token_endpoint(make_token(USER)) as endpoint:
        source = {"token_url": endpoint.url, "client_id": CLIENT_ID, "client_secret_file": tmp_path / "secret"}
        security = SecuritySettings(**by_token(guarded, **source, scope="kafka"))
        connection = connection_options(KafkaSettings(brokers=(guarded.server.address_of(TOKENS),), security=security))
        for _ in range(2):
            await greet(connection)
        assert (1, ["kafka"]) == (endpoint.given, endpoint.scopes)
        endpoint.lasts_seconds = 20
        for expected in (2, 3):
            await greeting(guarded, **source)
            assert expected == endpoint.given


async def test_endpoint_that_gives_no_token_is_told_with_its_reason(guarded: GuardedKafka, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write(secret, "another")
    async with token_endpoint(make_token(USER)) as endpoint:
        source: dict[str, Any] = {"token_url": endpoint.url, "client_id": CLIENT_ID, "client_secret_file": secret}
        told = await failure(guarded, **source)
        assert f"{endpoint.url} gives no token (HTTP 401, invalid_client); correct kafka.security.token_url" in told
        assert "another" not in told.replace(str(secret), "")
        broken = source | {"token_url": endpoint.url.replace("/token", "/broken")}
        assert "(HTTP 503, no OAuth 2.0 answer)" in await failure(guarded, TemporaryFailure, **broken)
        remove(secret)
        assert f"the secret in {secret} (kafka.security.client_secret_file)" in await failure(guarded, **source)
    assert "does not answer" in await failure(guarded, TemporaryFailure, **source | {"client_secret_file": None})


@pytest.mark.timeout(240)
def test_worker_with_a_token_counts_and_says_what_is_wrong_with_one_that_has_expired(
    guarded: GuardedKafka, redis_server: RedisServer, token_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    installation = Installation(folder, brokers=guarded.server.address, redis_url=redis_server.url)
    installation.create_topics()
    guarded.allow(
        USER,
        [("READ", "GROUP", installation.name)]
        + [("READ", "TOPIC", installation.topics[role]) for role in ("predictions", "labels")]
        + [("WRITE", "TOPIC", installation.topics[role]) for role in ("metrics", "dead_letters")],
    )
    traffic = draw_traffic(1, count=100, until_ms=int(time.time() * 1000))
    for role, records in (("predictions", traffic.predictions), ("labels", traffic.labels)):
        produce(installation.brokers, installation.topics[role], records, partitions=installation.partitions)
    variables = {
        f"LATELABEL_KAFKA__SECURITY__{name.upper()}": str(value)
        for name, value in by_token(guarded, token_file=token_file).items()
    } | {"LATELABEL_KAFKA__BROKERS": guarded.server.address_of(TOKENS)}
    with worker(installation, "--until-caught-up", "--close", **variables) as process:
        code, log = finish(process)
    assert 0 == code, log
    assert traffic.cells == asyncio.run(installation.counts())[0]

    token_file.write_text(make_token(USER, lasts_seconds=-1))
    with worker(installation, "--until-caught-up", **variables) as process:
        code, log = finish(process)
    assert 1 == code
    assert "(kafka.security.token_file) expired at " in log
    assert make_token("")[:20] not in log
