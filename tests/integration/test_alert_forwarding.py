"""`latelabel alerts forward` as a process, on a real Kafka: what receivers are told, whatever they answer."""

from __future__ import annotations

import contextlib
import functools
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from deploy.server_process import free_port
from deploy.servers import KafkaServer
from schemas.codec import encode
from schemas.times import format_time
from tests.support import waiting
from tests.support.alert_receiver import Posted, alert_receiver
from tests.support.alerts import AlertTopic, an_alert, forwarder, now_ms
from tests.support.certificates import make_certificates

GUIDE = Path(__file__).resolve().parents[2] / "deploy/guides/subscribing_to_alerts.md"
SECRET = "s3cret-of-somebody"
wait_until = functools.partial(waiting.wait_until, seconds=90.0)
"""Each test starts programs, which a busy machine takes its time for."""


@pytest.fixture
def topic(kafka: KafkaServer) -> AlertTopic:
    return AlertTopic(kafka.address)


def models(posted: list[Posted]) -> list[str]:
    """Whom webhook bodies are about, with their status."""
    return [f"{each.body['commonLabels']['model']} {each.status}" for each in posted]


def log(folder: Path) -> str:
    return (folder / "forward.log").read_text()


def wait_for_log(folder: Path, text: str) -> None:
    wait_until(lambda: text in log(folder), what=f"{text!r} in the log")


def metrics_port(folder: Path) -> int:
    return int(log(folder).split("metrics on port ")[1].split()[0])


def end(process: subprocess.Popen[str], *, seconds: float = 8.0) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(seconds)


def committed_all(topic: AlertTopic, *, group: str) -> bool:
    """Whether the group has nothing left to read."""
    consumer = Consumer({"bootstrap.servers": topic.brokers, "group.id": group})
    try:
        places = [TopicPartition(topic.name, partition) for partition in range(3)]
        committed = {place.partition: place.offset for place in consumer.committed(places, timeout=10)}
        ends = {place.partition: consumer.get_watermark_offsets(place, timeout=10)[1] for place in places}
        return all(committed[partition] == ends[partition] or ends[partition] == 0 for partition in ends)
    finally:
        consumer.close()


def test_webhook_is_told_once_when_an_alert_begins_and_once_when_it_ends(topic: AlertTopic, tmp_path: Path) -> None:
    with alert_receiver() as receiver, forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url):
        for _ in range(5):
            topic.publish(an_alert())
        wait_until(lambda: bool(receiver.taken), what="the first alert")
        topic.publish(an_alert(status="resolved"))
        topic.publish(an_alert("other", status="resolved"))
        topic.publish(an_alert(status="resolved"), an_alert("last"))
        wait_until(lambda: "last firing" in models(receiver.taken), what="the last alert")
        wait_until(lambda: "fraud resolved" in models(receiver.taken), what="the end of the first alert")
        assert ["fraud firing", "fraud resolved", "last firing"] == sorted(models(receiver.taken))


def test_alert_that_nobody_sends_again_is_told_as_ended_and_that_is_told_once_whatever_restarts(
    topic: AlertTopic, tmp_path: Path
) -> None:
    with alert_receiver() as receiver:
        with forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url) as process:
            topic.publish(an_alert("steady"))
            wait_until(lambda: bool(receiver.taken), what="the first alert")
            topic.publish(an_alert(ends_ms=now_ms() + 3000))
            wait_until(lambda: "fraud resolved" in models(receiver.taken), what="the end that nobody published")
            ended = next(each for each in receiver.taken if "resolved" == each.status)
            assert "resolved" == ended.body["alerts"][0]["status"]
            wait_until(lambda: committed_all(topic, group=f"{topic.group}-alerts-webhook"), what="commit")
            assert 0 == end(process)
        with forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url):
            topic.publish(an_alert("news"))
            wait_until(lambda: "news firing" in models(receiver.taken), what="the news")
            assert ["fraud firing", "fraud resolved", "news firing", "steady firing"] == sorted(models(receiver.taken))


