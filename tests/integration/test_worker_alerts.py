"""Alerts of workers as processes on the real Kafka and Redis: fired, mended, reloaded, killed and begun only once."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
import yaml

from agents.redis_alerts import RedisAlerts
from agents.redis_connection import connect
from deploy.alertmanager_server import AlertmanagerServer
from deploy.servers import KafkaServer, RedisServer
from schemas.alert import Alert, read_alert
from schemas.times import format_time, parse_time_ms
from streams.alerting.life_cycle import Notice
from tests.support.alerts import AlertTopic, active, forwarder
from tests.support.topics import read_topic
from tests.support.traffic import produce
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

START_MS = parse_time_ms("2026-11-01T12:00:00Z")
MINUTE_MS = 60_000
MODEL = {"name": "fraud", "task": "binary", "positive_class": "fraud", "report_windows": ["1m"], "label_horizon": "2m"}
RULES = """\
groups:
  - name: quality
    rules:
      - alert: AccuracyLow
        when: {metric: accuracy, model: fraud, window: 1m, op: "<", value: 0.9}
        labels: {severity: critical}
"""


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    return installed(tmp_path, kafka, redis_server)


def installed(folder: Path, kafka: KafkaServer, redis: RedisServer) -> Installation:
    installation = Installation(folder, brokers=kafka.address, redis_url=redis.url)
    installation.create_topics()
    settings = {"models": [MODEL], "rule_files": ["rules.yaml"], "idle_after": "1s", "allowed_lateness": "0s"}
    (folder / "latelabel.yaml").write_text(yaml.safe_dump(settings))
    (folder / "rules.yaml").write_text(RULES)
    return installation


def send(installation: Installation, *, minute: int, right: int, wrong: int) -> None:
    """Predictions of one minute with their labels."""
    predictions, labels = [], []
    for number in range(right + wrong):
        event_time = format_time(START_MS + minute * MINUTE_MS + number)
        identity = {"request_id": f"{minute}-{number}", "event_time": event_time}
        predictions.append(json.dumps({**identity, "model": "fraud", "prediction": "ok"}).encode())
        labels.append(json.dumps({**identity, "label": "ok" if number < right else "fraud"}).encode())
    for role, records in (("predictions", predictions), ("labels", labels)):
        produce(installation.brokers, installation.topics[role], records, partitions=installation.partitions)


def said(installation: Installation) -> list[Alert]:
    """All alerts but the watchdog's, in order."""
    records = read_topic(installation.brokers, installation.topics["alerts"])
    alerts = [read_alert(value) for _, value in records]
    assert [alert.fingerprint.encode() for alert in alerts] == [key for key, _ in records]
    return [alert for alert in alerts if alert.name != "Watchdog"]


def fires(installation: Installation, *, times: int = 1) -> Callable[[], bool]:
    return lambda: len(said(installation)) >= times


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stderr is not None
    return iter(process.stderr.readline, "")


def test_live_worker_fires_and_resolves_and_tells_that_it_is_alive(installation: Installation) -> None:
    send(installation, minute=0, right=10, wrong=40)
    with worker(installation):
        send(installation, minute=10, right=50, wrong=0)
        wait_until(fires(installation), what="an alert")
        send(installation, minute=20, right=50, wrong=0)
        wait_until(fires(installation, times=2), what="its end")
        records = read_topic(installation.brokers, installation.topics["alerts"])
        with urlopen(said(installation)[0].generator_url, timeout=60) as page:
            assert "text/html" == page.headers.get_content_type()
    firing, resolved, *_ = said(installation)
    assert ("firing", "resolved", "recovered") == (firing.status, resolved.status, resolved.reason)
    assert (firing.fingerprint, firing.starts_at) == (resolved.fingerprint, resolved.starts_at)
    assert any(read_alert(value).name == "Watchdog" for _, value in records)


def test_alertmanager_hears_when_an_alert_of_a_worker_begins_and_when_it_ends(installation: Installation) -> None:
    topic = AlertTopic(installation.brokers, partitions=1)
    installation.topics["alerts"] = topic.name

    def fingerprints(server: AlertmanagerServer) -> set[str]:
        return {each["fingerprint"] for each in active(server) if each["labels"]["alertname"] != "Watchdog"}

    with (
        AlertmanagerServer() as server,
        worker(installation),
        forwarder(topic, "--to", "alertmanager", "--url", server.url, folder=installation.folder),
    ):
        send(installation, minute=0, right=10, wrong=40)
        send(installation, minute=10, right=50, wrong=0)
        wait_until(lambda: bool(fingerprints(server)), what="an alert in Alertmanager", seconds=60)
        assert {alert.fingerprint for alert in said(installation)} == fingerprints(server)
        send(installation, minute=20, right=50, wrong=0)
        wait_until(lambda: not fingerprints(server), what="its end there", seconds=60)
        (watchdog,) = active(server)
    assert "Watchdog" == watchdog["labels"]["alertname"]


