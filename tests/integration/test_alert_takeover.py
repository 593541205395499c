"""Members of the group that reads alerts, on a real Kafka: what a new one is told of the past, and zombies."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from pathlib import Path

from agents.alert_feed import AlertFeed, FeedRecord
from agents.kafka_settings import KafkaSettings, TopicSettings
from deploy.servers import KafkaServer
from tests.support.alert_receiver import AlertReceiver, Posted, alert_receiver
from tests.support.alerts import AlertTopic, an_alert, forwarder
from tests.support.waiting import wait_until

SESSION_SECONDS = 10.0
"""After which the group gives a member's partitions to others."""


def feed(topic: AlertTopic) -> AlertFeed:
    kafka = KafkaSettings(brokers=(topic.brokers,), topics=TopicSettings(alerts=topic.name))
    return AlertFeed(kafka, group=topic.group, with_history=True)


async def read_until(reading: AlertFeed, *, count: int) -> list[FeedRecord]:
    """So many records, of one assignment."""
    found: list[FeedRecord] = []
    assignment = reading.assignment
    while len(found) < count:
        records = await reading.read()
        if reading.assignment != assignment:
            found, assignment = [], reading.assignment
        found += records
    return found


def standing(records: list[FeedRecord]) -> dict[int, str]:
    """What each offset is to its reader."""
    return {
        each.offset: "history" if each.is_history else "in doubt" if each.is_in_doubt else "news" for each in records
    }


async def test_records_behind_the_commit_are_in_doubt_up_to_where_the_log_ended_when_they_were_taken_over(
    kafka: KafkaServer,
) -> None:
    topic = AlertTopic(kafka.address, partitions=1)
    topic.publish(*(an_alert(f"m{at}") for at in range(3)))
    first, second = feed(topic), feed(topic)
    await first.start()
    assert dict.fromkeys(range(3), "news") == standing(await read_until(first, count=3))
    assert {0: 3} == first.positions
    assert await first.commit({0: 2}, told_until_ms=7)
    await first.stop()
    await second.start()
    try:
        taken_over = {0: "history", 1: "history", 2: "in doubt"}
        assert taken_over == standing(await read_until(second, count=3))
        assert 7 == second.told_until_ms(0)
        topic.publish(an_alert("m3"))
        assert {3: "news"} == standing(await read_until(second, count=1))
    finally:
        await second.stop()


async def test_partition_that_comes_back_to_its_reader_is_begun_again_with_what_is_committed_by_then(
    kafka: KafkaServer,
) -> None:
    topic = AlertTopic(kafka.address, partitions=2)
    topic.publish(*(an_alert(f"m{at}") for at in range(20)))
    staying, passing = feed(topic), feed(topic)
    await staying.start()
    await read_until(staying, count=20)
    ends = dict(staying.positions)
    assert await staying.commit(ends, told_until_ms=0)
    assignment = staying.assignment
    await passing.start()
    try:
        # Both have to be read for the group to deal out its partitions.
        while len(staying.positions) != 1 or len(passing.positions) != 1:
            await staying.read()
            await passing.read()
        assert staying.assignment > assignment
        assert {**staying.positions, **passing.positions} == ends
    finally:
        await passing.stop()
    try:
        found = await read_until(staying, count=20)
        assert {"history"} == set(standing(found).values())
        assert ends == staying.positions, "history takes no commit back"
    finally:
        await staying.stop()


async def test_commit_of_one_whom_the_group_has_given_up_is_refused(kafka: KafkaServer) -> None:
    topic = AlertTopic(kafka.address, partitions=1)
    topic.publish(an_alert())
    zombie = feed(topic)
    await zombie.start()
    try:
        await read_until(zombie, count=1)
        assert await zombie.commit({0: 0}, told_until_ms=0)
        assert zombie._consumer is not None
        # As the group sees it after a session that ran out: somebody else is in the next generation.
        zombie._consumer._coordinator.generation -= 1
        assert not await zombie.commit({0: 1}, told_until_ms=0)
        (again,) = await read_until(zombie, count=1)
        assert again.is_in_doubt
    finally:
        await zombie.stop()


