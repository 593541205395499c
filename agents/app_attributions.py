"""The wiring of what reads explanations; the fourth part of `agents.app`."""

from __future__ import annotations

from collections.abc import Callable

from agents.attribution_intake import AttributionIntake, IntakeSettings
from agents.attribution_publishing import AttributionPorts, AttributionPublishing, PublishingSettings
from agents.kafka_connection import connection_options
from agents.kafka_topics import KafkaTopics
from agents.outages import Outages
from agents.redis_attributions import RedisAttributions
from agents.redis_reports import RedisReports
from agents.reloading import Reloading
from agents.settings import config_hash
from agents.side_reading import SideReading
from agents.worker import CLIENT_ID
from streams.explanation.attribution_reports import AttributionTerms
from streams.explanation.terms import InputKind
from streams.ledger.agreements import Agreements
from streams.monitored_model import MonitoredModel
from streams.ports import Clock, Publisher

__all__ = ["build_attribution_reading"]


def build_attribution_reading(
    reloading: Reloading,
    clock: Clock,
    publisher: Publisher,
    store: RedisAttributions,
    reports: RedisReports,
    *,
    agreed: Callable[[], Agreements],
) -> SideReading[AttributionIntake] | None:
    """What reads explanations beside the counting, ready to be run; None if none can tell what decided."""
    settings = reloading.settings
    terms = [model.explanation for model in settings.models if model.explanation is not None]
    if not any(each.input is InputKind.TABULAR for each in terms):
        return None
    topic = settings.kafka.topic("explanations")

    def model(name: str) -> MonitoredModel:
        return reloading.settings.model(name)

    async def exists() -> bool:
        async with KafkaTopics(settings.kafka) as topics:
            return await topics.has(topic)

    async def partitions() -> int:
        async with KafkaTopics(settings.kafka) as topics:
            return await topics.partitions(topic)

    publishing = AttributionPublishing(
        AttributionPorts(store=store, reports=reports, publisher=publisher, clock=clock, partitions=partitions),
        PublishingSettings(
            model=model,
            agreed=agreed,
            interval_ms=settings.evaluation_interval_ms,
            lateness_ms=settings.allowed_lateness_ms,
            keep_windows_ms=settings.keep_windows_ms,
            reports=AttributionTerms(
                topic=settings.kafka.topic("metrics"),
                source=f"/latelabel/{settings.kafka.group}",
                config_hash=config_hash(settings),
                confidence_level=settings.confidence_level,
            ),
        ),
    )
    intake = AttributionIntake(
        store,
        publishing,
        clock,
        IntakeSettings(
            model=model, agreed=agreed, most_versions=settings.limits.models, lateness_ms=settings.allowed_lateness_ms
        ),
    )
    # Outages of its own: what holds up explanations must not excuse the ledger from its watchdog.
    return SideReading(
        intake,
        Outages(clock),
        group=f"{settings.kafka.group}-attributions",
        what="attributions are compared",
        client_id=CLIENT_ID,
        topic=topic,
        connection=lambda: connection_options(settings.kafka),
        exists=exists,
        flush_seconds=settings.evaluation_interval_ms / 1000,
    )