def test_worker_killed_after_it_has_fired_goes_on_with_the_same_alert(installation: Installation) -> None:
    send(installation, minute=0, right=10, wrong=40)
    send(installation, minute=10, right=50, wrong=0)
    with worker(installation) as process:
        wait_until(fires(installation), what="an alert")
        process.send_signal(signal.SIGKILL)
    send(installation, minute=20, right=50, wrong=0)
    with worker(installation, "--until-caught-up", "--close") as process:
        code, log = finish(process)
    assert 0 == code, log
    assert 1 == len({(alert.fingerprint, alert.starts_at) for alert in said(installation)})
    assert "resolved" == said(installation)[-1].status


async def stored_notice(installation: Installation) -> Notice:
    """What the only alert about a model says, told or not."""
    async with connect(installation.redis_url) as client:
        store = RedisAlerts(client, address=installation.redis_url, prefix=installation.name)
        (record,) = [each for each in await store.every_alert() if each.alert != "Watchdog"]
    assert record.state.notice is not None
    return record.state.notice


async def test_broker_that_is_away_while_an_alert_begins_and_while_it_ends_delays_both_and_nothing_else(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    with KafkaServer() as kafka:
        installation = installed(tmp_path, kafka, redis_server)
        send(installation, minute=0, right=10, wrong=40)
        decided = []
        chaos = {"CHAOS_FOLDER": str(tmp_path), "CHAOS_DELIVERY_SECONDS": "2"}
        with worker(installation, program="tests.support.chaos.breaking_worker", **chaos) as process:
            orders = tmp_path / str(process.pid)
            wait_until(orders.exists, what="a worker that takes orders", seconds=60)
            log = lines(process)
            # The first time the broker is gone, the second time it only says nothing.
            for minute, leave, come_back in ((10, kafka.kill, kafka.start), (20, kafka.pause, kafka.resume)):
                orders.write_text("before alerts:SIGSTOP")
                process.send_signal(signal.SIGUSR1)
                send(installation, minute=minute, right=50, wrong=0)
                wait_until(
                    lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED,
                    what="it to freeze",
                    seconds=60,
                )
                leave()
                process.send_signal(signal.SIGCONT)
                next(line for line in log if "Alerts wait" in line)
                decided.append(await stored_notice(installation))
                come_back()
                wait_until(fires(installation, times=len(decided)), what="the alert or its end", seconds=60)
        first, *others, last = said(installation)
    assert {(first.fingerprint, first.starts_at)} == {(each.fingerprint, each.starts_at) for each in (*others, last)}
    begun, ended = decided
    assert (None, begun.starts_ms) == (begun.ends_ms, ended.starts_ms)
    assert ended.ends_ms is not None
    assert ("firing", format_time(begun.starts_ms)) == (first.status, first.starts_at)
    assert ("resolved", first.starts_at, format_time(ended.ends_ms)) == (last.status, last.starts_at, last.ends_at)


def test_bad_rule_file_keeps_the_old_rules_and_says_so_until_it_is_mended(installation: Installation) -> None:
    (installation.folder / "rules.yaml").write_text(RULES.replace("0.9}", "0.1}"))
    send(installation, minute=0, right=10, wrong=40)
    send(installation, minute=10, right=50, wrong=0)
    with worker(installation) as process:
        log = lines(process)
        next(line for line in log if "Reading" in line)
        (installation.folder / "rules.yaml").write_text(RULES.replace("accuracy,", "acuracy,"))
        process.send_signal(signal.SIGHUP)
        told = next(line for line in log if "all stays as it is" in line)
        assert 'rules.yaml:5: groups[0].rules[0].when.metric: found "acuracy"' in told
        assert [] == said(installation)
        (installation.folder / "rules.yaml").write_text(RULES)
        process.send_signal(signal.SIGHUP)
        next(line for line in log if "Alert rules: 1, new or changed: 1" in line)
        next(line for line in log if "Read the configuration again" in line)
        send(installation, minute=20, right=10, wrong=40)
        send(installation, minute=30, right=50, wrong=0)
        wait_until(fires(installation), what="an alert")


def test_worker_does_not_start_with_a_bad_rule_file(installation: Installation) -> None:
    (installation.folder / "rules.yaml").write_text(RULES.replace('"<"', "below"))
    with worker(installation) as process:
        code, log = finish(process)
    assert 2 == code
    assert 'rules.yaml:5: groups[0].rules[0].when.op: found "below", expected one of <, <=, >, >=' in log
