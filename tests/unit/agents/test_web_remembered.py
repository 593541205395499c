"""What the page remembers of the store: everything until it changes, and nothing that was read across a change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from agents.web import remembered
from agents.web.remembered import RememberedReports
from streams.identity import model_version_hash
from streams.monitored_model import HOUR_MS
from streams.ports import LastReport, Shape, WindowQuery
from tests.support.page_world import keep, quality, revised, world
from tests.support.publishing import FakeClock, FakeReports

FRAUD = model_version_hash("fraud", "3")
QUERY = WindowQuery(model_version=FRAUD, shape=Shape("quality", 3600), most=10)


class SlowReports(FakeReports):
    """Counts reports that are asked for; answers once it may, with what there was when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked_for = 0

    async def last(self, wanted: Mapping[bytes, Sequence[bytes]]) -> Mapping[bytes, LastReport]:
        self.asked_for += sum(map(len, wanted.values()))
        found = await super().last(wanted)
        await self.may_answer.wait()
        return found


@pytest.fixture
async def store() -> SlowReports:
    reports = SlowReports()
    await keep(reports, world())
    return reports


async def newest(reports: RememberedReports | FakeReports) -> Mapping[bytes, LastReport]:
    (keys,) = await reports.find([QUERY])
    return await reports.last({FRAUD: [*keys, b"no report"]})


async def test_each_report_is_read_once_until_the_store_changes(store: SlowReports) -> None:
    reports = RememberedReports(store, FakeClock(0))
    await reports.changes()
    first = await newest(reports)
    assert first == await newest(reports) == await newest(store)
    assert 11 == store.asked_for - 11
    await keep(store, [revised(quality("fraud", "3")[-1], predictions=7)])
    await reports.changes()
    changed = await newest(reports)
    assert changed != first
    assert changed == await newest(store)


async def test_what_was_read_across_a_change_is_not_remembered(store: SlowReports) -> None:
    reports = RememberedReports(store, FakeClock(0))
    await reports.changes()
    store.may_answer.clear()
    reading = asyncio.ensure_future(newest(reports))
    await asyncio.sleep(0)
    await keep(store, [revised(quality("fraud", "3")[-1], predictions=7)])
    await reports.changes()
    store.may_answer.set()
    old = await reading
    assert old != await newest(reports) == await newest(store)


async def test_nothing_is_remembered_for_long_though_the_number_stays(store: SlowReports) -> None:
    clock = FakeClock(0)
    reports = RememberedReports(store, clock)
    for _ in range(2):
        await reports.changes()
        await newest(reports)
        clock.wall_ms += HOUR_MS
    assert 22 == store.asked_for


async def test_what_is_remembered_is_bounded(store: SlowReports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_BYTES", 4000)
    reports = RememberedReports(store, FakeClock(0))
    await reports.changes()
    assert await newest(reports) == await newest(reports) == await newest(store)
    assert 33 == store.asked_for
