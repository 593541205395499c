"""When a receiver without state of its own is told about an alert."""

from __future__ import annotations

import pytest

from schemas.alert import Alert
from streams.alerting.notification import Notified, Occasion, Told, occasion_of
from tests.support.alerts import an_alert

NOW_MS = 1_795_442_591_000
HOUR_MS = 3_600_000
FIRING = an_alert(starts_ms=NOW_MS - HOUR_MS, ends_ms=NOW_MS + HOUR_MS)
LAPSED = an_alert(starts_ms=NOW_MS - HOUR_MS, ends_ms=NOW_MS)
RESOLVED = an_alert(status="resolved", starts_ms=NOW_MS - HOUR_MS, ends_ms=NOW_MS)
TOLD = Told(FIRING, NOW_MS - HOUR_MS)


@pytest.mark.parametrize(
    ("alert", "expected"), [(FIRING, Occasion.FIRST), (RESOLVED, Occasion.RESOLVED), (LAPSED, Occasion.EXPIRED)]
)
def test_alert_of_which_a_process_that_is_gone_may_have_told_is_told(alert: Alert, expected: Occasion) -> None:
    assert expected is occasion_of(alert, None, now_ms=NOW_MS, repeat_ms=HOUR_MS, is_perhaps_told=True)


@pytest.mark.parametrize(
    ("sentence", "alert", "told", "repeat_ms", "expected"),
    [
        ("an alert that begins is news", FIRING, None, HOUR_MS, Occasion.FIRST),
        ("one that was told is none", FIRING, TOLD, HOUR_MS + 1, None),
        ("after the repeat interval it is news again", FIRING, TOLD, HOUR_MS, Occasion.REPEAT),
        ("its end is news", RESOLVED, TOLD, HOUR_MS, Occasion.RESOLVED),
        ("the end of what nobody heard of is none", RESOLVED, None, HOUR_MS, None),
        ("that nobody sent it again in time is its end", LAPSED, TOLD, HOUR_MS, Occasion.EXPIRED),
        ("what lapsed before anybody was told is no news", LAPSED, None, HOUR_MS, None),
    ],
)
def test_occasion(sentence: str, alert: Alert, told: Told | None, repeat_ms: int, expected: Occasion | None) -> None:
    assert expected == occasion_of(alert, told, now_ms=NOW_MS, repeat_ms=repeat_ms), sentence


def test_repetition_that_is_no_news_prolongs_the_alert() -> None:
    notified = Notified(repeat_ms=HOUR_MS)
    short = an_alert(starts_ms=NOW_MS, ends_ms=NOW_MS + 1000)
    notified.tell(short, Occasion.FIRST, now_ms=NOW_MS)
    assert [short] == list(notified.expired(now_ms=NOW_MS + 1000))
    longer = an_alert(starts_ms=NOW_MS, ends_ms=NOW_MS + 5000)
    assert None is notified.heard(longer, now_ms=NOW_MS + 500)
    assert [] == list(notified.expired(now_ms=NOW_MS + 1000))


def test_nothing_is_kept_of_what_ended_or_is_left_to_others() -> None:
    notified = Notified(repeat_ms=HOUR_MS)
    for model in ("a", "b"):
        notified.tell(an_alert(model, ends_ms=NOW_MS + HOUR_MS), Occasion.FIRST, now_ms=NOW_MS)
    ended = an_alert("a", status="resolved")
    notified.tell(ended, Occasion.RESOLVED, now_ms=NOW_MS)
    assert ended.fingerprint not in notified
    notified.forget(an_alert("b").fingerprint)
    assert 0 == len(notified)


def test_what_was_delivered_earlier_is_known_from_what_was_published() -> None:
    notified = Notified(repeat_ms=HOUR_MS)
    for minute in range(3):
        at_ms = NOW_MS + minute * 60_000
        notified.recall(an_alert("on", ends_ms=at_ms + 240_000), at_ms=at_ms)
        notified.recall(an_alert("over", ends_ms=at_ms + 240_000), at_ms=at_ms)
    notified.recall(an_alert("over", status="resolved"), at_ms=NOW_MS + 200_000)
    on = an_alert("on", ends_ms=NOW_MS + 500_000)
    assert None is notified.heard(on, now_ms=NOW_MS + 200_000)
    assert Occasion.FIRST is notified.heard(an_alert("over", ends_ms=NOW_MS + 500_000), now_ms=NOW_MS + 200_000)
    assert Occasion.REPEAT is notified.heard(an_alert("on", ends_ms=NOW_MS + 2 * HOUR_MS), now_ms=NOW_MS + HOUR_MS)
