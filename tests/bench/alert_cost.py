"""What a thousand alerts cost: a hundred models with ten rules each, on a real Redis, each window revised each time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

from agents.alert_evaluator import AlertEvaluator
from agents.redis_alerts import RedisAlerts
from agents.redis_reports import RedisReports
from deploy.servers import RedisServer
from schemas.codec import encode
from schemas.times import format_time
from schemas.window_report import Metric, Window, WindowReport, report_key
from streams.alerting.publication import AlertSettings
from streams.alerting.rules import AlertRule, Condition, Op
from streams.identity import model_version_hash, model_version_name
from streams.monitored_model import MINUTE_MS
from streams.ports import LastReport, OutgoingMessage
from streams.publication import EvaluationSettings
from tests.bench.figures import Figure
from tests.bench.workers import Services
from tests.support.publishing import FakeClock
from tests.support.redis_ledgers import connected

__all__ = ["alerting"]

MODELS = 100
RULES = 10
ROUNDS = 10
INTERVAL_SECONDS = 10.0
START_MS = 1_795_435_200_000
WINDOW_MS = 5 * MINUTE_MS


class _Nowhere:
    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        pass


def alerting(services: Services) -> Iterator[Figure]:
    """Processor time of one evaluation, as a share of a core at the usual interval."""
    spent = asyncio.run(_measure(services.redis))
    yield Figure(
        f"{MODELS * RULES:,} alerts of {MODELS} models, every window revised, evaluated every 10 s",
        tuple(100 * seconds / INTERVAL_SECONDS for seconds in spent),
        "% of a core",
        5.0,
    )


async def _measure(server: RedisServer) -> list[float]:
    async with connected(server.unix_url) as client:
        place = {"address": server.address, "prefix": "alerts"}
        reports, alerts = RedisReports(client, **place), RedisAlerts(client, **place)
        clock = FakeClock(START_MS)
        rules = [
            AlertRule(
                group="g", alert=f"Low{number}", when=Condition(metric="accuracy", op=Op.LESS, value=0.5 + number / 100)
            )
            for number in range(RULES)
        ]
        evaluation = EvaluationSettings(
            models={},
            interval_ms=10_000,
            lateness_ms=0,
            keep_windows_ms=0,
            confidence_level=0.95,
            config_hash="",
            topic="metrics",
            source="",
        )
        settings = AlertSettings(topic="alerts", source="", address="", interval_ms=10_000)
        evaluator = AlertEvaluator(
            alerts, reports, _Nowhere(), rules, settings, evaluation, clock, lambda model: model != ""
        )
        spent: list[float] = []
        for number in range(ROUNDS + 1):
            for model in range(MODELS):
                await _publish(reports, f"model-{model}", number)
            clock.wall_ms += 10_000
            before = time.process_time()
            assert 0 == await evaluator.evaluate()
            spent.append(time.process_time() - before)
        assert MODELS * RULES == len(await alerts.every_alert())
        return spent[1:]  # the first learns all of it


async def _publish(reports: RedisReports, model: str, number: int) -> None:
    """One more revision of the model's window."""
    name = model_version_hash(model, "1")
    report = WindowReport(
        model=model,
        model_version="1",
        segment={},
        window=Window(start=format_time(START_MS), end=format_time(START_MS + WINDOW_MS), size_seconds=300),
        status="provisional",
        revision=number + 1,
        event_id="",
        predictions=1_000,
        failed=0,
        labelled=900 + number,
        never_labelled=0,
        coverage=(900 + number) / 1_000,
        coverage_expected=None,
        label_delay_seconds=None,
        confusion=None,
        metrics={"accuracy": Metric(value=0.8, low=0.77, high=0.83, n=900 + number, possible=(0.72, 0.82))},
        undefined={},
        config_hash="",
        produced_at="",
    )
    key = report_key(model=model, model_version="1", segment={}, window_seconds=300, window_start_ms=START_MS)
    kept = LastReport(key=key, value=encode(report), revision=number + 1, published_ms=1, watermark_ms=1, due_ms=1)
    await reports.claim([name], evaluator=b"bench", watermark_ms=0)
    await reports.save(name, model_version_name(model, "1"), [kept], evaluator=b"bench", watermark_ms=1)
