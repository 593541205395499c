"""The forwarder between a feed and a receiver that a test controls."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from agents import alert_forwarder
from agents.alert_forwarder import AlertForwarder
from agents.alert_forwarding import forwarder_metrics
from agents.alert_receivers.receiver import NotTaken, Refused, Trouble
from agents.clock import SystemClock
from agents.exposition import expose
from schemas.times import parse_time_ms
from streams.alerting.notification import Notified
from streams.errors import PermanentFailure, TemporaryFailure
from streams.monitored_model import HOUR_MS
from tests.support.alerts import an_alert, now_ms
from tests.support.forwarding import FakeFeed, FakeReceiver, ShiftedClock, away, running, until


async def test_offset_is_committed_only_when_everything_below_was_delivered() -> None:
    feed, receiver = FakeFeed(), FakeReceiver()
    receiver.refusal = lambda alert: NotTaken("no", Trouble.SERVER_ERROR, concerns_all=False) if (
        alert.labels["model"] == "stuck"
    ) else None  # fmt: skip
    feed.publish(an_alert("a"), an_alert("stuck"), an_alert("b"))
    feed.publish(an_alert("c"), partition=1)
    async with running(feed, receiver):
        await until(lambda: 3 == len(receiver.taken))
        await until(lambda: bool(feed.committed))
        assert {0: 1, 1: 1} == feed.committed[-1][0]
        receiver.refusal = lambda _: None
        await until(lambda: {0: 3, 1: 1} == feed.committed[-1][0])


async def test_only_the_latest_of_each_alert_waits_and_a_later_one_moves_the_commit_on() -> None:
    feed, receiver = FakeFeed(), FakeReceiver()
    receiver.refusal = away
    async with running(feed, receiver) as forwarder:
        for at in range(200):
            feed.publish(
                an_alert("a", annotations={"summary": str(at)}), an_alert("b", annotations={"summary": str(at)})
            )
        await until(lambda: bool(feed.committed) and feed.committed[-1][0][0] == 398)
        assert 2 == forwarder.waiting
        assert forwarder.failing_seconds > 0
        receiver.refusal = lambda _: None
        await until(lambda: 2 == len(receiver.taken))
        assert {"199"} == {alert.annotations["summary"] for alert in receiver.taken}
        await until(lambda: 0.0 == forwarder.failing_seconds)


async def test_what_has_waited_longest_is_delivered_first_although_it_was_sent_again() -> None:
    feed, receiver = FakeFeed(), FakeReceiver()
    receiver.refusal = away
    async with running(feed, receiver) as forwarder:
        feed.publish(an_alert("first"), an_alert("second"))
        await until(lambda: 2 == forwarder.waiting)
        feed.publish(an_alert("first"))
        await until(lambda: bool(feed.committed) and feed.committed[-1][0][0] == 1)
        receiver.refusal = lambda _: None
        await until(lambda: 2 == len(receiver.taken))
    assert ["first", "second"] == [alert.labels["model"] for alert in receiver.taken]


async def test_nothing_is_read_while_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_forwarder, "WAITING_BYTES", 3000)
    feed, receiver = FakeFeed(), FakeReceiver()
    receiver.refusal = away
    async with running(feed, receiver) as forwarder:
        feed.publish(*(an_alert(f"m{at}") for at in range(10)))
        await until(lambda: feed.is_full)
        feed.publish(*(an_alert(f"n{at}") for at in range(10)))
        assert 10 == forwarder.waiting
        receiver.refusal = lambda _: None
        await until(lambda: 20 == len(receiver.taken))


async def test_one_refused_alert_of_a_batch_is_stepped_over_and_the_others_are_taken() -> None:
    feed, receiver = FakeFeed(), FakeReceiver(most_at_once=64)
    receiver.refusal = lambda alert: Refused("400") if alert.labels["model"] == "m3" else None
    feed.publish(*(an_alert(f"m{at}") for at in range(5)))
    async with running(feed, receiver) as forwarder:
        await until(lambda: 4 == len(receiver.taken))
        await until(lambda: bool(feed.committed) and feed.committed[-1][0][0] == 5)
        assert [5, 1, 1, 1, 1, 1] == receiver.batches
        assert 1 == forwarder.tally.refused
        text = expose(forwarder_metrics(forwarder, "fake"))
        assert 'latelabel_alerts_refused_total{receiver="fake"} 1\n' in text
        assert 'latelabel_alert_delivery_failures_total{receiver="fake",reason="refused"} 1\n' in text
        assert 'latelabel_alert_delivery_failures_total{receiver="fake",reason="timeout"} 0\n' in text


async def test_alert_that_fires_again_before_its_end_was_told_is_not_told_at_all() -> None:
    feed, receiver = FakeFeed(), FakeReceiver()
    async with running(feed, receiver, Notified(repeat_ms=HOUR_MS)) as forwarder:
        feed.publish(an_alert())
        await until(lambda: 1 == len(receiver.taken))
        receiver.refusal = away
        feed.publish(an_alert(status="resolved"))
        await until(lambda: 1 == forwarder.waiting)
        feed.publish(an_alert())
        await until(lambda: 0 == forwarder.waiting)
        await until(lambda: feed.committed[-1][0][0] == 3)
    assert ["firing"] == [alert.status for alert in receiver.taken]


async def test_alert_that_lapses_is_told_as_resolved_and_that_is_noted_with_the_commit() -> None:
    feed, receiver, clock = FakeFeed(), FakeReceiver(), ShiftedClock()
    lapsing = an_alert()
    async with running(feed, receiver, Notified(repeat_ms=HOUR_MS), clock):
        feed.publish(lapsing)
        await until(lambda: 1 == len(receiver.taken))
        clock.shift_ms = HOUR_MS // 2
        await until(lambda: 2 == len(receiver.taken))
        ended = receiver.taken[1]
        assert ("resolved", "monitor_silent", lapsing.ends_at) == (ended.status, ended.reason, ended.ends_at)
        await until(lambda: feed.committed[-1][1] >= parse_time_ms(lapsing.ends_at))


async def test_lapse_that_is_not_told_yet_is_not_noted_as_told() -> None:
    feed, receiver, clock = FakeFeed(), FakeReceiver(), ShiftedClock()
    lapsing = an_alert()
    async with running(feed, receiver, Notified(repeat_ms=HOUR_MS), clock) as forwarder:
        feed.publish(lapsing)
        await until(lambda: 1 == len(receiver.taken))
        receiver.refusal = away
        clock.shift_ms = HOUR_MS // 2
        await until(lambda: 1 == forwarder.waiting)
        feed.publish(an_alert("other", status="resolved"))
        await until(lambda: feed.committed[-1][0][0] == 2)
        assert feed.committed[-1][1] < parse_time_ms(lapsing.ends_at)


async def test_alert_does_not_lapse_while_what_prolongs_it_may_not_be_read_yet() -> None:
    feed, receiver, clock = FakeFeed(), FakeReceiver(), ShiftedClock()
    async with running(feed, receiver, Notified(repeat_ms=HOUR_MS), clock):
        feed.publish(an_alert())
        await until(lambda: 1 == len(receiver.taken))
        feed.is_caught_up = False
        clock.shift_ms = HOUR_MS // 2
        feed.publish(an_alert("other", ends_ms=now_ms() + HOUR_MS))
        await until(lambda: 2 == len(receiver.taken))
        feed.publish(an_alert(ends_ms=now_ms() + HOUR_MS))
        await until(lambda: feed.committed[-1][0][0] == 3)
        feed.is_caught_up = True
        feed.publish(an_alert("last", ends_ms=now_ms() + HOUR_MS))
        await until(lambda: 3 == len(receiver.taken))
    assert ["fraud", "other", "last"] == [alert.labels["model"] for alert in receiver.taken]
    assert {"firing"} == {alert.status for alert in receiver.taken}


async def test_history_is_not_delivered_but_known() -> None:
    feed, receiver = FakeFeed(), FakeReceiver()
    feed.publish(an_alert("known", ends_ms=now_ms() + HOUR_MS), is_history=True)
    feed.publish_bytes(b"{", is_history=True)
    lapsed = an_alert("told before")
    feed.publish(lapsed, is_history=True)
    feed.told_until = parse_time_ms(lapsed.ends_at)
    clock = ShiftedClock()
    clock.shift_ms = HOUR_MS // 2
    async with running(feed, receiver, Notified(repeat_ms=HOUR_MS), clock) as forwarder:
        feed.publish(*(an_alert(model, ends_ms=now_ms() + HOUR_MS) for model in ("known", "new")))
        await until(lambda: bool(receiver.taken))
        await until(lambda: feed.committed[-1][0][0] == 5)
        assert 0 == forwarder.tally.unreadable
        assert ["new"] == [alert.labels["model"] for alert in receiver.taken]


async def test_end_that_is_refused_is_not_told_for_ever() -> None:
    feed, receiver, clock = FakeFeed(), FakeReceiver(), ShiftedClock()
    receiver.refusal = lambda alert: Refused("400") if alert.status == "resolved" else None
    async with running(feed, receiver, Notified(repeat_ms=HOUR_MS), clock) as forwarder:
        feed.publish(an_alert())
        await until(lambda: 1 == len(receiver.taken))
        clock.shift_ms = HOUR_MS // 2
        await until(lambda: 1 == forwarder.tally.refused)
        feed.publish(an_alert("next", ends_ms=now_ms() + HOUR_MS))
        await until(lambda: 2 == len(receiver.taken))
        feed.publish(an_alert("last", ends_ms=now_ms() + HOUR_MS))
        await until(lambda: 3 == len(receiver.taken))
        assert 1 == forwarder.tally.refused


async def test_kafka_that_is_away_delays_alerts_and_one_that_refuses_ends_it() -> None:
    feed, receiver = FakeFeed(), FakeReceiver()
    asked = 0
    commit = feed.commit

    async def fail(offsets: Mapping[int, int], *, told_until_ms: int) -> bool:
        nonlocal asked
        asked += 1
        raise TemporaryFailure("Kafka is away")

    feed.commit = fail  # type: ignore[method-assign]
    feed.publish(an_alert())
    async with running(feed, receiver):
        await until(lambda: asked > 2)
        assert [] == receiver.taken
        feed.commit = commit  # type: ignore[method-assign]
        await until(lambda: bool(receiver.taken))
    feed.failure = PermanentFailure("no right to read")
    with pytest.raises(PermanentFailure, match="no right to read"):
        await AlertForwarder(feed, receiver, notified=None, clock=SystemClock()).run()


def test_pauses_grow_to_a_minute_and_differ() -> None:
    pauses = [[alert_forwarder._pause_seconds(failures) for _ in range(50)] for failures in range(1, 2000, 3)]
    assert all(0.25 <= pause <= 60 for each in pauses for pause in each)
    assert all(len(set(each)) > 1 for each in pauses)
    assert min(pauses[-1]) >= 30
