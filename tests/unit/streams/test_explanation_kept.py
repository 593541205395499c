"""The newest explanations that are kept: which ones stay, how much they take, and how they are found."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable

import msgspec
import pytest

from streams.explanation.kept import (
    ENTRY_BYTES,
    LARGEST_BYTES,
    ExplanationsAsked,
    KeptExplanation,
    KeptExplanations,
    kept_explanation,
)
from streams.identity import request_key
from streams.monitored_model import HOUR_MS
from tests.support.page_world import explained

NOON_MS = 1_795_435_200_000


def kept(name: str, *, time_ms: int = NOON_MS, model: str = "m", version: str = "1", is_wrong: bool = True,
         size: int = 100, **segment: str) -> KeptExplanation:  # fmt: skip
    return KeptExplanation(
        model=model,
        model_version=version,
        time_ms=time_ms,
        key=request_key(name),
        segment=segment,
        is_wrong=is_wrong,
        value=name.encode().ljust(size, b" "),
    )


def names(found: Iterable[KeptExplanation]) -> list[str]:
    return [each.value.decode().strip() for each in found]


def everything(store: KeptExplanations) -> list[str]:
    return sorted(names(store.find(ExplanationsAsked(model="m"))))


def test_slot_keeps_the_same_ones_in_whatever_order_they_come() -> None:
    rng = random.Random(3)
    given = [kept(f"r{number}", time_ms=NOON_MS + number, is_wrong=number % 3 == 0) for number in range(40)]
    outcomes = []
    for _ in range(20):
        store = KeptExplanations(lambda _: HOUR_MS, most_in_slot=15)
        for each in rng.sample(given, len(given)):
            store.add(each)
        outcomes.append(everything(store))
    wrong = [each for each in given if each.is_wrong]
    others = sorted((each for each in given if not each.is_wrong), key=lambda each: each.key)
    assert [sorted(names([*wrong, *others[:1]]))] * 20 == outcomes


def test_bytes_are_bounded_and_the_oldest_event_times_leave_first() -> None:
    store = KeptExplanations(lambda _: HOUR_MS, most_bytes=5 * (100 + ENTRY_BYTES))
    for hour in (3, 1, 5, 0, 4, 2, 6):
        store.add(kept(f"r{hour}", time_ms=NOON_MS + hour * HOUR_MS))
        assert store.bytes <= 5 * (100 + ENTRY_BYTES)
    assert ["r2", "r3", "r4", "r5", "r6"] == everything(store)
    assert (5, 5 * (100 + ENTRY_BYTES)) == (store.count, store.bytes)


def test_explanation_that_comes_again_takes_its_own_place() -> None:
    store = KeptExplanations(lambda _: HOUR_MS)
    for size in (100, 300, 200):
        store.add(kept("r", size=size))
    assert (1, 200 + ENTRY_BYTES) == (store.count, store.bytes)


def test_they_are_found_by_version_time_segment_and_whether_they_are_wrong() -> None:
    store = KeptExplanations(lambda _: HOUR_MS)
    store.add(kept("late", time_ms=NOON_MS + 90_000, country="DE"))
    store.add(kept("early", country="FR"))
    store.add(kept("right", is_wrong=False))
    store.add(kept("next", time_ms=NOON_MS + HOUR_MS))
    store.add(kept("other version", version="2"))
    store.add(kept("other model", model="n"))
    one = ExplanationsAsked(model="m", model_version="1")
    window = dataclasses.replace(one, since_ms=NOON_MS, until_ms=NOON_MS + HOUR_MS)
    second_minute = dataclasses.replace(one, since_ms=NOON_MS + 60_000, until_ms=NOON_MS + 120_000)
    at_noon = sorted(["early", "right"], key=request_key, reverse=True)
    assert ["late", *at_noon] == names(store.find(window))
    assert ["late", "early"] == names(store.find(dataclasses.replace(window, is_wrong=True)))
    assert ["late"] == names(store.find(dataclasses.replace(window, segment={"country": "DE"})))
    assert ["right"] == names(store.find(dataclasses.replace(window, segment={"country": "__missing__"})))
    assert ["late"] == names(store.find(second_minute))
    assert ["other version"] == names(store.find(ExplanationsAsked(model="m", model_version="2")))
    assert [] == names(store.find(ExplanationsAsked(model="nobody")))


def test_pages_hold_each_once() -> None:
    store = KeptExplanations(lambda _: HOUR_MS, most_in_slot=100)
    for number in range(50):
        store.add(kept(f"r{number}", time_ms=NOON_MS + number // 7 * 20 * 60_000, version=str(number % 2)))
    seen: list[str] = []
    before = None
    while page := list(store.find(ExplanationsAsked(model="m", before=before)))[:9]:
        seen += names(page)
        before = page[-1].place
    assert everything(store) == sorted(seen)
    assert 50 == len(seen)


def test_what_is_read_is_what_stands_on_the_topic() -> None:
    wrong = explained("r", time_ms=NOON_MS, label="ok", predicted="fraud", segment={"country": "DE"})
    value = msgspec.json.encode(wrong)
    read = kept_explanation(value)
    assert read is not None
    assert (NOON_MS, True, {"country": "DE"}, value) == (read.time_ms, read.is_wrong, read.segment, read.value)
    for label in ("ok", None):
        other = kept_explanation(msgspec.json.encode(explained("r", time_ms=NOON_MS, label=label, predicted="ok")))
        assert other is not None
        assert not other.is_wrong


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"request_id": "r"}',
        msgspec.json.encode(msgspec.structs.replace(explained("r", time_ms=NOON_MS), event_time=None)),
        msgspec.json.encode(msgspec.structs.replace(explained("r", time_ms=NOON_MS), event_time="noon")),
        msgspec.json.encode(explained("r" * LARGEST_BYTES, time_ms=NOON_MS)),
    ],
    ids=["empty", "malformed", "list", "bytes", "another", "old", "no time", "large"],
)
def test_what_is_no_explanation_of_ours_is_left_out(value: bytes) -> None:
    assert kept_explanation(value) is None
