"""Final windows raise the same alerts in a worker that is killed, in one that catches up, and in a backtest."""

from __future__ import annotations

import functools
import json
import random
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agents.alert_rule_files import load_rules
from agents.backtest import Backtest
from agents.file_replay.records import Record
from agents.settings import Settings, load_settings
from deploy.servers import KafkaServer, RedisServer
from schemas.alert import Alert, read_alert
from schemas.times import format_time, parse_time_ms
from streams.ledger.parts import Role
from tests.support.topics import read_topic
from tests.support.traffic import produce
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

START_MS = parse_time_ms("2026-11-01T12:00:00Z")
MINUTE_MS = 60_000
HORIZON_MINUTES = 6
WINDOWS = 30
# Longer than a portion takes to be sent: what comes to a partition that has been taken for idle may come late.
CONFIGURATION = """\
allowed_lateness: 2m
idle_after: 1m
rule_files: [rules.yaml]
models:
"""
MODEL = """\
  - {{name: {name}, task: binary, positive_class: fraud, report_windows: [1m, 5m], label_horizon: {horizon}m,
     segments: [country]}}
"""
RULES = """\
groups:
  - name: final
    rules:
      - {alert: Low, when: {metric: accuracy, op: "<", value: 0.9, status: [final]}}
      - {alert: Lasting, when: {metric: recall, op: "<", value: 0.8, status: [final]}, for: 2m, keep_firing_for: 2m}
      - {alert: Country, when: {metric: accuracy, op: "<", value: 0.9, segment: {country: "*"}, status: [final]}}
      - {alert: Point, when: {metric: precision, op: "<", value: 0.85, confidence: none, status: [final]}}
"""
Episode = tuple[str, str, str, str]
"""Labels, what the breaches span, and how it ended."""


def history(rng: random.Random, model: str) -> Iterator[Record]:
    """A model that is well, bad and well again; labels come late, twice, corrected, or never."""
    quality, never = 0.97, rng.choice([0.0, 0.1, 0.3])
    for window in range(WINDOWS):
        if rng.random() < 0.25:
            quality = rng.choice([0.97, 0.95, 0.8, 0.5])
        for number in range(rng.choice([0, 20, 60])):
            at_ms = START_MS + window * MINUTE_MS + rng.randrange(MINUTE_MS)
            request = f"{model}-{window}-{number}"
            label = rng.choice(["fraud", "ok"])
            wrong = {"fraud": "ok", "ok": "fraud"}
            yield _record(
                Role.PREDICTIONS,
                at_ms,
                request_id=request,
                model=model,
                prediction=label if rng.random() < quality else wrong[label],
                segment={"country": rng.choice(["DE", "FR", "IT"])},
            )
            for text in () if rng.random() < never else [label, *([wrong[label]] if rng.random() < 0.05 else [])]:
                yield _record(
                    Role.LABELS, at_ms + rng.randrange(HORIZON_MINUTES * MINUTE_MS), request_id=request, label=text
                )


def _record(role: Role, time_ms: int, **fields: object) -> Record:
    return Record(time_ms, role, b"", json.dumps({"event_time": format_time(time_ms), **fields}).encode())


def installation_in(folder: Path, models: Sequence[str], kafka: KafkaServer, redis: RedisServer) -> Installation:
    folder.mkdir()
    (folder / "latelabel.yaml").write_text(
        CONFIGURATION + "".join(MODEL.format(name=name, horizon=HORIZON_MINUTES) for name in models)
    )
    (folder / "rules.yaml").write_text(RULES)
    installation = Installation(folder, brokers=kafka.address, redis_url=redis.url)
    installation.create_topics()
    return installation


def send(installation: Installation, records: Sequence[Record]) -> None:
    for role in Role:
        values: list[bytes | None] = [each.value for each in records if each.role is role]
        produce(installation.brokers, installation.topics[role], values, partitions=installation.partitions)


def said(installation: Installation) -> list[Alert]:
    alerts = [read_alert(value) for _, value in read_topic(installation.brokers, installation.topics["alerts"])]
    return [alert for alert in alerts if alert.name != "Watchdog"]


def episodes(alerts: Sequence[Alert]) -> set[Episode]:
    """Every time that an alert fired, in the words of its end; repeats and wall time apart."""
    found: set[Episode] = set()
    firing: dict[str, Alert] = {}
    for alert in alerts:
        if alert.status == "firing":
            firing[alert.fingerprint] = alert
        elif firing.pop(alert.fingerprint, None):
            found.add(_episode(alert))
    return found | {_episode(alert) for alert in firing.values()}


def _episode(alert: Alert) -> Episode:
    span = re.search(r"The breach spans (\S+) to (\S+)\.", alert.annotations["description"])
    assert span is not None
    # What still fires may last longer by now than when it was said.
    until = span[2] if alert.status == "resolved" else ""
    return json.dumps(alert.labels, sort_keys=True), f"{span[1]} to {until}", alert.status, alert.reason


async def in_a_backtest(settings: Settings, records: Sequence[Record]) -> set[Episode]:
    run = Backtest(settings, load_rules(settings), step_ms=MINUTE_MS)
    return episodes([each async for _, each in run.run(iter(records)) if isinstance(each, Alert)])


def reports_of(installation: Installation) -> int:
    records = read_topic(installation.brokers, installation.topics["metrics"])
    return sum((key or b"").startswith(b'["quality",') for key, _ in records)


def has_more_reports(installation: Installation, before: int) -> bool:
    return reports_of(installation) > before


def live(installation: Installation, records: Sequence[Record]) -> set[Episode]:
    """Portion by portion, the worker killed after each."""
    size = len(records) // 3 + 1
    for at in range(0, len(records), size):
        before = reports_of(installation)
        with worker(installation) as process:
            send(installation, records[at : at + size])
            wait_until(functools.partial(has_more_reports, installation, before), what="reports", seconds=120)
            process.send_signal(signal.SIGKILL)
    return catch_up(installation)


def catch_up(installation: Installation) -> set[Episode]:
    with worker(installation, "--until-caught-up", "--close") as process:
        code, log = finish(process, seconds=300)
    assert 0 == code, log
    return episodes(said(installation))


async def compare(seed: int, tmp_path: Path, kafka: KafkaServer, redis: RedisServer) -> None:
    rng = random.Random(seed)
    models = [f"model-{number}" for number in range(5)]
    records = sorted((record for model in models for record in history(rng, model)), key=lambda record: record.time_ms)
    first, second = (installation_in(tmp_path / name, models, kafka, redis) for name in ("live", "caught-up"))
    expected = await in_a_backtest(load_settings(first.folder / "latelabel.yaml", {}), records)
    send(second, records)
    assert sorted(expected) == sorted(catch_up(second)), seed
    assert sorted(expected) == sorted(live(first, records)), seed
    names = {json.loads(labels)["alertname"] for labels, *_ in expected}
    print(f"    seed {seed}: {len(expected)} times an alert fired over {len(models)} histories, of {sorted(names)}")
    assert len(expected) >= 5


@pytest.mark.timeout(900)
async def test_five_histories_raise_the_same_alerts_live_caught_up_and_in_a_backtest(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    await compare(1, tmp_path, kafka, redis_server)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
async def test_fifty_histories_raise_the_same_alerts(
    seed: int, tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    await compare(seed, tmp_path, kafka, redis_server)