def test_killed_forwarder_goes_on_where_it_stopped_and_knows_what_was_told(topic: AlertTopic, tmp_path: Path) -> None:
    group = f"{topic.group}-alerts-webhook"
    with alert_receiver() as receiver:
        with forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url) as process:
            topic.publish(*(an_alert(f"m{at}") for at in range(20)))
            wait_until(lambda: 20 == len(receiver.taken), what="twenty alerts")
            wait_until(lambda: committed_all(topic, group=group), what="the commit")
            process.kill()
        topic.publish(*(an_alert(f"m{at}") for at in range(20)))
        topic.publish(an_alert("m3", status="resolved"), an_alert("new"))
        with forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url):
            wait_until(lambda: {"m3 resolved", "new firing"} <= set(models(receiver.taken)), what="what is new")
        assert 22 == len(receiver.taken)


def test_receiver_that_is_away_is_told_what_is_true_when_it_comes_back(topic: AlertTopic, tmp_path: Path) -> None:
    port = free_port()
    with forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=f"http://127.0.0.1:{port}") as process:
        topic.publish(an_alert("short"))
        for at in range(300):
            topic.publish(an_alert("long", annotations={"summary": f"number {at}"}))
        wait_for_log(tmp_path, "cannot be reached (Connection refused)")
        topic.publish(an_alert("short", status="resolved"))
        with alert_receiver(port=port) as receiver:
            wait_until(lambda: bool(receiver.taken), what="the alert", seconds=60)
            assert ["long firing"] == models(receiver.taken)
            assert "number 299" == receiver.taken[0].body["commonAnnotations"]["summary"]
            wait_for_log(tmp_path, "Nothing waits for webhook any more")
        assert 0 == end(process)
    assert log(tmp_path).count("cannot be reached") <= 3, "one line every half minute"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, "answers 503"),
        (401, "answers 401; correct the credentials"),
        (0, "gives no answer"),
        (-1, "does not answer within 1 s"),
    ],
)
def test_alert_waits_while_the_receiver_may_come_to_take_it(
    status: int, said: str, topic: AlertTopic, tmp_path: Path
) -> None:
    with (
        alert_receiver() as receiver,
        forwarder(
            topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url, webhook__timeout="1s"
        ) as process,
    ):
        receiver.answer = lambda _: (status, "")
        topic.publish(an_alert())
        wait_for_log(tmp_path, said)
        receiver.answer = lambda _: (200, "")
        wait_until(lambda: bool(receiver.taken), what="the alert")
        assert 0 == end(process)


def test_refused_alert_is_stepped_over_with_its_reason_and_counted(topic: AlertTopic, tmp_path: Path) -> None:
    def answer(posted: Posted) -> tuple[int, str]:
        return (400, "bad label value") if posted.body["commonLabels"]["model"] == "bad" else (200, "")

    with (
        alert_receiver() as receiver,
        forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url) as process,
    ):
        receiver.answer = answer
        topic.publish(an_alert("bad"))
        topic.publish_bytes(b'{"labels": {"alertname": 7}}')
        topic.publish_bytes(None)
        wait_for_log(tmp_path, "Stepping over AccuracyLow")
        wait_for_log(tmp_path, "Expected `str`, got `int`")
        topic.publish(an_alert("good"))
        wait_until(lambda: ["good firing"] == models(receiver.taken), what="the good alert")
        assert "answers 400: bad label value" in log(tmp_path)
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port(tmp_path)}/metrics") as answered:
            metrics = answered.read().decode()
        assert 'latelabel_alerts_refused_total{receiver="webhook"} 1' in metrics
        assert 'latelabel_alerts_unreadable_total{receiver="webhook"} 1' in metrics
        assert 'latelabel_alerts_delivered_total{receiver="webhook",status="firing"} 1' in metrics
        wait_until(lambda: committed_all(topic, group=f"{topic.group}-alerts-webhook"), what="the commit")
        assert 0 == end(process)


