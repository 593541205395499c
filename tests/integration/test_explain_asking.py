"""Wrong pairs are found by pointers in a real Redis, however it stands, and asked about."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping

import pytest

from agents.explain_asking import ExplainAsking
from agents.explain_sampler import ExplainSampler, Lookup, Pointer
from agents.publisher import KafkaPublisher
from agents.redis_connection import RedisClient, connect
from deploy.server_process import free_port
from deploy.servers import KafkaServer, RedisServer
from schemas.explain_request import ExplainRequest, WhyAsked
from streams.errors import TemporaryFailure
from streams.explanation.terms import ExplainTerms
from streams.identity import request_key
from streams.ledger.agreements import Agreement, Agreements
from streams.ledger.eras import Era
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel
from tests.support.publishing import FakeClock
from tests.support.redis_topologies import TOPOLOGIES, RedisTopology
from tests.support.services import create_topic, unique_name
from tests.support.topics import read_topic

COUNT = 700
"""With two models more lookups than one call to Redis takes."""
MODELS = ("cards", "loans")
NOTHING_AGREED = Agreements()


def pointer(number: int, model: str) -> Pointer:
    request = ExplainRequest(
        request_id=f"r{number}", model=model, topic="predictions", partition=0, offset=number,
        reason=WhyAsked.WRONG, rate=0.5, predicted="ok",
    )  # fmt: skip
    return Pointer(request_key(f"r{number}"), number, request)


def lookup(number: int, *, model: str | None, label: str) -> Lookup:
    return Lookup(request_key(f"r{number}"), number, model, label, 0.0)


def sampler_of(*, horizons_ms: Mapping[str, int]) -> ExplainSampler:
    terms = ExplainTerms(predictor="nobody:asks", rate_per_minute=600)
    models = [
        MonitoredModel(name=name, explanation=terms, label_horizon_ms=horizon_ms)
        for name, horizon_ms in horizons_ms.items()
    ]
    return ExplainSampler(models, {}, FakeClock(HOUR_MS))


def asking_of(
    sampler: ExplainSampler, redis: RedisClient, publisher: KafkaPublisher, *, prefix: str = "latelabel",
    topic: str = "requests", agreed: Agreements = NOTHING_AGREED,
) -> ExplainAsking:  # fmt: skip
    return ExplainAsking(
        sampler, redis, publisher, FakeClock(HOUR_MS),
        agreed=lambda: agreed, address="redis", prefix=prefix, topic=topic, source="/latelabel/test", share=lambda: 1.0,
    )  # fmt: skip


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_every_label_finds_the_pointers_of_the_models_it_is_meant_for(
    topology: str, topology_named: Callable[[str], RedisTopology], kafka: KafkaServer
) -> None:
    servers = topology_named(topology)
    servers.clear()
    topic = create_topic(kafka.address, unique_name("requests"))
    sampler = sampler_of(horizons_ms=dict.fromkeys(MODELS, DAY_MS))
    publisher = KafkaPublisher({"bootstrap_servers": kafka.address})
    async with connect(servers.url) as redis:
        asking = asking_of(sampler, redis, publisher, topic=topic)
        sampler.pointers += [pointer(number, model) for number in range(COUNT) for model in MODELS]
        await asking.flush()
        assert not read_topic(kafka.address, topic)
        # By thirds: meant for all models and wrong, for one and wrong, for all and right. The last find nothing.
        sampler.lookups += [lookup(number, model=None, label="fraud") for number in range(0, COUNT, 3)]
        sampler.lookups += [lookup(number, model="loans", label="fraud") for number in range(1, COUNT, 3)]
        sampler.lookups += [lookup(number, model=None, label="ok") for number in range(2, COUNT, 3)]
        sampler.lookups += [lookup(COUNT, model=None, label="fraud"), lookup(0, model="unknown", label="fraud")]
        await asking.flush()
    await publisher.stop()
    asked = [json.loads(value or b"") for _, value in read_topic(kafka.address, topic)]
    expected = {(number, model) for number in range(0, COUNT, 3) for model in MODELS}
    expected |= {(number, "loans") for number in range(1, COUNT, 3)}
    assert expected == {(each["offset"], each["model"]) for each in asked}
    assert len(expected) == len(asked)
    assert {("fraud", "ok", 0.5, "wrong")} == {
        (each["label"], each["predicted"], each["rate"], each["reason"]) for each in asked
    }


async def test_pointers_live_as_long_as_their_label_may_come(kafka: KafkaServer, redis_server: RedisServer) -> None:
    sampler = sampler_of(horizons_ms={"cards": 2 * HOUR_MS, "loans": 30 * DAY_MS})
    prefix = unique_name("asking")
    async with connect(redis_server.unix_url) as redis:
        publisher = KafkaPublisher({"bootstrap_servers": kafka.address})
        asking = asking_of(sampler, redis, publisher, prefix=prefix)
        sampler.pointers += [pointer(1, "cards"), pointer(1, "loans")]
        await asking.flush()
        left = [await redis.pttl(f"{{{prefix}}}:explain:{request_key('r1').hex()}:{model}") for model in MODELS]
    assert [2 * HOUR_MS, 7 * DAY_MS] == pytest.approx(left, abs=MINUTE_MS)


@pytest.mark.parametrize("after_ms", [2 * HOUR_MS, 6 * HOUR_MS])
async def test_pointers_wait_by_the_horizon_of_their_own_time(
    after_ms: int, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    """From `DAY_MS` on the model has another horizon; the worker was started with the one of before."""
    before_ms = 4 * HOUR_MS
    sampler = sampler_of(horizons_ms={"cards": before_ms})
    eras = [Era(label_horizon_ms=before_ms), Era(label_horizon_ms=after_ms, from_ms=DAY_MS)]
    agreement = dataclasses.replace(Agreement.of(sampler.models["cards"]), eras=tuple(eras))
    topic, prefix = create_topic(kafka.address, unique_name("requests")), unique_name("asking")
    publisher = KafkaPublisher({"bootstrap_servers": kafka.address})
    # Of each pair of predictions one has its label in time, and one a millisecond later.
    horizons_ms = {DAY_MS - 2: before_ms, DAY_MS - 1: before_ms, DAY_MS: after_ms, DAY_MS + 1: after_ms}
    async with connect(redis_server.unix_url) as redis:
        agreed = Agreements(7, {"cards": agreement})
        asking = asking_of(sampler, redis, publisher, prefix=prefix, topic=topic, agreed=agreed)
        sampler.pointers += [pointer(at_ms, "cards") for at_ms in horizons_ms]
        await asking.flush()
        keys = {at_ms: request_key(f"r{at_ms}") for at_ms in horizons_ms}
        left = [await redis.pttl(f"{{{prefix}}}:explain:{key.hex()}:cards") for key in keys.values()]
        assert [*horizons_ms.values()] == pytest.approx(left, abs=MINUTE_MS)
        sampler.lookups += [
            Lookup(keys[at_ms], at_ms + horizon_ms + at_ms % 2, None, "fraud", 0.0)
            for at_ms, horizon_ms in horizons_ms.items()
        ]
        await asking.flush()
    await publisher.stop()
    asked = [json.loads(value or b"")["offset"] for _, value in read_topic(kafka.address, topic)]
    assert [DAY_MS - 2, DAY_MS] == sorted(asked)


async def test_what_kafka_does_not_take_is_counted_as_dropped(redis_server: RedisServer) -> None:
    sampler = sampler_of(horizons_ms=dict.fromkeys(MODELS, DAY_MS))
    nowhere = KafkaPublisher({"bootstrap_servers": f"127.0.0.1:{free_port()}"}, delivery_timeout_seconds=0.5)
    async with connect(redis_server.unix_url) as redis:
        asking = asking_of(sampler, redis, nowhere, prefix=unique_name("asking"))
        sampler.pointers += [pointer(number, "cards") for number in range(3)]
        await asking.flush()
        sampler.requests += [pointer(number, "loans").request for number in range(2)]
        sampler.lookups += [lookup(number, model=None, label="fraud") for number in range(7)]
        with pytest.raises(TemporaryFailure):
            await asking.flush()
    figures = {metric.name: metric.values for metric in asking.metrics()}
    assert 2 + 3 == figures["latelabel_explain_dropped_total"]
