"""The wiring of what asks for explanations; the third part of `agents.app`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agents.explain_asking import ExplainAsking
from agents.explain_sampler import ExplainSampler
from agents.kafka_connection import connection_options
from agents.publisher import KafkaPublisher
from agents.redis_connection import RedisClient
from agents.settings import Settings
from streams.ledger.agreements import Agreements
from streams.ledger.parts import Role
from streams.ports import Clock

__all__ = ["build_asking", "build_sampler"]


def build_sampler(settings: Settings, topics: Mapping[Role, str], clock: Clock) -> ExplainSampler | None:
    """What looks at all that is read; None if no model is explained, so that it costs nothing."""
    sampler = ExplainSampler(settings.models, topics, clock)
    return None if sampler.is_idle else sampler


def build_asking(
    settings: Settings,
    sampler: ExplainSampler | None,
    redis: RedisClient,
    clock: Clock,
    *,
    agreed: Callable[[], Agreements],
    share: Callable[[], float],
) -> ExplainAsking:
    """What sends its requests, ready to be run."""
    return ExplainAsking(
        sampler or ExplainSampler((), {}, clock),
        redis,
        KafkaPublisher(connection_options(settings.kafka)),
        clock,
        agreed=agreed,
        address=settings.redis.address,
        prefix=settings.redis.prefix,
        topic=settings.kafka.topic("explain_requests"),
        source=f"/latelabel/{settings.kafka.group}",
        share=share,
    )