def test_alert_that_its_receiver_cannot_digest_does_not_hold_up_the_others(topic: AlertTopic, tmp_path: Path) -> None:
    with (
        alert_receiver() as receiver,
        forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url),
    ):
        receiver.answer = lambda posted: (500 if posted.body["commonLabels"]["model"] == "poison" else 200, "")
        topic.publish(an_alert("poison"))
        wait_for_log(tmp_path, "answers 500")
        for at in range(5):
            topic.publish(an_alert(f"m{at}"))
            wait_until(lambda at=at: f"m{at} firing" in models(receiver.taken), what=f"m{at}", seconds=5)  # type: ignore[misc]


def test_certificate_that_is_not_trusted_is_told_and_nothing_is_sent(topic: AlertTopic, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    with alert_receiver(certificates=certificates) as receiver:
        with forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url) as process:
            topic.publish(an_alert())
            wait_for_log(tmp_path, "shows a certificate that is not trusted: unable to get local issuer certificate")
            assert 0 == end(process)
        assert [] == receiver.posted
        trusting = {"webhook__url": receiver.url, "webhook__ca_file": str(certificates.authority)}
        with forwarder(topic, "--to", "webhook", folder=tmp_path, **trusting):
            wait_until(lambda: ["fraud firing"] == models(receiver.taken), what="the alert")


@pytest.mark.parametrize("kind", ["token", "password", "url"])
def test_no_secret_gets_into_the_log_even_if_the_receiver_repeats_it(
    kind: str, topic: AlertTopic, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    with alert_receiver() as receiver:
        if kind == "url":
            secret.write_text(f"{receiver.url}/hooks/{SECRET}?key={SECRET}\n")
            settings = {"webhook__url_file": str(secret)}
        else:
            secret.write_text(f"{SECRET}\n")
            credentials = {"webhook__token_file": str(secret)}
            if kind == "password":
                credentials = {"webhook__username": "ann", "webhook__password_file": str(secret)}
            settings = {"webhook__url": receiver.url, **credentials}
        receiver.answer = lambda posted: (401, f"not {posted.headers.get('Authorization')} at {posted.path}")
        with forwarder(topic, "--to", "webhook", folder=tmp_path, **settings) as process:
            topic.publish(an_alert())
            wait_for_log(tmp_path, "answers 401: not")
            receiver.answer = lambda posted: (400, f"not {posted.headers.get('Authorization')} at {posted.path}")
            wait_for_log(tmp_path, "Stepping over")
            assert 0 == end(process)
        sent = receiver.posted[0]
    expected = {"token": f"Bearer {SECRET}", "password": "Basic YW5uOnMzY3JldC1vZi1zb21lYm9keQ==", "url": None}
    assert expected[kind] == sent.headers.get("Authorization")
    assert ("url" == kind) == (SECRET in sent.path)
    assert SECRET not in log(tmp_path)
    assert "YW5uOnMzY3JldC1vZi1zb21lYm9keQ" not in log(tmp_path)


def test_secret_that_is_renewed_is_used_at_once(topic: AlertTopic, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old")
    with alert_receiver() as receiver:
        receiver.answer = lambda posted: (200 if posted.headers["Authorization"] == "Bearer new" else 401, "")
        settings = {"webhook__url": receiver.url, "webhook__token_file": str(secret)}
        with forwarder(topic, "--to", "webhook", folder=tmp_path, **settings):
            topic.publish(an_alert())
            wait_for_log(tmp_path, "answers 401; correct the credentials")
            secret.write_text("new")
            wait_until(lambda: ["fraud firing"] == models(receiver.taken), what="the alert")


def test_forwarder_ends_promptly_while_its_receiver_hangs(topic: AlertTopic, tmp_path: Path) -> None:
    with (
        alert_receiver() as receiver,
        forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url) as process,
    ):
        receiver.answer = lambda _: (-1, "")
        topic.publish(an_alert())
        wait_until(lambda: bool(receiver.posted), what="the request")
        began = time.monotonic()
        assert 0 == end(process)
        assert time.monotonic() - began < 6


def test_forwarder_rides_out_a_broker_that_is_away_and_can_be_ended_meanwhile(tmp_path: Path) -> None:
    with KafkaServer() as kafka, alert_receiver() as receiver:
        topic = AlertTopic(kafka.address)
        with forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url) as process:
            topic.publish(an_alert("before"))
            wait_until(lambda: bool(receiver.taken), what="the first alert")
            kafka.restart()
            topic.publish(an_alert("after"))
            wait_until(lambda: "after firing" in models(receiver.taken), what="an alert after the outage", seconds=60)
            assert ["before firing", "after firing"] == models(receiver.taken)
            kafka.kill()
            assert 0 == end(process)


