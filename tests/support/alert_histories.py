"""Generated histories of models whose labels come late, and the alerts that every way of counting them raises.

Each way has topics and a ledger of its own, and may run beside the others:

    live         portion by portion, the worker killed between the steps of reporting and of alerting
    through losses    portion by portion, by one worker, its Redis put back a second whenever alerts were told
    caught up    everything is there before the worker begins
    replayed     sent by `latelabel replay` from files
    a backtest   `latelabel backtest` of the same files
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from agents.file_replay.records import Record
from agents.redis_alerts import RedisAlerts
from agents.redis_connection import connect
from deploy.servers import RedisServer
from schemas.alert import Alert, read_alert
from schemas.times import format_time, parse_time_ms
from streams.alerting.fingerprint import fingerprint
from streams.ledger.parts import Role
from tests.support.topics import read_topic
from tests.support.traffic import produce
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

__all__ = [
    "Episode",
    "catch_up",
    "draw_histories",
    "in_a_backtest",
    "installation_in",
    "live",
    "replayed",
    "send",
    "through_losses",
]

START_MS = parse_time_ms("2026-11-01T12:00:00Z")
MINUTE_MS = 60_000
HORIZON_MINUTES = 6
WINDOWS = 30
# The first alerts are due in the third portion: windows are final by then.
KILLED_AT = (
    *("before publish", "after publish"),
    *("before change", "after change", "before alerts", "after alerts", "before mark", "after mark"),
)
SESSION_SECONDS = "6"
LOSING_PORTIONS = 4
"""All but the first raise alerts."""
LOST_SECONDS = 1.0
LONGEST_SECONDS = 300.0
CONFIGURATION = """\
allowed_lateness: 2m
idle_after: {idle_after}
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
"""Labels, what the breaches span, how it ended and why."""


def draw_histories(rng: random.Random, models: Sequence[str]) -> list[Record]:
    """One history for each model, their records in the order of event time."""
    return sorted((record for model in models for record in _history(rng, model)), key=lambda record: record.time_ms)


def _history(rng: random.Random, model: str) -> Iterator[Record]:
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


def installation_in(
    folder: Path, models: Sequence[str], records: Sequence[Record], *, brokers: str, redis_url: str, idle_after: str
) -> Installation:
    """Topics, a configuration, rules, and the records as files."""
    folder.mkdir()
    configured = (MODEL.format(name=name, horizon=HORIZON_MINUTES) for name in models)
    (folder / "latelabel.yaml").write_text(CONFIGURATION.format(idle_after=idle_after) + "".join(configured))
    (folder / "rules.yaml").write_text(RULES)
    for role in Role:
        values = [record.value + b"\n" for record in records if record.role is role]
        (folder / f"{role}.jsonl").write_bytes(b"".join(values))
    installation = Installation(folder, brokers=brokers, redis_url=redis_url)
    installation.create_topics()
    return installation


def send(installation: Installation, records: Sequence[Record]) -> None:
    """To both topics: all predictions, then all labels."""
    for role in Role:
        values: list[bytes | None] = [each.value for each in records if each.role is role]
        produce(installation.brokers, installation.topics[role], values, partitions=installation.partitions)


def live(installation: Installation, records: Sequence[Record]) -> list[Episode]:
    """Portion by portion; each worker is killed at a point of its own."""
    size = len(records) // len(KILLED_AT) + 1
    for number, point in enumerate(KILLED_AT):
        with worker(
            installation,
            program="tests.support.chaos.breaking_worker",
            CHAOS_FOLDER=str(installation.folder),
            CHAOS_SESSION_SECONDS=SESSION_SECONDS,
        ) as process:
            orders = installation.folder / str(process.pid)
            wait_until(orders.exists, what="a worker that takes orders", seconds=LONGEST_SECONDS)
            orders.write_text(f"{point}:SIGKILL")
            process.send_signal(signal.SIGUSR1)
            send(installation, records[number * size : (number + 1) * size])
            code, log = finish(process, seconds=LONGEST_SECONDS)
        assert -signal.SIGKILL == code, log
        assert f"breaking {point} by SIGKILL" in log
    return catch_up(installation)


