"""What every alert store does: the same suite for the fake and for Redis."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from agents.redis_alerts import RedisAlerts
from agents.redis_reports import RedisReports
from deploy.servers import RedisServer
from streams.alerting.fold import Judged, Run
from streams.alerting.life_cycle import AlertState, Notice, Phase, Reason, Transition
from streams.alerting.outcome import Grounds, Outcome
from streams.alerting.record import AlertRecord
from streams.alerting.rules import Series
from streams.identity import model_version_hash, model_version_name
from streams.ports import AlertStore, LastReport, ReportStore, StoredAlerts
from tests.support.publishing import FakeAlerts, FakeReports

FRAUD = model_version_hash("fraud", "3")
CHURN = model_version_hash("churn", "1")
EVALUATOR = b"evaluator"
REPORT, ONE, OTHER = (b'["quality","fraud","3",{},300,"2026-11-23T12:%02d:00Z"]' % minute for minute in (0, 5, 10))
WINDOW = Judged(
    start_ms=0,
    end_ms=300_000,
    outcome=Outcome.BREACH,
    grounds=Grounds.EARLY,
    is_final=False,
    value=0.5,
    n=100,
    low=0.4,
    high=0.6,
    threshold=0.9,
    coverage=0.25,
)
NOTICE = Notice(starts_ms=7, reason=Reason.BREACH, since_ms=0, until_ms=300_000, window=WINDOW)
RECORD = AlertRecord(
    rule="0123456789abcdef",
    group="quality",
    alert="AccuracyLow",
    labels={"alertname": "AccuracyLow", "model": "fraud"},
    series=Series("fraud", "3", (("country", "DE"),), 300_000),
    state=AlertState(
        phase=Phase.FIRING,
        reason=Reason.BREACH,
        settled=Run(0, 300_000, True),
        tail=(WINDOW,),
        coverages=(0.5, 0.25),
        told=(Run(0, 300_000, True),),
        newest=WINDOW,
        notice=NOTICE,
        untold=(NOTICE,),
        history=(Transition(7, Phase.FIRING, Reason.BREACH, WINDOW),),
    ),
)


@dataclasses.dataclass(frozen=True)
class Stores:
    alerts: AlertStore
    reports: ReportStore

    async def publish(self, key: bytes, revision: int) -> None:
        """Keep one report as the evaluator does."""
        report = LastReport(key=key, value=b"{}", revision=revision, published_ms=1, watermark_ms=1, due_ms=1)
        await self.reports.claim([FRAUD], evaluator=EVALUATOR, watermark_ms=0)
        await self.reports.save(FRAUD, model_version_name("fraud", "3"), [report], evaluator=EVALUATOR, watermark_ms=1)

    async def news(self) -> dict[bytes, int]:
        return dict((await self.alerts.look([FRAUD]))[0].news)


@pytest.fixture(params=["fake", "redis"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "fake":
        reports = FakeReports()
        yield Stores(FakeAlerts(reports), reports)
        return
    server: RedisServer = request.getfixturevalue("fresh_redis")
    client = redis.asyncio.Redis.from_url(server.unix_url)
    place = {"address": server.address, "prefix": "test"}
    yield Stores(RedisAlerts(client, **place), RedisReports(client, **place))
    await client.aclose()


async def test_alert_that_was_saved_is_read_back_as_it_was(stores: Stores) -> None:
    await stores.publish(REPORT, 1)
    assert await stores.alerts.save(FRAUD, {"name": RECORD}, expected=0, judged={})
    loaded = await stores.alerts.load([FRAUD, CHURN])
    assert [StoredAlerts(version=1, alerts={"name": RECORD}, news={REPORT: 1}), StoredAlerts()] == list(loaded)
    assert [RECORD] == list(await stores.alerts.every_alert())


async def test_alert_is_dropped_by_saving_nothing_in_its_place(stores: Stores) -> None:
    await stores.publish(REPORT, 1)
    await stores.alerts.save(FRAUD, {"name": RECORD, "other": RECORD}, expected=0, judged={})
    await stores.alerts.save(FRAUD, {"name": None}, expected=1, judged={})
    assert {"other": RECORD} == (await stores.alerts.load([FRAUD]))[0].alerts


async def test_evaluator_that_has_read_an_older_version_changes_nothing(stores: Stores) -> None:
    await stores.publish(REPORT, 1)
    assert await stores.alerts.save(FRAUD, {"name": RECORD}, expected=0, judged={})
    assert not await stores.alerts.save(FRAUD, {"name": None}, expected=0, judged={REPORT: 1})
    assert ({"name": RECORD}, {REPORT: 1}) == (
        (await stores.alerts.load([FRAUD]))[0].alerts,
        await stores.news(),
    )


async def test_report_is_news_until_it_has_been_judged(stores: Stores) -> None:
    await stores.publish(ONE, 5)
    await stores.publish(OTHER, 6)
    assert {ONE: 5, OTHER: 6} == await stores.news()
    await stores.alerts.save(FRAUD, {}, expected=0, judged={ONE: 5})
    assert {OTHER: 6} == await stores.news()


async def test_report_that_is_revised_while_it_is_judged_stays_news(stores: Stores) -> None:
    await stores.publish(ONE, 1_795_442_591_000)
    await stores.publish(ONE, 1_795_442_591_001)
    await stores.alerts.save(FRAUD, {}, expected=0, judged={ONE: 1_795_442_591_000})
    assert {ONE: 1_795_442_591_001} == await stores.news()


async def test_report_that_is_saved_again_unchanged_is_no_news(stores: Stores) -> None:
    await stores.publish(ONE, 5)
    await stores.alerts.save(FRAUD, {}, expected=0, judged={ONE: 5})
    await stores.publish(ONE, 5)
    assert {} == await stores.news()


async def test_report_that_is_forgotten_is_no_news(stores: Stores) -> None:
    await stores.publish(ONE, 5)
    await stores.reports.forget(FRAUD, [ONE])
    assert {} == await stores.news()