def test_second_forwarder_takes_over_from_one_that_dies(topic: AlertTopic, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with alert_receiver() as receiver:
        settings = {"webhook__url": receiver.url}
        with (
            forwarder(topic, "--to", "webhook", folder=first, **settings) as dying,
            forwarder(topic, "--to", "webhook", folder=second, **settings),
        ):
            wait_for_log(first, "metrics on port")
            wait_for_log(second, "metrics on port")
            topic.publish(*(an_alert(f"m{at}") for at in range(12)))
            wait_until(lambda: 12 <= len(set(models(receiver.taken))), what="all alerts", seconds=60)
            dying.kill()
            topic.publish(*(an_alert(f"m{at}", status="resolved") for at in range(12)))
            wait_until(lambda: 24 == len(set(models(receiver.taken))), what="all ends", seconds=60)


def test_end_is_told_of_an_alert_that_was_told_by_a_forwarder_killed_before_it_could_say_so(
    topic: AlertTopic, tmp_path: Path
) -> None:
    with alert_receiver() as receiver:
        with forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url) as process:

            def kill(_: Posted) -> tuple[int, str]:
                process.kill()
                return 200, ""

            receiver.answer = kill
            topic.publish(an_alert())
            wait_until(lambda: bool(receiver.posted), what="the alert")
            process.wait(30)
        receiver.answer = lambda _: (200, "")
        topic.publish(an_alert(status="resolved"), an_alert("short"), an_alert("short", status="resolved"))
        with forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url):
            wait_until(lambda: "fraud resolved" in models(receiver.taken), what="its end")
        assert "fraud firing" not in models(receiver.taken[1:])


def test_forwarder_for_which_no_partition_is_left_is_ready(kafka: KafkaServer, tmp_path: Path) -> None:
    topic = AlertTopic(kafka.address, partitions=1)
    folders = [tmp_path / name for name in ("first", "second")]

    def answers(folder: Path) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port(folder)}/readyz") as answered:
                return int(answered.status)
        except urllib.error.HTTPError as error:
            return error.code

    with alert_receiver() as receiver, contextlib.ExitStack() as stack:
        for folder in folders:
            folder.mkdir()
            stack.enter_context(forwarder(topic, "--to", "webhook", folder=folder, webhook__url=receiver.url))
        for folder in folders:
            wait_for_log(folder, "metrics on port")
            wait_until(lambda folder=folder: 200 == answers(folder), what="it to be ready")  # type: ignore[misc]


def test_services_of_apprise_are_told_and_each_one_again_only_if_it_has_not_taken_it(
    topic: AlertTopic, tmp_path: Path
) -> None:
    urls = tmp_path / "urls"
    with alert_receiver() as good, alert_receiver() as bad:
        urls.write_text(f"# services\njson://127.0.0.1:{good.port}/{SECRET}\njson://127.0.0.1:{bad.port}/{SECRET}\n")
        bad.answer = lambda _: (500, "")
        with forwarder(topic, "--to", "apprise", folder=tmp_path, apprise__urls_file=str(urls)) as process:
            topic.publish(an_alert())
            wait_for_log(tmp_path, "not taken: line 3 (JSON) of urls_file")
            bad.answer = lambda _: (200, "")
            wait_until(lambda: bool(bad.taken), what="the alert")
            topic.publish(an_alert(status="resolved"))
            wait_until(lambda: 2 == len(good.taken) == len(bad.taken), what="its end")
            assert 0 == end(process)
    assert ["warning", "success"] == [each.body["type"] for each in good.posted]
    assert "[FIRING] AccuracyLow: accuracy of fraud is 0.71" == good.posted[0].body["title"]
    assert "model: fraud" in good.posted[0].body["message"]
    assert SECRET not in log(tmp_path)


