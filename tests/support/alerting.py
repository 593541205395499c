"""A small world in which rules judge the reports of an evaluator: everything in memory, time moved by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import msgspec

from agents.alert_evaluator import AlertEvaluator
from schemas.alert import Alert
from streams.alerting.life_cycle import AlertState
from streams.alerting.publication import AlertSettings
from streams.alerting.rules import AlertRule, Condition, Op
from streams.monitored_model import MINUTE_MS, MonitoredModel, Task
from streams.ports import AlertStore, Publisher
from tests.support.evaluation import NOON_MS, EvaluatedWorld
from tests.support.publishing import FakeAlerts, FakePublisher

__all__ = ["ACCURACY_LOW", "HORIZON_MS", "MODEL", "WINDOW_MS", "AlertWorld", "break_down", "statuses", "stricter"]

WINDOW_MS = 5 * MINUTE_MS
HORIZON_MS = 10 * MINUTE_MS
MODEL = MonitoredModel(
    name="fraud",
    task=Task.BINARY,
    positive_class="fraud",
    report_windows_ms=(WINDOW_MS,),
    base_window_ms=WINDOW_MS,
    label_horizon_ms=HORIZON_MS,
    segments=("country",),
)
ACCURACY_LOW = AlertRule(
    group="quality",
    alert="AccuracyLow",
    when=Condition(metric="accuracy", op=Op.LESS, value=0.9, min_samples=5),
    labels={"severity": "critical"},
    annotations={"runbook_url": "https://example.org/accuracy"},
)


SETTINGS = AlertSettings(
    topic="model-alerts", source="/latelabel/test", address="http://monitor:6066", interval_ms=10_000
)


class AlertWorld:
    """The model `fraud`, an evaluator of its reports, and evaluators of alerts on one store."""

    def __init__(self, *rules: AlertRule, model: MonitoredModel = MODEL) -> None:
        self.rules: Sequence[AlertRule] = rules
        self.world = EvaluatedWorld(models=(model,))
        self.reports = self.world.evaluator()
        self.store = FakeAlerts(self.world.store)
        self.publisher = FakePublisher()
        self.alerts = self.evaluator()
        self.is_blind = False

    async def start(self) -> AlertWorld:
        await self.world.start()
        return self

    @property
    def clock_ms(self) -> int:
        return self.world.clock.wall_ms

    def evaluator(
        self,
        *,
        owns: Callable[[str], bool] = lambda name: name != "",
        store: AlertStore | None = None,
        publisher: Publisher | None = None,
    ) -> AlertEvaluator:
        """One more worker's; it owns every model, but not the watchdog."""
        return AlertEvaluator(
            store or self.store,
            self.world.store,
            publisher or self.publisher,
            self.rules,
            SETTINGS,
            self.world.settings(),
            self.world.clock,
            owns,
            lambda: self.is_blind,
        )

    async def window(
        self, index: int, *, right: int, wrong: int, unlabelled: int = 0, country: str | None = None
    ) -> list[str]:
        """Predictions of one window with their labels; returns the ids of those that have none yet."""
        at_ms = NOON_MS + index * WINDOW_MS
        waiting = []
        for number in range(right + wrong + unlabelled):
            request_id = await self.world.predict("ok", at_ms=at_ms, country=country, model=MODEL)
            if number < right + wrong:
                await self.world.label(request_id, "ok" if number < right else "fraud", at_ms=at_ms + 1)
            else:
                waiting.append(request_id)
        return waiting

    async def settle(self, index: int) -> None:
        """Let the window be final."""
        await self.world.advance(NOON_MS + (index + 1) * WINDOW_MS + HORIZON_MS)

    async def close(self, index: int) -> None:
        """Let the window be over, its labels still due."""
        await self.world.advance(NOON_MS + (index + 1) * WINDOW_MS)

    async def round(self, *, after_ms: int = 10_000, by: AlertEvaluator | None = None) -> list[Alert]:
        """Both evaluators, some time later; returns what was said."""
        self.world.clock.wall_ms += after_ms
        await self.reports.evaluate(everything=True)
        said = len(self.publisher.sent)
        evaluator = by or self.alerts
        evaluator.use(self.rules, SETTINGS, self.world.settings())
        await evaluator.evaluate()
        return self.said()[said:]

    def said(self) -> list[Alert]:
        """All that was published."""
        return [msgspec.json.decode(message.value or b"", type=Alert) for message in self.publisher.sent]

    def state(self) -> AlertState:
        """Of the only alert there is."""
        (record,) = (record for alerts in self.store.alerts.values() for record in alerts.values())
        return record.state


async def break_down(world: AlertWorld, index: int = 0) -> None:
    """One window that breaks the rule, and is final."""
    await world.window(index, right=2, wrong=18)
    await world.settle(index)


def statuses(alerts: Sequence[Alert]) -> list[str]:
    """Status and reason of each."""
    return [f"{alert.status}: {alert.reason}" for alert in alerts]


def stricter(rule: AlertRule, **changes: object) -> AlertRule:
    """The rule with another condition."""
    return dataclasses.replace(rule, when=dataclasses.replace(rule.when, **changes))  # type: ignore[arg-type]
