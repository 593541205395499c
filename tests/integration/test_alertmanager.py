"""Alerts in a real Alertmanager: taken as they are, with its own fingerprints, and in the right state to the end."""

from __future__ import annotations

import functools
import json
import random
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from agents.alert_receivers.webhook import webhook_body
from deploy.alertmanager_server import CONFIGURATION, AlertmanagerServer
from deploy.servers import KafkaServer
from schemas.alert import Alert
from schemas.codec import encode
from schemas.times import parse_time_ms
from streams.alerting.fingerprint import fingerprint
from tests.support import waiting
from tests.support.alert_receiver import AlertReceiver, alert_receiver
from tests.support.alerts import AlertTopic, active, an_alert, forwarder, now_ms
from tests.support.certificates import make_certificates

EXAMPLES = Path(__file__).resolve().parents[2] / "schemas/examples/model-alerts/valid"
LABEL_SETS = 1000
wait_until = functools.partial(waiting.wait_until, seconds=90.0)
"""Each test starts programs, which a busy machine takes its time for."""
BATCH = 64
SEED = 20_261_127
PASSWORD = "correct-horse"
PASSWORD_HASH = "$2b$04$0Rt3eAHvg81AX.9bhpREOuME5u4MNDIhqW8uqus1UxW7IxQrtOHg2"
"""Of it, by bcrypt, as a web configuration wants it."""
EAGER = {
    "route": {
        "receiver": "test",
        "group_by": ["..."],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    },
}


@pytest.fixture
def topic(kafka: KafkaServer) -> AlertTopic:
    return AlertTopic(kafka.address)


@pytest.fixture
def alertmanager() -> Iterator[AlertmanagerServer]:
    """As it is shipped."""
    with AlertmanagerServer() as server:
        yield server


@pytest.fixture
def eager(tmp_path: Path) -> Iterator[tuple[AlertmanagerServer, AlertReceiver]]:
    """One that tells a receiver everything at once, each alert for itself."""
    with alert_receiver() as receiver:
        hook = {"name": "test", "webhook_configs": [{"url": f"{receiver.url}/hook", "send_resolved": True}]}
        configuration = tmp_path / "eager.yml"
        configuration.write_text(yaml.safe_dump({**EAGER, "receivers": [hook]}))
        with AlertmanagerServer(configuration=configuration) as server:
            yield server, receiver


