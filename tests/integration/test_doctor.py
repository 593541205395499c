"""`latelabel doctor` on real services, sound and broken."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from agents.clock import SystemClock
from agents.doctor.examination import examine
from agents.doctor.finding import Verdict
from agents.redis_ledger import shard_tag
from agents.settings import load_settings
from deploy.server_process import free_port
from deploy.servers import KafkaServer, RedisServer
from streams.ledger.agreements import Agreement
from streams.ledger.eras import Era
from streams.ledger.founding import Charter
from streams.ledger.parts import Definitions, Part, Role, Source
from streams.monitored_model import DAY_MS, MonitoredModel
from tests.support.services import unique_name
from tests.support.traffic import draw_traffic, produce
from tests.support.workers import SHARDS, Installation, finish, worker

CHANGED_MS = 1_795_438_800_000
ROLES = ("predictions", "labels", "metrics", "dead_letters", "resource_samples", "alerts", "explain_requests")


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.topics = {role: unique_name(role) for role in (*ROLES, "explanations")}
    return installation


def latelabel(installation: Installation, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Exit code, output and log of a command."""
    changed = {f"LATELABEL_{name.upper()}": value for name, value in settings.items()}
    ended = subprocess.run(
        [sys.executable, "-m", "agents", *arguments],
        cwd=installation.folder,
        env={
            **installation.environment,
            "LATELABEL_KAFKA__PARTITIONS": str(installation.partitions),
            **changed,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def examined(installation: Installation, **settings: str) -> tuple[int, Mapping[str, Mapping[str, Any]]]:
    """Exit code and findings by check; of several with one name the last."""
    code, output, log = latelabel(installation, "doctor", "--json", **settings)
    findings = [json.loads(line) for line in output.splitlines()]
    assert findings, log
    return code, {finding["check"]: finding for finding in findings}


def bad(findings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What is not ok."""
    return {check: finding["verdict"] for check, finding in findings.items() if finding["verdict"] != "ok"}


def test_sound_installation_has_nothing_but_advice_before_and_after_it_has_counted(installation: Installation) -> None:
    assert 0 == latelabel(installation, "topics", "create")[0]
    code, findings = examined(installation)
    assert (0, {"redis memory": "warning"}) == (code, bad(findings)), findings
    assert f"{installation.brokers} answers: 1 broker, Kafka 4.3" == findings["kafka"]["found"]
    assert "set maxmemory" in findings["redis memory"]["remedy"]
    assert "the first worker founds it" in findings["ledger"]["found"]

    traffic = draw_traffic(11, count=300, until_ms=int(time.time() * 1000))
    for role, records in (("predictions", traffic.predictions), ("labels", traffic.labels)):
        produce(installation.brokers, installation.topics[role], records, partitions=installation.partitions)
    with worker(installation, "--until-caught-up") as process:
        assert 0 == finish(process)[0]
    code, findings = examined(installation)
    dead_letters = {f"dead letters of {installation.topics[role]}" for role in ("predictions", "labels")}
    assert 0 == code, findings
    assert bad(findings).keys() <= {"redis memory", *dead_letters}
    read = f"every one of {len(traffic.predictions)} predictions and {len(traffic.labels)} labels has one fate"
    assert read == findings["conservation"]["found"]
    assert f"{SHARDS} shards" in findings["ledger"]["found"]
    assert "3 partitions, counted to their ends" == findings[f"lag {installation.topics['predictions']}"]["found"]


def test_unread_records_without_a_worker_are_a_warning(installation: Installation) -> None:
    latelabel(installation, "topics", "create")
    assert 0 == latelabel(installation, "init")[0]
    traffic = draw_traffic(12, count=10, until_ms=int(time.time() * 1000))
    topic = installation.topics["labels"]
    produce(installation.brokers, topic, traffic.labels, partitions=installation.partitions)
    code, findings = examined(installation)
    assert (0, "warning") == (code, findings[f"lag {topic}"]["verdict"])
    assert f"{len(traffic.labels)} records behind" in findings[f"lag {topic}"]["found"]


def test_missing_topics_and_short_retention_fail(installation: Installation) -> None:
    code, findings = examined(installation)
    missing = {f"topic {topic}" for topic in installation.topics.values()}
    assert (1, missing) == (code, {check for check, verdict in bad(findings).items() if verdict == "failed"})
    latelabel(installation, "topics", "create")
    (installation.folder / "latelabel.yaml").write_text("models: [{name: slow, label_horizon: 30d}]\n")
    code, findings = examined(installation)
    inputs = {f"topic {installation.topics[role]}" for role in ("predictions", "labels")}
    assert (1, inputs) == (code, {check for check, verdict in bad(findings).items() if verdict == "failed"})


async def test_retention_is_judged_by_horizons_that_are_agreed_on_until_they_are_over(
    installation: Installation,
) -> None:
    installation.create_topics()
    topics = {installation.topics[role] for role in Role}
    partitions = {"LATELABEL_KAFKA__PARTITIONS": str(installation.partitions)}
    settings = load_settings(None, {**installation.environment, **partitions})
    eras = (Era(label_horizon_ms=30 * DAY_MS), Era(label_horizon_ms=DAY_MS, from_ms=CHANGED_MS))
    sources = {Source(role, 0): 0 for role in Role}
    async with installation.ledger() as ledger:
        charter = await ledger.found(Charter(ledger_id="one", shards=SHARDS, starts=sources))
        agreement = dataclasses.replace(Agreement.of(MonitoredModel(name="slow")), eras=eras)
        await ledger.amend_charter(charter, dataclasses.replace(charter, agreements={"slow": agreement}))
        told = {}
        for watermark_ms in (CHANGED_MS + 30 * DAY_MS - 1, CHANGED_MS + 30 * DAY_MS):
            parts = [Part(source=source, expected=0, next=0, raise_to_ms=watermark_ms) for source in sources]
            for shard in range(SHARDS):
                await ledger.create(shard, ledger_id="one", sources=sources)
                await ledger.commit(shard, parts, Definitions(), forget_limit=0)
            findings = {finding.check: finding for finding in await examine(settings, SystemClock())}
            told[watermark_ms] = {findings[f"topic {topic}"].verdict for topic in topics}
    assert [{Verdict.FAILED}, {Verdict.OK}] == [*told.values()]


def test_services_that_are_away_fail_and_the_other_one_is_still_looked_at(installation: Installation) -> None:
    latelabel(installation, "topics", "create")
    code, findings = examined(installation, redis__url=f"redis://127.0.0.1:{free_port()}")
    assert (1, {"redis": "failed"}) == (code, bad(findings))
    code, findings = examined(installation, redis__url=f"{installation.redis_url}?password_file=missing")
    assert (1, {"redis": "failed"}) == (code, bad(findings))
    assert "password file missing" in findings["redis"]["found"]
    code, findings = examined(installation, kafka__brokers=f"127.0.0.1:{free_port()}")
    assert 1 == code
    assert "failed" == findings["kafka"]["verdict"]
    assert "ok" == findings["redis eviction"]["verdict"]


def test_redis_that_evicts_forgets_or_is_too_small_is_found(installation: Installation) -> None:
    latelabel(installation, "topics", "create")
    options = {"maxmemory": "3mb", "maxmemory-policy": "allkeys-lru", "appendonly": "no"}
    with RedisServer(options=options) as server:
        code, findings = examined(installation, redis__url=server.url)
    assert (1, "failed", "warning") == (
        code,
        findings["redis eviction"]["verdict"],
        findings["redis persistence"]["verdict"],
    )


def test_counts_that_were_lost_or_damaged_are_found(installation: Installation) -> None:
    latelabel(installation, "topics", "create")
    latelabel(installation, "init")
    tag = shard_tag(installation.name, 2, shards=SHARDS)
    with Redis.from_url(installation.redis_url) as client:
        client.hincrby(f"{tag}:fates", "labels:held", 1)
        code, findings = examined(installation)
        assert (1, "failed") == (code, findings["conservation"]["verdict"])
        assert "latelabel init --rebuild --shard 2 counts it again" == findings["conservation"]["remedy"]
        client.delete(*client.keys(f"{tag}:*"))
    code, findings = examined(installation)
    assert (1, "failed") == (code, findings["ledger"]["verdict"])
    assert "latelabel init --rebuild --shard 2" in findings["ledger"]["found"]


def test_table_is_for_people(installation: Installation) -> None:
    code, output, _ = latelabel(installation, "doctor")
    lines = output.splitlines()
    assert 1 == code
    assert lines[0].startswith("ok       kafka")
    assert f"failed   topic {installation.topics['labels']}" in output
    assert "-> latelabel topics create makes it" in output
    assert lines[-1].endswith("8 failed")
    assert os.linesep.join(lines) == output.rstrip()
