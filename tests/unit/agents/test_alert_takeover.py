"""Forwarders that take over from each other: what one leaves in doubt, and what one that stood still must not tell."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from agents.alert_receivers.receiver import NotTaken, PublishedAlert, Trouble
from schemas.alert import Alert
from streams.alerting.notification import Notified
from streams.monitored_model import HOUR_MS
from tests.support.alerts import an_alert, now_ms
from tests.support.forwarding import FakeFeed, FakeReceiver, ShiftedClock, away, running, until


async def test_end_of_an_alert_that_may_have_been_told_is_told() -> None:
    feed, receiver = FakeFeed(), FakeReceiver()
    feed.publish(an_alert("doubtful"), is_in_doubt=True)
    feed.publish(an_alert("doubtful", status="resolved"), an_alert("short"), an_alert("short", status="resolved"))
    async with running(feed, receiver, Notified(repeat_ms=HOUR_MS)):
        await until(lambda: bool(feed.committed) and feed.committed[-1][0][0] == 4)
    assert [("doubtful", "resolved")] == [(alert.labels["model"], alert.status) for alert in receiver.taken]


async def test_alerts_of_partitions_that_others_own_now_are_left_to_them() -> None:
    feed, receiver = FakeFeed(), FakeReceiver()
    notified = Notified(repeat_ms=HOUR_MS)
    async with running(feed, receiver, notified) as forwarder:
        feed.publish(an_alert("told"))
        await until(lambda: 1 == len(receiver.taken))
        receiver.refusal = away
        feed.publish(an_alert("waits"))
        await until(lambda: 1 == forwarder.waiting)
        feed.deal_out({1: 0})
        feed.publish(an_alert("stays"), partition=1)
        await until(lambda: 0 == len(notified) and 1 == forwarder.waiting)
        receiver.refusal = lambda _: None
        await until(lambda: {1: 1} == feed.committed[-1][0])
    assert ["told", "stays"] == [alert.labels["model"] for alert in receiver.taken]


async def test_what_waited_before_we_stood_still_is_not_told_after_another_one_has_told_its_end() -> None:
    feed, receiver = FakeFeed(), FakeReceiver()
    receiver.refusal = away
    async with running(feed, receiver, Notified(repeat_ms=HOUR_MS)) as forwarder:
        feed.publish(an_alert("ended"))
        await until(lambda: 1 == forwarder.waiting)
        feed.deal_out({0: 0, 1: 0})
        feed.publish(an_alert("ended"), an_alert("ended", status="resolved"), is_history=True)
        feed.publish(an_alert("new"))
        receiver.refusal = lambda _: None
        await until(lambda: bool(receiver.taken))
        assert 0 == forwarder.waiting
    assert ["new"] == [alert.labels["model"] for alert in receiver.taken]


async def test_what_was_told_behind_an_alert_that_waits_is_not_told_again_when_partitions_are_dealt_out() -> None:
    feed, receiver = FakeFeed(), FakeReceiver()
    receiver.refusal = lambda alert: NotTaken("no", Trouble.SERVER_ERROR, concerns_all=False) if (
        alert.labels["model"] == "stuck"
    ) else None  # fmt: skip
    before = (an_alert("stuck"), an_alert("told"))
    feed.publish(*before)
    async with running(feed, receiver, Notified(repeat_ms=HOUR_MS)):
        await until(lambda: bool(receiver.taken))
        feed.deal_out({0: 0})
        feed.publish(*before, is_in_doubt=True)
        feed.publish(an_alert("told", status="resolved"))
        await until(lambda: 2 == len(receiver.taken))
    assert ["firing", "resolved"] == [alert.status for alert in receiver.taken]


async def test_nothing_is_told_while_kafka_does_not_say_that_the_partitions_are_ours() -> None:
    feed, receiver, clock = FakeFeed(), FakeReceiver(), ShiftedClock()
    feed.publish(an_alert("first"), an_alert("second"))

    def stand_still(_: Alert) -> None:
        feed.is_ours = False
        clock.shift_ms += 10_000

    receiver.refusal = stand_still
    async with running(feed, receiver, Notified(repeat_ms=HOUR_MS), clock) as forwarder:
        await until(lambda: 1 == len(receiver.taken))
        feed.publish(an_alert("third"))
        await until(lambda: 2 == forwarder.waiting)
        assert feed.committed, "where it began, before it told anything"
        assert all({0: 0, 1: 0} == offsets for offsets, _ in feed.committed)
        feed.deal_out({0: 1})
        feed.is_ours, receiver.refusal = True, lambda _: None
        feed.publish(an_alert("second"))
        await until(lambda: 2 == len(receiver.taken))
    assert ["first", "second"] == [alert.labels["model"] for alert in receiver.taken]


async def test_answer_of_kafka_that_comes_when_it_is_old_is_asked_for_again() -> None:
    feed, receiver, clock = FakeFeed(), FakeReceiver(), ShiftedClock()
    commit = feed.commit

    async def stand_still_meanwhile(offsets: Mapping[int, int], *, told_until_ms: int) -> bool:
        is_taken = await commit(offsets, told_until_ms=told_until_ms)
        feed.is_ours = False
        clock.shift_ms += 10_000
        return is_taken

    feed.commit = stand_still_meanwhile  # type: ignore[method-assign]
    feed.publish(an_alert())
    async with running(feed, receiver, None, clock) as forwarder:
        await until(lambda: bool(feed.committed) and 1 == forwarder.waiting)
        feed.commit = commit  # type: ignore[method-assign]
        feed.deal_out({0: 0})
        feed.is_ours = True
        feed.publish(an_alert("later"))
        await until(lambda: bool(receiver.taken))
    assert ["later"] == [alert.labels["model"] for alert in receiver.taken]


async def test_delivery_that_ends_when_the_partitions_are_dealt_out_again_leaves_nothing_behind() -> None:
    feed, receiver, clock = FakeFeed(), FakeReceiver(), ShiftedClock()
    notified = Notified(repeat_ms=HOUR_MS)
    began, may_end = asyncio.Event(), asyncio.Event()
    deliver = receiver.deliver

    async def slowly(alerts: Sequence[PublishedAlert]) -> None:
        began.set()
        await may_end.wait()
        await deliver(alerts)

    receiver.deliver = slowly  # type: ignore[method-assign]
    feed.publish(an_alert())
    async with running(feed, receiver, notified, clock) as forwarder:
        await began.wait()
        feed.deal_out({1: 0})
        await until(lambda: 0 == forwarder.waiting)
        may_end.set()
        clock.shift_ms = HOUR_MS
        feed.publish(an_alert("next", ends_ms=now_ms() + 2 * HOUR_MS), partition=1)
        await until(lambda: 2 == len(receiver.taken))
        assert 1 == len(notified)
