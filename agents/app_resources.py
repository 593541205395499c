"""The wiring of what reads resource samples; the second half of `agents.app`."""

from __future__ import annotations

from agents.kafka_connection import connection_options
from agents.kafka_topics import KafkaTopics
from agents.outages import Outages
from agents.redis_reports import RedisReports
from agents.redis_resources import RedisResources
from agents.reloading import Reloading
from agents.resource_intake import IntakeSettings, ResourceIntake, ResourcePorts
from agents.settings import config_hash
from agents.side_reading import SideReading
from agents.worker import CLIENT_ID
from streams.monitored_model import MonitoredModel
from streams.ports import Clock, Publisher
from streams.stability.resource_reports import ReportSettings

__all__ = ["build_resource_watch"]


def build_resource_watch(
    reloading: Reloading, clock: Clock, publisher: Publisher, store: RedisResources, reports: RedisReports
) -> SideReading[ResourceIntake]:
    """What reads resource samples beside the counting, ready to be run."""
    settings = reloading.settings
    topic = settings.kafka.topic("resource_samples")

    def model(name: str) -> MonitoredModel:
        return reloading.settings.model(name)

    intake = ResourceIntake(
        ResourcePorts(store=store, reports=reports, publisher=publisher, clock=clock),
        IntakeSettings(
            model=model,
            lateness_ms=settings.allowed_lateness_ms,
            max_future_skew_ms=settings.max_future_skew_ms,
            block_ms=settings.resources.leak_block_ms,
            most_targets=settings.resources.targets,
            dead_letters=settings.kafka.topic("dead_letters"),
            reports=ReportSettings(
                topic=settings.kafka.topic("metrics"),
                source=f"/latelabel/{settings.kafka.group}",
                config_hash=config_hash(settings),
                interval_ms=settings.evaluation_interval_ms,
            ),
        ),
    )

    async def exists() -> bool:
        async with KafkaTopics(settings.kafka) as topics:
            return await topics.has(topic)

    # Outages of its own: what holds up samples must not excuse the ledger from its watchdog.
    return SideReading(
        intake,
        Outages(clock),
        group=f"{settings.kafka.group}-resources",
        what="resources are watched",
        client_id=CLIENT_ID,
        topic=topic,
        connection=lambda: connection_options(settings.kafka),
        exists=exists,
        flush_seconds=settings.evaluation_interval_ms / 1000,
    )