def through_losses(
    installation: Installation, records: Sequence[Record], redis: RedisServer
) -> tuple[list[Episode], int]:
    """Portion by portion; as soon as alerts are told, Redis dies and comes back as it was a second before.

    Returns: what was said, and in how many of the lost seconds an alert had begun.
    """
    size = len(records) // LOSING_PORTIONS + 1
    begun = 0
    with worker(installation), _sizes_of_the_log(redis) as sizes:
        for number in range(LOSING_PORTIONS):
            before = len(_told(installation))
            send(installation, records[number * size : (number + 1) * size])
            if number > 0:
                wait_until(lambda: len(_told(installation)) > before, what="an alert", seconds=LONGEST_SECONDS)  # noqa: B023
                begun += b'"phase":"firing"' in _put_back(redis, sizes)
                # A worker that dies before it is here begins what was lost once more.
                wait_until(lambda: _is_known(installation), what="what was told to be stored", seconds=LONGEST_SECONDS)
    return catch_up(installation), begun


def _is_known(installation: Installation) -> bool:
    """Whether the store has every alert with the start that was told last."""
    told = {alert.fingerprint: alert.starts_at for alert in _told(installation)}

    async def stored() -> dict[str, str]:
        async with connect(installation.redis_url) as client:
            alerts = RedisAlerts(client, address=installation.redis_url, prefix=installation.name)
            return {
                fingerprint(record.labels): format_time(record.state.notice.starts_ms)
                for record in await alerts.every_alert()
                if record.state.notice is not None
            }

    return told.items() <= asyncio.run(stored()).items()


@contextlib.contextmanager
def _sizes_of_the_log(redis: RedisServer) -> Iterator[Sequence[tuple[float, int]]]:
    """How many bytes the append-only file has had, by monotonic time, looked at often."""
    (log,) = redis.append_only_folder.glob("*.incr.aof")
    sizes = [(time.monotonic(), log.stat().st_size)]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            sizes.append((time.monotonic(), log.stat().st_size))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield sizes
    finally:
        is_over.set()
        watching.join()


def _put_back(redis: RedisServer, sizes: Sequence[tuple[float, int]]) -> bytes:
    """Kill Redis and start it on what it had a second ago. Returns what it has lost."""
    redis.kill()
    until = time.monotonic() - LOST_SECONDS
    kept_bytes = [size for at, size in sizes if at <= until][-1]
    (log,) = redis.append_only_folder.glob("*.incr.aof")
    lost = log.read_bytes()[kept_bytes:]
    os.truncate(log, kept_bytes)
    redis.start()
    return lost


def replayed(installation: Installation) -> list[Episode]:
    """What a worker says that begins when all has been sent from files."""
    _latelabel(
        installation, "replay", "predictions.jsonl", "--topic", "predictions", "labels.jsonl", "--topic", "labels"
    )
    return catch_up(installation)


def catch_up(installation: Installation) -> list[Episode]:
    """What a worker has said that counts all there is and closes every window, and those before it."""
    with worker(installation, "--until-caught-up", "--close") as process:
        code, log = finish(process, seconds=LONGEST_SECONDS)
    assert 0 == code, log
    return _episodes(_told(installation))


def _told(installation: Installation) -> list[Alert]:
    """Everything but the watchdog, each under its own key."""
    told = [(key, read_alert(value)) for key, value in read_topic(installation.brokers, installation.topics["alerts"])]
    assert all(key == alert.fingerprint.encode() for key, alert in told)
    return [alert for _, alert in told if alert.name != "Watchdog"]


def in_a_backtest(installation: Installation) -> list[Episode]:
    """What `latelabel backtest` says of the files, by itself."""
    files = ("--predictions", "predictions.jsonl", "--labels", "labels.jsonl")
    told = _latelabel(installation, "backtest", *files, "--step", "1m", "--format", "jsonl")
    return _episodes([read_alert(json.dumps(json.loads(line)["alert"]).encode()) for line in told.splitlines()])


def _latelabel(installation: Installation, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "agents", *arguments],
        cwd=installation.folder,
        env={**installation.environment, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def _episodes(alerts: Sequence[Alert]) -> list[Episode]:
    """Every time that an alert fired, in the words of its end; repetitions apart.

    What is said again has the same `startsAt`. One breach that is told with two has begun a second incident.
    """
    found = {(alert.fingerprint, _span(alert)[0], alert.starts_at): alert for alert in alerts}
    return sorted(map(_episode, found.values()))


def _episode(alert: Alert) -> Episode:
    since, until = _span(alert)
    # What still fires may last longer by now than when it was said.
    until = until if alert.status == "resolved" else ""
    return json.dumps(alert.labels, sort_keys=True), f"{since} to {until}", alert.status, alert.reason


def _span(alert: Alert) -> tuple[str, str]:
    found = re.search(r"The breach spans (\S+) to (\S+)\.", alert.annotations["description"])
    assert found is not None
    return found[1], found[2]
