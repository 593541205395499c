"""Alerts on what is observed: a target that is gone takes its alert with it, and how many fire is counted."""

from __future__ import annotations

import pytest

from schemas.resource_sample import SentResourceSample
from streams.alerting.life_cycle import Phase
from streams.alerting.rules import AlertRule, Condition, Op
from streams.identity import model_version_hash, model_version_name
from streams.monitored_model import MINUTE_MS, MonitoredModel
from streams.stability.resource_reports import ReportSettings, due_reports
from streams.stability.resource_series import ResourceSeries, SeriesSettings
from streams.windows import WindowStatus
from tests.support.alerting import ACCURACY_LOW, WINDOW_MS, AlertWorld, statuses
from tests.support.evaluation import NOON_MS

MODEL = MonitoredModel(name="fraud", report_windows_ms=(WINDOW_MS,), base_window_ms=WINDOW_MS)
SERIES = SeriesSettings.of(MODEL, lateness_ms=0, block_ms=MINUTE_MS)
REPORTS = ReportSettings(topic="model-metrics", source="/latelabel/test", config_hash="", interval_ms=0)
MEMORY_FULL = AlertRule(
    group="resources",
    alert="MemoryFull",
    when=Condition(
        metric="memory_limit_ratio",
        op=Op.MORE,
        value=0.9,
        segment={"target": "*"},
        status=(WindowStatus.OPEN, WindowStatus.FINAL),
        min_samples=1,
        confidence=None,
    ),
)


@pytest.fixture
async def world() -> AlertWorld:
    return await AlertWorld(MEMORY_FULL, ACCURACY_LOW).start()


def target(name: str) -> ResourceSeries:
    series = ResourceSeries(model="fraud", model_version="3", target=name)
    series.adopt(SERIES)
    return series


async def sample(world: AlertWorld, series: ResourceSeries, *, minute: int, used: int) -> None:
    """A sample of a target's memory, of a hundred bytes, and the reports that follow."""
    sent = SentResourceSample(target=series.target, model="fraud", rss_bytes=used, memory_limit_bytes=100)
    series.take(sent, NOON_MS + minute * MINUTE_MS, SERIES)
    due = list(due_reports(series, now_ms=world.clock_ms, settings=REPORTS))
    series.told |= {f"{each.place.size_ms}:{each.place.start_ms}": each.told for each in due}
    name = model_version_name("fraud", "3")
    await world.world.store.keep(model_version_hash("fraud", "3"), name, [each.kept for each in due])


async def test_alert_on_a_target_that_is_gone_is_stale_while_its_neighbour_goes_on(world: AlertWorld) -> None:
    gone, stays = target("pod-1"), target("pod-2")
    said = []
    for minute in range(0, 60, 5):
        await sample(world, stays, minute=minute, used=50)
        if minute < 10:
            await sample(world, gone, minute=minute, used=95)
        said += statuses(await world.round(after_ms=5 * MINUTE_MS))
    assert ["firing: breach", "resolved: silence"] == list(dict.fromkeys(said))
    phases = {
        dict(record.series.segment)["target"]: record.state.phase
        for records in world.store.alerts.values()
        for record in records.values()
        if record.series
    }
    assert {"pod-1": Phase.STALE, "pod-2": Phase.INACTIVE} == phases


async def test_worker_that_begins_knows_how_long_a_target_has_been_heard_of(world: AlertWorld) -> None:
    series = target("pod-1")
    for minute in (0, 30):  # half an hour is usual
        await sample(world, series, minute=minute, used=95)
        await world.round()
    newer = world.evaluator()
    assert "resolved: silence" not in statuses(await world.round(after_ms=140 * MINUTE_MS, by=newer))
    assert "resolved: silence" not in statuses(await world.round(after_ms=140 * MINUTE_MS, by=newer))
    assert ["resolved: silence"] == statuses(await world.round(after_ms=11 * MINUTE_MS, by=newer))


async def test_alerts_that_fire_are_counted_by_rule_and_every_rule_has_a_number(world: AlertWorld) -> None:
    def counted() -> dict[tuple[str, str], int]:
        return dict(world.alerts.firing)

    nothing = {("MemoryFull", "warning"): 0, ("AccuracyLow", "critical"): 0, ("Watchdog", "none"): 0}
    assert nothing == counted()
    for name in ("pod-1", "pod-2"):
        await sample(world, target(name), minute=0, used=95)
    await world.window(0, right=1, wrong=19)
    await world.settle(0)
    await world.round()
    assert {**nothing, ("MemoryFull", "warning"): 2, ("AccuracyLow", "critical"): 1} == counted()
    world.rules = (ACCURACY_LOW,)
    await world.round()
    assert {("AccuracyLow", "critical"): 1, ("Watchdog", "none"): 0} == counted()
    await world.window(3, right=20, wrong=0)
    await world.settle(3)
    await world.round()
    assert {("AccuracyLow", "critical"): 0, ("Watchdog", "none"): 0} == counted()


async def test_worker_that_has_the_watchdog_counts_it(world: AlertWorld) -> None:
    owner = world.evaluator(owns=lambda _: True)
    await world.round(by=owner)
    assert 1 == owner.firing["Watchdog", "none"]