def told(*receivers: AlertReceiver) -> list[str]:
    """Whom bodies that were taken are about, with their status."""
    return [f"{each.body['commonLabels']['model']} {each.status}" for receiver in receivers for each in receiver.taken]


def is_ready(folder: Path) -> bool:
    log = (folder / "forward.log").read_text()
    if "metrics on port " not in log:
        return False
    port = int(log.split("metrics on port ")[1].split()[0])
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answered:
            return bool(answered.status == 200)
    except urllib.error.URLError:
        return False


def test_zombie_does_not_tell_what_another_forwarder_has_told_the_end_of(kafka: KafkaServer, tmp_path: Path) -> None:
    topic = AlertTopic(kafka.address, partitions=2)
    names = [f"m{at}" for at in range(8)]
    folders = [tmp_path / name for name in ("frozen", "other")]
    for folder in folders:
        folder.mkdir()
    # Two addresses of one receiver, so that it is seen who says what.
    with (
        alert_receiver() as by_frozen,
        alert_receiver() as by_other,
        forwarder(topic, "--to", "webhook", folder=folders[0], webhook__url=by_frozen.url) as frozen,
        forwarder(topic, "--to", "webhook", folder=folders[1], webhook__url=by_other.url),
    ):
        wait_until(lambda: all(map(is_ready, folders)), what="both to join", seconds=60)
        by_frozen.answer = lambda _: (503, "")
        topic.publish(*map(an_alert, names))
        log = folders[0] / "forward.log"
        wait_until(lambda: "answers 503" in log.read_text(), what="alerts that wait for the next attempt", seconds=60)
        frozen.send_signal(signal.SIGSTOP)
        for status in ("firing", "resolved"):
            wait_until(
                lambda status=status: {f"{name} {status}" for name in names} <= set(told(by_other)),  # type: ignore[misc]
                what=f"the other one to tell of all that is {status}",
                seconds=SESSION_SECONDS + 60,
            )
            topic.publish(*(an_alert(name, status="resolved") for name in names))
        by_frozen.answer = lambda _: (200, "")
        frozen.send_signal(signal.SIGCONT)
        # Once it is a member again it has a share of these.
        news = 0
        while not by_frozen.taken:
            topic.publish(an_alert(f"news{news}"))
            news += 1
            wait_until(lambda: f"news{news - 1} firing" in told(by_frozen, by_other), what="the news", seconds=60)  # noqa: B023
    assert not [said for said in told(by_frozen) if said.split()[0] in names]
    assert {f"{name} resolved" for name in names} <= set(told(by_other))


def test_nothing_is_lost_while_forwarders_come_and_go(kafka: KafkaServer, tmp_path: Path) -> None:
    topic = AlertTopic(kafka.address, partitions=3)
    names = [f"m{at}" for at in range(12)]
    folders = [tmp_path / name for name in ("staying", "leaving", "coming")]
    for folder in folders:
        folder.mkdir()
    staying, leaving, coming = folders
    with alert_receiver() as receiver:
        arguments = ("--to", "webhook")
        with forwarder(topic, *arguments, folder=staying, webhook__url=receiver.url):
            with forwarder(topic, *arguments, folder=leaving, webhook__url=receiver.url) as killed:
                wait_until(lambda: is_ready(staying) and is_ready(leaving), what="both to join", seconds=60)

                def kill(_: Posted) -> tuple[int, str]:
                    killed.kill()
                    return 200, ""

                receiver.answer = kill
                topic.publish(*map(an_alert, names))
                killed.wait(60)
            receiver.answer = lambda _: (200, "")
            with forwarder(topic, *arguments, folder=coming, webhook__url=receiver.url):
                topic.publish(*(an_alert(name, status="resolved") for name in names))
                ends = {f"{name} resolved" for name in names}
                begun = {each.body["commonLabels"]["model"] for each in receiver.posted if each.status == "firing"}
                assert begun
                wait_until(
                    lambda: ends & set(told(receiver)) >= {f"{name} resolved" for name in begun},
                    what="the end of all that was told",
                    seconds=60,
                )