def post(server: AlertmanagerServer, alerts: Sequence[Alert]) -> None:
    body = b"[" + b",".join(encode(alert) for alert in alerts) + b"]"
    request = urllib.request.Request(f"{server.url}/api/v2/alerts", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert 200 == answer.status


def word(draw: random.Random, *, least: int = 1) -> str:
    alphabets = ["abcdefghijklmnopqrstuvwxyz", 'ÄÖÜß模型🙂é\u202e"\\{}=,\n\t', " _-./:0123456789"]
    return "".join(draw.choice(draw.choice(alphabets)) for _ in range(draw.randint(least, 24)))


def label_name(draw: random.Random) -> str:
    first = "abcdefghijklmnopqrstuvwxyzABCXYZ_"
    return draw.choice(first) + "".join(draw.choice(f"{first}0123456789") for _ in range(draw.randint(0, 12)))


def drawn_alerts(count: int, *, seed: int = SEED) -> list[Alert]:
    """Firing alerts with labels of every kind, no two with the same."""
    draw = random.Random(seed)
    alerts: dict[str, Alert] = {}
    while len(alerts) < count:
        labels = {"alertname": word(draw), "model": word(draw), "severity": draw.choice(["critical", "warning"])}
        labels |= {label_name(draw): word(draw) for _ in range(draw.randint(0, 6))}
        annotations = {label_name(draw): word(draw, least=0) for _ in range(draw.randint(0, 4))}
        alert = an_alert(starts_ms=now_ms() - draw.randint(0, 10**7), annotations=annotations)
        alert = msgspec.structs.replace(alert, labels=labels, fingerprint=fingerprint(labels), name=labels["alertname"])
        alerts[alert.fingerprint] = alert
    return list(alerts.values())


def posted_part(alert: Alert) -> tuple[Any, ...]:
    times = (parse_time_ms(alert.starts_at), parse_time_ms(alert.ends_at))
    return (alert.fingerprint, alert.labels, alert.annotations, times, alert.generator_url)


def held_part(held: dict[str, Any]) -> tuple[Any, ...]:
    times = (parse_time_ms(held["startsAt"]), parse_time_ms(held["endsAt"]))
    return (held["fingerprint"], held["labels"], held["annotations"], times, held.get("generatorURL", ""))


def test_fingerprints_are_alertmanagers_own_for_a_thousand_label_sets(alertmanager: AlertmanagerServer) -> None:
    alerts = drawn_alerts(LABEL_SETS)
    for at in range(0, len(alerts), BATCH):
        post(alertmanager, alerts[at : at + BATCH])
    held = {each["fingerprint"]: each["labels"] for each in active(alertmanager)}
    assert {alert.fingerprint: alert.labels for alert in alerts} == held
    assert LABEL_SETS == len(held)
    print(f"    {len(held)} fingerprints equal to Alertmanager's, seed {SEED}")


def test_every_object_of_the_topic_is_taken_as_it_is(
    topic: AlertTopic, alertmanager: AlertmanagerServer, tmp_path: Path
) -> None:
    examples = [msgspec.json.decode(path.read_bytes(), type=Alert) for path in sorted(EXAMPLES.iterdir())]
    # The examples ended long ago; of these Alertmanager keeps what begins now.
    current = [
        msgspec.structs.replace(example, starts_at=fresh.starts_at, ends_at=fresh.ends_at)
        for example, fresh in zip(examples, [an_alert() for _ in examples], strict=True)
        if example.status == "firing"
    ]
    alerts = [*drawn_alerts(300, seed=7), *current]
    with forwarder(topic, "--to", "alertmanager", "--url", alertmanager.url, folder=tmp_path):
        topic.publish(*examples, *alerts)
        wait_until(lambda: len(alerts) == len(active(alertmanager)), what="all alerts in Alertmanager")
    expected = sorted(map(posted_part, alerts), key=str)
    assert expected == sorted(map(held_part, active(alertmanager)), key=str)
    assert "answers" not in (tmp_path / "forward.log").read_text()


def test_alert_that_is_refused_does_not_take_its_neighbours_with_it(
    topic: AlertTopic, alertmanager: AlertmanagerServer, tmp_path: Path
) -> None:
    # Taken by our schema, but no address to Alertmanager.
    bad = msgspec.structs.replace(an_alert("bad"), generator_url="http://[half")
    topic.publish(*(an_alert(f"m{at}") for at in range(10)), bad, *(an_alert(f"n{at}") for at in range(10)))
    with forwarder(topic, "--to", "alertmanager", "--url", alertmanager.url, folder=tmp_path):
        wait_until(lambda: 20 == len(active(alertmanager)), what="the good alerts")
        log = tmp_path / "forward.log"
        wait_until(lambda: "Stepping over AccuracyLow" in log.read_text(), what="the bad one in the log")
    assert 1 == log.read_text().count("Stepping over")


def test_firing_sent_again_and_resolved_end_in_the_right_state_there(
    topic: AlertTopic, eager: tuple[AlertmanagerServer, AlertReceiver], tmp_path: Path
) -> None:
    server, receiver = eager
    with forwarder(topic, "--to", "alertmanager", "--url", server.url, folder=tmp_path):
        first = an_alert(ends_ms=now_ms() + 60_000)
        topic.publish(first)
        wait_until(lambda: bool(receiver.taken), what="the first notification")
        again = msgspec.structs.replace(first, ends_at=an_alert().ends_at)
        topic.publish(again)
        wait_until(lambda: [posted_part(again)] == [held_part(each) for each in active(server)], what="the repetition")
        topic.publish(an_alert(status="resolved", starts_ms=parse_time_ms(first.starts_at)))
        wait_until(lambda: [] == active(server), what="nothing active")
        wait_until(lambda: "resolved" in [each.status for each in receiver.taken], what="the end")
    assert ["firing", "resolved"] == [each.status for each in receiver.taken]
    ends = [each.body["alerts"][0] for each in receiver.taken]
    assert {first.fingerprint} == {each["fingerprint"] for each in ends}
    assert 1 == len({parse_time_ms(each["startsAt"]) for each in ends})


def test_alert_of_a_monitor_that_was_killed_ends_there_by_itself(
    topic: AlertTopic, eager: tuple[AlertmanagerServer, AlertReceiver], tmp_path: Path
) -> None:
    server, receiver = eager
    with forwarder(topic, "--to", "alertmanager", "--url", server.url, folder=tmp_path):
        topic.publish(an_alert("before"))
        wait_until(lambda: bool(receiver.taken), what="the forwarder at work")
        topic.publish(an_alert(ends_ms=now_ms() + 4000))
        wait_until(lambda: "resolved" in [each.status for each in receiver.taken], what="the end that nobody sent")
        assert ["before"] == [each["labels"]["model"] for each in active(server)]


def test_our_webhook_says_what_alertmanagers_own_says(eager: tuple[AlertmanagerServer, AlertReceiver]) -> None:
    server, receiver = eager
    begun, ended = an_alert(), an_alert(status="resolved")
    for alert, count in ((begun, 1), (ended, 2)):
        post(server, [alert])
        wait_until(lambda count=count: count == len(receiver.taken), what="a notification")  # type: ignore[misc]
        theirs, ours = receiver.taken[-1].body, json.loads(encode(webhook_body(alert)))
        assert theirs.keys() == ours.keys()
        its_own = {"receiver", "externalURL", "alerts"}
        assert {name: theirs[name] for name in theirs.keys() - its_own} == {
            name: ours[name] for name in ours.keys() - its_own
        }
        (their_alert,), (our_alert,) = theirs["alerts"], ours["alerts"]
        assert their_alert.keys() == our_alert.keys()
        told = ("status", "labels", "annotations", "generatorURL", "fingerprint")
        assert [their_alert[name] for name in told] == [our_alert[name] for name in told]
        assert parse_time_ms(their_alert["endsAt"]) == parse_time_ms(our_alert["endsAt"])


def test_alertmanager_that_comes_back_learns_what_is_on(topic: AlertTopic, tmp_path: Path) -> None:
    with (
        AlertmanagerServer() as server,
        forwarder(topic, "--to", "alertmanager", "--url", server.url, folder=tmp_path) as process,
    ):
        topic.publish(an_alert("a"))
        wait_until(lambda: 1 == len(active(server)), what="the first alert")
        server.kill()
        topic.publish(an_alert("b"), an_alert("c"))
        log = tmp_path / "forward.log"
        wait_until(lambda: "cannot be reached" in log.read_text(), what="the outage in the log")
        topic.publish(an_alert("b", status="resolved"))
        server.start()
        wait_until(lambda: "c" in {each["labels"]["model"] for each in active(server)}, what="c", seconds=60)
        assert "b" not in {each["labels"]["model"] for each in active(server)}
        assert process.poll() is None


def test_each_member_of_a_cluster_is_told_and_one_that_is_away_holds_nobody_up(
    topic: AlertTopic, alertmanager: AlertmanagerServer, tmp_path: Path
) -> None:
    with AlertmanagerServer() as second:
        urls = f"{alertmanager.url},{second.url}"
        with forwarder(topic, "--to", "alertmanager", folder=tmp_path, alertmanager__urls=urls):
            topic.publish(an_alert("a"))
            wait_until(lambda: 1 == len(active(alertmanager)) == len(active(second)), what="a in both")
            second.kill()
            topic.publish(an_alert("b"))
            wait_until(lambda: 2 == len(active(alertmanager)), what="b in the first")
            log = tmp_path / "forward.log"
            wait_until(lambda: "another Alertmanager has taken" in log.read_text(), what="the warning")


def test_alertmanager_behind_tls_and_a_password_is_reached_with_them_alone(topic: AlertTopic, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    web = tmp_path / "web.yml"
    tls = {"cert_file": str(certificates.certificate), "key_file": str(certificates.key)}
    web.write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": {"ann": PASSWORD_HASH}}))
    password = tmp_path / "password"
    password.write_text("wrong\n")
    settings = {
        "alertmanager__ca_file": str(certificates.authority),
        "alertmanager__username": "ann",
        "alertmanager__password_file": str(password),
    }
    log = tmp_path / "forward.log"
    with (
        AlertmanagerServer(web=web) as server,
        forwarder(topic, "--to", "alertmanager", "--url", server.url, folder=tmp_path, **settings),
    ):
        topic.publish(an_alert())
        wait_until(lambda: "answers 401" in log.read_text(), what="the refusal")
        password.write_text(f"{PASSWORD}\n")
        wait_until(lambda: "Nothing waits" in log.read_text(), what="the delivery")
        assert "wrong" not in log.read_text()


def amtool(*arguments: str) -> str:
    done = subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_shipped_configuration_is_valid_and_sends_the_watchdog_to_its_own_receiver() -> None:
    amtool("check-config", str(CONFIGURATION))
    route = ("config", "routes", "test", f"--config.file={CONFIGURATION}")
    assert "dead-mans-switch\n" == amtool(*route, "alertname=Watchdog", "severity=none")
    assert "people\n" == amtool(*route, "alertname=AccuracyLow", "model=fraud", "severity=critical")


def test_shipped_configuration_mutes_what_a_graver_alert_says_already(alertmanager: AlertmanagerServer) -> None:
    critical = {"severity": "critical"}
    stopped = {"alertname": "LabelsStopped", "rule": "model/LabelsStopped"}
    post(alertmanager, [an_alert("grave", labels=critical), an_alert("grave"), an_alert("other")])
    post(alertmanager, [an_alert("dry", labels=stopped), an_alert("dry"), an_alert("dry", labels=critical)])

    def states() -> dict[str, str]:
        return {
            f"{each['labels']['model']} {each['labels']['alertname']} {each['labels']['severity']}": each["status"][
                "state"
            ]
            for each in active(alertmanager)
        }

    expected = {
        "grave AccuracyLow critical": "active",
        "grave AccuracyLow warning": "suppressed",
        "other AccuracyLow warning": "active",
        "dry LabelsStopped warning": "active",
        "dry AccuracyLow warning": "suppressed",
        "dry AccuracyLow critical": "active",
    }
    wait_until(lambda: expected == states(), what=f"{expected}; last seen {states()}")