def test_misuse_is_told_before_anything_is_read(topic: AlertTopic, tmp_path: Path) -> None:
    cases = [
        (("--to", "webhook"), {}, 1, "give receivers.webhook.url"),
        (("--to", "webhook", "--url", f"http://ann:{SECRET}@h"), {}, 2, "without a user or password"),
        (("--to", "apprise"), {}, 1, "give receivers.apprise.urls_file"),
        (("--to", "apprise", "--url", "json://h"), {}, 2, "--url is not for apprise"),
        (("--to", "alertmanager"), {"alertmanager__ca_file": "none.pem"}, 1, "correct ca_file"),
        (("--to", "alertmanager"), {"alertmanager__username": "ann"}, 2, "username and password_file together"),
        (("--to", "alertmanager"), {"alertmanager__urls": f"http://ann:{SECRET}@h:9093"}, 2, "a URL that cannot be"),
    ]  # fmt: skip
    for number, (arguments, settings, code, said) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        with forwarder(topic, *arguments, folder=folder, **settings) as process:
            assert code == process.wait(30), log(folder)
        assert said in log(folder)
        assert SECRET not in log(folder)


def test_alerts_published_before_the_first_start_are_told_as_they_stand(topic: AlertTopic, tmp_path: Path) -> None:
    old_ms = now_ms() - 3_600_000
    topic.publish(an_alert("dead", starts_ms=old_ms, ends_ms=old_ms + 1000), an_alert("ended"))
    topic.publish(an_alert("ended", status="resolved"), an_alert("on"))
    assert format_time(old_ms) in encode(an_alert(starts_ms=old_ms)).decode()
    with alert_receiver() as receiver, forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url):
        wait_until(lambda: bool(receiver.taken), what="the alert that is on")
        topic.publish(an_alert("next"))
        wait_until(lambda: "next firing" in models(receiver.taken), what="the next alert")
        assert ["on firing", "next firing"] == models(receiver.taken)


def test_receiver_is_asked_again_when_it_said(topic: AlertTopic, tmp_path: Path) -> None:
    times: list[float] = []

    def answer(_: Posted) -> tuple[int, str]:
        times.append(time.monotonic())
        return (429 if len(times) == 1 else 200), ""

    with alert_receiver() as receiver, forwarder(topic, "--to", "webhook", folder=tmp_path, webhook__url=receiver.url):
        receiver.answer, receiver.answer_headers = answer, {"Retry-After": "3"}
        topic.publish(an_alert())
        wait_until(lambda: bool(receiver.taken), what="the alert")
    assert times[1] - times[0] > 2.5


def test_program_of_the_guide_sees_alerts_begin_end_and_fall_silent(topic: AlertTopic, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    program = program.replace("localhost:9092", topic.brokers).replace('"model-alerts"', f'"{topic.name}"')
    topic.publish(an_alert("a"), an_alert("b", ends_ms=now_ms() + 2000), an_alert("c"), an_alert("c"))
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, "-u", "-c", program], stdout=said, stderr=said)
    try:
        wait_until(lambda: 3 == (tmp_path / "said").read_text().count("begins"), what="three alerts")
        topic.publish(an_alert("a", status="resolved"))
        wait_until(lambda: 2 == (tmp_path / "said").read_text().count("ends"), what="two ends")
    finally:
        process.kill()
        process.wait()
    lines = (tmp_path / "said").read_text().splitlines()
    expected = ["begins: accuracy of a is 0.71", "begins: accuracy of b is 0.71", "begins: accuracy of c is 0.71"]
    assert [*expected, "ends: accuracy of a is 0.71", "ends: accuracy of b is 0.71"] == sorted(lines)
