"""The demo's publisher on a real Kafka: everything arrives, in event-time order, timestamped now."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import datetime, timedelta, timezone

import orjson
from confluent_kafka import Consumer, TopicPartition

from agents.demo.classifier import Prediction
from agents.demo.flights import Flight
from agents.demo.replay import Progress, publish
from agents.demo.timeline import Timeline
from deploy.servers import KafkaServer
from tests.support.services import create_topic, unique_name

PARTITIONS = 3
FLIGHTS = 2_000
FIRST = datetime(2013, 7, 1, 6, tzinfo=timezone(timedelta(hours=-4)))


def timeline() -> Timeline:
    """Return flights a minute apart that take one to five hours; every seventh is cancelled."""
    predictions = []
    for number in range(FLIGHTS):
        departure = FIRST + timedelta(minutes=number)
        landing = departure + timedelta(minutes=60 + number * 37 % 240) if number % 7 else None
        late = number % 3 == 0 if landing else None
        flight = Flight(departure, 600, "UA", number, "EWR", "SFO", 2565, landing, late)
        predictions.append(Prediction(flight, "late", 0.5))
    return Timeline(predictions)


def read(brokers: str, topic: str, *, count: int) -> dict[int, list[tuple[int, bytes, bytes]]]:
    """Return (timestamp, key, value) of the first records of a topic, by partition."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": unique_name("reader"), "enable.auto.commit": False})
    found: defaultdict[int, list[tuple[int, bytes, bytes]]] = defaultdict(list)
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        for message in consumer.consume(count, timeout=60):
            key, value, partition = message.key(), message.value(), message.partition()
            assert isinstance(key, bytes)
            assert isinstance(value, bytes)
            assert partition is not None
            found[partition].append((message.timestamp()[1], key, value))
    finally:
        consumer.close()
    return found


async def test_all_records_arrive_in_event_time_order_and_timestamped_now(kafka: KafkaServer) -> None:
    topics = {
        role: create_topic(kafka.address, unique_name(role), partitions=PARTITIONS)
        for role in ("predictions", "labels")
    }
    seen: list[Progress] = []
    before_ms = time.time_ns() // 1_000_000
    done = await publish(timeline(), brokers=kafka.address, topics=topics, speed=500_000.0, report=seen.append)
    after_ms = time.time_ns() // 1_000_000

    ids: defaultdict[str, list[bytes]] = defaultdict(list)
    for role, count in (("predictions", FLIGHTS), ("labels", FLIGHTS - len(range(0, FLIGHTS, 7)))):
        partitions = read(kafka.address, topics[role], count=count)
        assert PARTITIONS == len(partitions)
        for records in partitions.values():
            times = [datetime.fromisoformat(orjson.loads(value)["event_time"]) for _, _, value in records]
            assert sorted(times) == times
            assert all(before_ms <= timestamp <= after_ms for timestamp, _, _ in records)
            ids[role] += [key for _, key, _ in records]
        assert count == len(set(ids[role])) == len(ids[role])
    assert set(ids["labels"]) < set(ids["predictions"])
    assert done == seen[-1]
    assert done.published == done.total == len(ids["predictions"]) + len(ids["labels"])


async def test_replay_keeps_to_the_speed_it_is_given(kafka: KafkaServer) -> None:
    topics = {
        role: create_topic(kafka.address, unique_name(role), partitions=PARTITIONS)
        for role in ("predictions", "labels")
    }
    replayed = timeline()
    speed = (replayed.end - replayed.start) / 0.8
    started = time.monotonic()
    done = await publish(replayed, brokers=kafka.address, topics=topics, speed=speed, report=lambda _: None)
    assert 0.8 <= time.monotonic() - started
    assert done.speed <= speed
