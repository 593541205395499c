"""A worker's reports on itself: published, kept apart from models, continued, and judged by rules."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agents.system_watch import KEEP_MS, SystemWatch
from schemas.system_report import SystemReport
from streams.alerting.life_cycle import Phase
from streams.alerting.record import MONITOR
from streams.alerting.rules import AlertRule, Condition, Op
from streams.errors import TemporaryFailure
from streams.monitored_model import HOUR_MS, MINUTE_MS
from streams.ports import OutgoingMessage, Shape, WindowQuery
from streams.stability.resource_reports import ReportSettings
from streams.stability.system_figures import SystemLook
from streams.stability.system_reports import read_system_report
from tests.support.alerting import ACCURACY_LOW, AlertWorld, statuses
from tests.support.publishing import FakePublisher

WINDOW_MS = 5 * MINUTE_MS
SETTINGS = ReportSettings(topic="model-metrics", source="/latelabel/test", config_hash="", interval_ms=10_000)
LOOP_LATE = AlertRule(
    group="system",
    alert="LoopLate",
    when=Condition(
        metric="event_loop_lag_seconds", op=Op.MORE, value=1.0, segment={"worker": "*"}, confidence=None, min_samples=1
    ),
)


class Numbers:
    """Numbers of workers in memory."""

    def __init__(self) -> None:
        self.given: dict[str, int] = {}
        self.failure: TemporaryFailure | None = None

    async def number(self, address: str) -> int:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return self.given.setdefault(address, len(self.given) + 1)

    async def let_go(self, address: str) -> None:
        self.given.pop(address, None)


class World:
    """Workers whose event loops are late, beside a world of alerts."""

    def __init__(self, alerts: AlertWorld) -> None:
        self.alerts = alerts
        self.store = alerts.world.store
        self.clock = alerts.world.clock
        self.numbers = Numbers()
        self.publisher = FakePublisher()
        self.late_seconds: dict[str, float] = {}
        self.starts: dict[str, float] = {}
        self.owner = alerts.evaluator(owns=lambda _: True)

    def worker(self, address: str, *, late_seconds: float = 0.0) -> SystemWatch:
        self.late_seconds[address] = late_seconds
        self.starts[address] = 1

        async def look() -> SystemLook:
            return SystemLook(
                numbers={"event_loop_lag_seconds": self.late_seconds[address]},
                counters={"worker_starts": 1, "commits": 3},
                fates={"predictions": {"read": 0}},
            )

        return SystemWatch(
            self.numbers,
            self.store,
            self.publisher,
            self.clock,
            look,
            settings=SETTINGS,
            sizes_ms=(WINDOW_MS,),
            address=address,
            program_version="0.1.0",
        )

    async def pass_windows(self, *workers: SystemWatch, windows: int = 1) -> list[str]:
        """Let the workers look once a minute; returns what alerts said, repeats left out."""
        said = []
        for _ in range(windows * 5):
            for worker in workers:
                await worker.round()
            said += statuses(await self.alerts.round(after_ms=MINUTE_MS, by=self.owner))
        return [each for each in dict.fromkeys(said) if each != "firing: always"]

    def reports(self) -> list[SystemReport]:
        return [read_system_report(message.value or b"") for message in self.publisher.sent]


@pytest.fixture
async def world() -> World:
    return World(await AlertWorld(LOOP_LATE, ACCURACY_LOW).start())


async def test_reports_of_workers_are_found_but_are_of_no_model(world: World) -> None:
    await world.pass_windows(world.worker("a:1"), world.worker("b:1"))
    assert {} == await world.store.model_versions()
    query = WindowQuery(model_version=MONITOR, shape=Shape("system", 300), most=9, of_segments=True)
    ((*keys,),) = await world.store.find([query])
    workers = {report.segment["worker"]: report.address for report in world.reports()}
    assert ({"1": "a:1", "2": "b:1"}, 2) == (workers, len(keys))
    assert {message.value for message in world.publisher.sent} >= {
        each.value for each in (await world.store.last({MONITOR: keys})).values()
    }


async def test_rule_on_workers_fires_for_the_one_that_breaks_it_and_says_which(world: World) -> None:
    well, ill = world.worker("a:1"), world.worker("b:1", late_seconds=3.0)
    assert ["firing: breach"] == await world.pass_windows(well, ill, windows=2)
    alert = [alert for alert in world.alerts.said() if alert.name == "LoopLate"][-1]
    labels = {"alertname": "LoopLate", "worker": "2", "severity": "warning", "rule": "event_loop_lag_seconds-5m"}
    assert (labels, "3") == (alert.labels, alert.annotations["value"])
    assert "event_loop_lag_seconds of the monitor, worker 2: 3 > 1 over 5" == alert.annotations["summary"]
    assert "http://monitor:6066/?view=system" == alert.generator_url
    world.late_seconds["b:1"] = 0.1
    assert ["firing: breach", "resolved: recovered"] == await world.pass_windows(well, ill, windows=3)


async def test_alert_on_a_worker_that_is_gone_is_stale(world: World) -> None:
    well, ill = world.worker("a:1"), world.worker("b:1", late_seconds=3.0)
    await world.pass_windows(well, ill, windows=2)
    assert "resolved: silence" in await world.pass_windows(well, windows=8)
    records = world.alerts.store.alerts[MONITOR].values()
    phases = {dict(record.series.segment)["worker"]: record.state.phase for record in records if record.series}
    assert {"1": Phase.INACTIVE, "2": Phase.STALE} == phases


async def test_who_owns_no_monitor_says_nothing_of_workers(world: World) -> None:
    world.owner = world.alerts.evaluator()
    assert [] == await world.pass_windows(world.worker("b:1", late_seconds=3.0), windows=2)


async def test_worker_that_is_replaced_goes_on_with_its_window_and_counts_another_start(world: World) -> None:
    await world.worker("a:1").round()
    world.clock.wall_ms += MINUTE_MS
    await world.worker("a:1").round()
    report = world.reports()[-1]
    assert (2.0, 6.0, 2) == (
        report.metrics["worker_starts"].value,
        report.metrics["commits"].value,
        report.samples,
    )


@pytest.mark.parametrize("step", ["number", "publish"])
async def test_look_that_fails_is_taken_again_and_nothing_is_counted_twice(world: World, step: str) -> None:
    worker = world.worker("a:1")
    failure = TemporaryFailure("away")
    if step == "number":
        world.numbers.failure = failure
    else:
        world.publisher.failure = failure
    with pytest.raises(TemporaryFailure):
        await worker.round()
    world.clock.wall_ms += MINUTE_MS
    await worker.round()
    assert (3.0, 1.0) == tuple(world.reports()[-1].metrics[name].value for name in ("commits", "worker_starts"))


async def test_report_that_cannot_be_read_is_begun_anew(world: World) -> None:
    await world.worker("a:1").round()
    stored = world.store.reports[MONITOR]
    for key, report in list(stored.items()):
        stored[key] = type(report)(
            key=key, value=b'{"kind": "system"}', revision=1, published_ms=0, watermark_ms=0, due_ms=0
        )
    await world.worker("a:1").round()
    assert 1.0 == world.reports()[-1].metrics["worker_starts"].value


async def test_reports_of_long_ago_are_dropped_whoever_they_are_of(world: World) -> None:
    await world.worker("gone:1").round()
    worker = world.worker("a:1")
    for _ in range(3):
        world.clock.wall_ms += KEEP_MS // 2 + HOUR_MS
        await worker.round()
    workers = [read_system_report(each.value).segment["worker"] for each in world.store.reports[MONITOR].values()]
    assert ["2", "2"] == workers


async def test_running_frees_the_number_in_the_end_and_survives_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agents.system_watch.LEAST_SECONDS", 0.001)
    monkeypatch.setattr("agents.system_watch.MOST_SECONDS", 0.001)
    worker = world.worker("a:1")
    world.numbers.failure = TemporaryFailure("Redis is away")
    send, published = world.publisher.send, asyncio.Event()

    async def send_and_tell(messages: Sequence[OutgoingMessage]) -> None:
        await send(messages)
        published.set()

    monkeypatch.setattr(world.publisher, "send", send_and_tell)
    async with worker.running():
        await asyncio.wait_for(published.wait(), timeout=10)
        assert {"a:1": 1} == world.numbers.given
    assert {} == world.numbers.given
    assert ["No report on this worker: Redis is away; tried again at the next look"] == [
        record.getMessage() for record in caplog.records if record.levelname == "WARNING"
    ]
