"""Alerts of a worker: what is said, once, and again as long as it holds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pytest

from schemas.alert import read_alert
from schemas.times import format_time, parse_time_ms
from streams.alerting.fingerprint import fingerprint
from streams.alerting.life_cycle import Phase
from streams.alerting.rules import Against, Condition, Op
from streams.monitored_model import DAY_MS, MINUTE_MS
from streams.ports import WindowQuery
from tests.support.alerting import ACCURACY_LOW, WINDOW_MS, AlertWorld, break_down, statuses, stricter
from tests.support.evaluation import NOON_MS


@pytest.fixture
async def world() -> AlertWorld:
    return await AlertWorld(ACCURACY_LOW).start()


# --- what is said ----------------------------------------------------------------------------------------------------


async def test_final_window_that_breaks_the_rule_fires_an_alert_as_alertmanager_takes_it(world: AlertWorld) -> None:
    await break_down(world)
    (alert,) = await world.round()
    labels = {
        "alertname": "AccuracyLow",
        "model": "fraud",
        "model_version": "3",
        "rule": "accuracy-5m",
        "severity": "critical",
    }
    assert labels == alert.labels
    assert ("firing", "AccuracyLow", "critical", "breach") == (alert.status, alert.name, alert.severity, alert.reason)
    assert fingerprint(labels) == alert.fingerprint
    assert format_time(world.clock_ms) == alert.starts_at
    assert format_time(world.clock_ms + 4 * MINUTE_MS) == alert.ends_at
    assert "http://monitor:6066/?model=fraud&version=3" == alert.generator_url
    given = {name: alert.annotations[name] for name in ("value", "threshold", "samples", "coverage", "runbook_url")}
    assert given == {
        "value": "0.1",
        "threshold": "0.9",
        "samples": "20",
        "coverage": "1",
        "runbook_url": "https://example.org/accuracy",
    }
    assert ("2026-11-23T12:00:00Z", "2026-11-23T12:05:00Z") == (
        alert.annotations["window_start"],
        alert.annotations["window_end"],
    )
    (message,) = world.publisher.sent
    assert (alert.fingerprint.encode(), "model-alerts") == (message.key, message.topic)
    assert alert == read_alert(message.value)
    assert b"io.latelabel.alert.v1" == dict(message.headers)["ce_type"]


async def test_windows_that_are_fine_say_nothing(world: AlertWorld) -> None:
    await world.window(0, right=20, wrong=0)
    await world.settle(0)
    assert [] == await world.round()
    assert Phase.INACTIVE == world.state().phase


async def test_alert_is_sent_again_every_minute_with_a_later_end_and_the_same_start(world: AlertWorld) -> None:
    await break_down(world)
    (first,) = await world.round()
    assert [] == await world.round(after_ms=59_999)
    (again,) = await world.round(after_ms=1)
    assert (first.starts_at, first.fingerprint, "firing") == (again.starts_at, again.fingerprint, again.status)
    assert MINUTE_MS == parse_time_ms(again.ends_at) - parse_time_ms(first.ends_at)


async def test_next_window_that_is_fine_resolves_and_is_said_for_a_quarter_of_an_hour(world: AlertWorld) -> None:
    await break_down(world)
    (firing,) = await world.round()
    await world.window(3, right=20, wrong=0)
    await world.settle(3)
    (resolved,) = await world.round()
    assert ("resolved", "recovered", firing.starts_at) == (resolved.status, resolved.reason, resolved.starts_at)
    assert format_time(world.clock_ms) == resolved.ends_at
    said = []
    for _ in range(20):
        said += await world.round(after_ms=MINUTE_MS)
    assert 14 == len(said)
    assert {resolved.ends_at} == {alert.ends_at for alert in said}
    assert Phase.INACTIVE == world.state().phase


async def test_breach_beyond_doubt_fires_while_labels_are_due_and_a_later_label_takes_it_back(
    world: AlertWorld,
) -> None:
    world.rules = (stricter(ACCURACY_LOW, min_coverage=0.5),)
    waiting = await world.window(0, right=0, wrong=20, unlabelled=5)
    await world.close(0)
    assert ["firing: breach"] == statuses(await world.round())
    corrected = [f"{number}" for number in range(20)]
    for request_id in (*corrected, *waiting):
        await world.world.label(request_id, "ok", at_ms=NOON_MS + 2)
    await world.settle(0)
    (alert,) = await world.round(after_ms=MINUTE_MS)
    assert "resolved: revised" == statuses([alert])[0]
    assert alert.annotations["description"].startswith("Labels that came later have taken the breach back.")


async def test_slices_share_the_confidence_and_the_alert_says_how_many(world: AlertWorld) -> None:
    world.rules = (stricter(ACCURACY_LOW, segment={"country": "*"}),)
    for country in ("DE", "FR", "IT"):
        await world.window(0, right=20 if country != "FR" else 2, wrong=0 if country != "FR" else 18, country=country)
    await world.settle(0)
    (alert,) = await world.round()
    assert ("FR", "3") == (alert.labels["country"], alert.annotations["slices"])
    assert "Confidence 0.95, divided over 3 slices." in alert.annotations["description"]


async def test_relative_rule_compares_with_the_like_window_a_day_before(world: AlertWorld) -> None:
    world.rules = (stricter(ACCURACY_LOW, against=Against.DAY, value=-0.2),)
    a_day = DAY_MS // WINDOW_MS
    await world.window(0, right=40, wrong=0)
    await world.window(a_day, right=10, wrong=30)
    await world.window(a_day + 1, right=10, wrong=30)
    await world.settle(a_day + 1)
    (alert,) = await world.round()
    assert "2026-11-24T12:00:00Z" == alert.annotations["window_start"]
    assert "0.8" == alert.annotations["threshold"]
    assert Phase.FIRING == world.state().phase


async def test_template_that_fails_goes_out_and_says_so(world: AlertWorld) -> None:
    texts = {
        "summary": "{{ $labels.model }} at {{ $ci_low | humanizePercentage }}",
        "note": "{{ $labels.model | humanize }}",
    }
    world.rules = (dataclasses.replace(ACCURACY_LOW, annotations=texts),)
    await break_down(world)
    (alert,) = await world.round()
    assert alert.annotations["summary"].startswith("fraud at 2.")
    assert "<error expanding template: $labels is not a number: fraud>" == alert.annotations["note"]


async def test_watchdog_fires_for_ever_by_one_worker_with_one_start(world: AlertWorld) -> None:
    owner = world.evaluator(owns=lambda _: True)
    (first,) = await world.round(by=owner)
    assert ({"alertname": "Watchdog", "rule": "watchdog", "severity": "none"}, "firing") == (first.labels, first.status)
    (again,) = await world.round(after_ms=MINUTE_MS, by=world.evaluator(owns=lambda _: True))
    assert first.starts_at == again.starts_at
    assert [] == await world.round(after_ms=MINUTE_MS)


# --- silence ---------------------------------------------------------------------------------------------------------


async def test_model_that_is_silent_for_five_of_its_longest_gaps_is_stale(world: AlertWorld) -> None:
    await break_down(world, 0)
    await world.window(
        2, right=2, wrong=18
    )  # a window without traffic in between: the longest usual gap is ten minutes
    await world.settle(2)
    await world.round()
    assert ["firing: breach"] == statuses(await world.round(after_ms=50 * MINUTE_MS))
    assert ["resolved: silence"] == statuses(await world.round(after_ms=1))
    assert Phase.STALE == world.state().phase


async def test_silence_means_nothing_while_input_cannot_be_read(world: AlertWorld) -> None:
    await break_down(world)
    await world.round()
    world.is_blind = True
    assert ["firing: breach"] == statuses(await world.round(after_ms=DAY_MS))
    world.is_blind = False
    assert ["firing: breach"] == statuses(await world.round(after_ms=20 * MINUTE_MS))


async def test_rule_on_silence_fires_in_wall_time_and_resolves_when_traffic_is_back(world: AlertWorld) -> None:
    when = Condition(metric="traffic_silence", op=Op.MORE, value=5, confidence=None)
    world.rules = (dataclasses.replace(ACCURACY_LOW, alert="TrafficStopped", when=when),)
    await world.window(0, right=20, wrong=0)
    assert [] == await world.round()
    assert [] == await world.round(after_ms=25 * MINUTE_MS)
    assert ["firing: breach"] == statuses(await world.round(after_ms=1))
    await world.window(5, right=20, wrong=0)
    assert ["resolved: recovered"] == statuses(await world.round(after_ms=1))


# --- rules that change -----------------------------------------------------------------------------------------------


async def test_rule_that_is_new_says_what_holds_now_and_nothing_of_the_past(world: AlertWorld) -> None:
    world.rules = ()
    for index, wrong in enumerate((18, 0, 18, 0, 18)):
        await world.window(index, right=20 - wrong, wrong=wrong)
    await world.settle(4)
    assert [] == await world.round()
    world.rules = (ACCURACY_LOW,)
    (alert,) = await world.round()
    assert ("firing", format_time(NOON_MS + 4 * WINDOW_MS)) == (alert.status, alert.annotations["window_start"])


async def test_report_that_is_published_while_a_new_rule_looks_back_is_said(world: AlertWorld) -> None:
    await world.window(0, right=20, wrong=0)
    await world.round()
    evaluator = world.evaluator()
    find = world.world.store.find

    async def find_after_more_was_published(queries: Sequence[WindowQuery]) -> Sequence[Sequence[bytes]]:
        world.world.store.find = find  # type: ignore[method-assign]
        for index, wrong in ((3, 18), (4, 0)):
            await world.window(index, right=20 - wrong, wrong=wrong)
        await world.settle(4)
        await world.reports.evaluate(everything=True)
        return await find(queries)

    world.rules = (stricter(ACCURACY_LOW, value=0.8),)
    world.world.store.find = find_after_more_was_published  # type: ignore[method-assign]
    await world.round(by=evaluator)
    await world.round(by=evaluator)
    assert ["firing: breach", "resolved: recovered"] == statuses(world.said())


async def test_rule_that_is_gone_resolves_its_alert_and_is_forgotten(world: AlertWorld) -> None:
    await break_down(world)
    await world.round()
    world.rules = ()
    assert ["resolved: rule_gone"] == statuses(await world.round())
    await world.round()
    assert [{}] == list(world.store.alerts.values())


async def test_rule_whose_words_change_goes_on(world: AlertWorld) -> None:
    await break_down(world)
    (first,) = await world.round()
    world.rules = (dataclasses.replace(ACCURACY_LOW, annotations={"summary": "other words"}),)
    (again,) = await world.round(after_ms=MINUTE_MS)
    assert (first.starts_at, "other words") == (again.starts_at, again.annotations["summary"])


async def test_every_episode_of_a_backlog_is_told_in_order(world: AlertWorld) -> None:
    for index, wrong in enumerate((18, 0, 18, 0)):
        await world.window(index, right=20 - wrong, wrong=wrong)
    await world.settle(3)
    said = await world.round()
    assert ["firing: breach", "resolved: recovered"] * 2 == statuses(said)
    assert 1 == len({alert.fingerprint for alert in said})


async def test_model_of_another_worker_is_left_to_it(world: AlertWorld) -> None:
    await break_down(world)
    assert [] == await world.round(by=world.evaluator(owns=lambda _: False))
    assert 1 == len(await world.round())


async def test_news_that_no_rule_is_about_is_read_once_and_done_with(world: AlertWorld) -> None:
    world.rules = ()
    await break_down(world)
    await world.round()
    assert [{}] == list(world.world.store.news.values())


async def test_stored_alert_is_found_under_labels_that_never_change(world: AlertWorld) -> None:
    await break_down(world)
    await world.round()
    (record,) = await world.store.every_alert()
    assert json.dumps(dict(record.labels), sort_keys=True) == json.dumps(world.said()[0].labels, sort_keys=True)
