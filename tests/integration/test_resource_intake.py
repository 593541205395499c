"""Resource samples on a real Redis, and read by a worker from a real Kafka: counted once, whatever happens to whom."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from redis import Redis

from agents.record_batch import Envelope, RecordBatch
from agents.redis_connection import RedisClient
from agents.redis_reports import RedisReports
from agents.redis_resources import KEEP_MS, RedisResources, series_key
from agents.resource_intake import LETTERS_A_MINUTE, IntakeSettings, ResourceIntake, ResourcePorts
from deploy.servers import KafkaServer, RedisServer
from schemas.times import format_time
from streams.errors import TemporaryFailure
from streams.identity import model_version_hash
from streams.monitored_model import HOUR_MS, MINUTE_MS, MonitoredModel
from streams.ports import Shape, WindowQuery
from streams.stability.resource_reports import ReportSettings
from streams.stability.resource_series import SampleFate
from tests.support.publishing import FakeClock, FakePublisher
from tests.support.redis_ledgers import connected
from tests.support.services import create_topic, unique_name
from tests.support.topics import read_topic
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

NOON_MS = 1_795_435_200_000
RULES = Path(__file__).resolve().parents[2] / "deploy/rules/resources.yaml"


class World:
    """Workers that share a Redis, each with a publisher of its own."""

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self.prefix = prefix
        place = {"address": "redis", "prefix": prefix}
        self.store = RedisResources(client, **place)
        self.reports = RedisReports(client, **place)
        self.clock = FakeClock(NOON_MS)
        self.publisher = FakePublisher()
        self.offsets: collections.Counter[int] = collections.Counter()

    def intake(self, *, most_targets: int = 1000) -> ResourceIntake:
        return ResourceIntake(
            ResourcePorts(store=self.store, reports=self.reports, publisher=self.publisher, clock=self.clock),
            IntakeSettings(
                model=lambda name: MonitoredModel(name=name),
                lateness_ms=10 * MINUTE_MS,
                max_future_skew_ms=5 * MINUTE_MS,
                block_ms=MINUTE_MS,
                most_targets=most_targets,
                dead_letters="dead-letters",
                reports=ReportSettings(topic="model-metrics", source="/latelabel/test", config_hash="", interval_ms=0),
            ),
        )

    async def read(self, intake: ResourceIntake, values: Sequence[bytes | None], *, partition: int = 0) -> list[int]:
        """Hand records over as one batch. Returns a list that is no longer empty once they are acknowledged."""
        acknowledged: list[int] = []
        base = self.offsets[partition]
        self.offsets[partition] += len(values)
        batch = RecordBatch(
            topic="resource-samples",
            partition=partition,
            base=base,
            next=self.offsets[partition],
            values=values,
            timestamps_ms=[self.clock.wall_ms] * len(values),
            offsets=None,
            envelope=lambda _: Envelope(None, ()),
        )
        await intake.take_in(batch, lambda: acknowledged.append(base))
        return acknowledged

    def newest(self) -> dict[bytes | None, dict[str, Any]]:
        return newest((message.key, message.value) for message in self.publisher.sent)


def newest(records: Iterable[tuple[bytes | None, bytes | None]]) -> dict[bytes | None, dict[str, Any]]:
    """The report with the highest revision under each key."""
    reports: dict[bytes | None, dict[str, Any]] = {}
    for key, value in records:
        report = json.loads(value or b"{}")
        if report.get("kind") == "resources" and report["revision"] > reports.get(key, {"revision": -1})["revision"]:
            reports[key] = report
    return reports


def sample(at_ms: int, target: str = "pod-1", **fields: Any) -> bytes:
    return json.dumps(
        {"target": target, "model": "fraud", "model_version": "3", "event_time": format_time(at_ms), **fields}
    ).encode()


@pytest.fixture
async def world(redis_server: RedisServer) -> AsyncIterator[World]:
    async with connected(redis_server.url) as client:
        yield World(client, unique_name("resources"))


async def test_samples_are_reported_kept_and_found_by_slice(world: World) -> None:
    intake = world.intake()
    acknowledged = await world.read(intake, [sample(NOON_MS - 1000, cpu_cores=1.0), sample(NOON_MS, cpu_cores=3.0)])
    assert [] == acknowledged
    await intake.flush()
    assert [0] == acknowledged
    reports = {key: report["metrics"]["cpu_cores_mean"]["value"] for key, report in world.newest().items()}
    key = b'["resources","fraud","3",{"target":"pod-1"},300,"2026-11-23T12:00:00Z"]'
    assert 4 == len(reports)
    assert 3.0 == reports[key]
    version = model_version_hash("fraud", "3")
    shape = Shape("resources", 300)
    (found,) = await world.reports.find([WindowQuery(model_version=version, shape=shape, most=9, of_segments=True)])
    assert key == found[0]
    assert world.newest()[key] == json.loads((await world.reports.last({version: found}))[key].value)


async def test_what_was_not_kept_is_read_again_and_what_was_is_not_counted_twice(world: World) -> None:
    values = [sample(NOON_MS + second * 1000, cpu_cores=second) for second in range(100)]
    first = world.intake()
    await world.read(first, values[:50])
    await first.flush()
    await world.read(first, values[50:70])  # and then it dies
    second = world.intake()
    assert {0: 50} == await second.assign(frozenset({0}))
    for _ in range(2):
        await world.read(second, values[30:])
        await second.flush()
    assert {SampleFate.COUNTED: 50, SampleFate.REPEATED: 90} == {fate: n for fate, n in second.fates.items() if n}
    hour = next(report for report in world.newest().values() if report["window"]["size_seconds"] == 3600)
    assert (100, 49.5) == (hour["samples"], hour["metrics"]["cpu_cores_mean"]["value"])


async def test_a_batch_that_was_fetched_before_the_partition_came_back_waits_for_what_it_leaves_out(
    world: World,
) -> None:
    intake = world.intake()
    assert {} == await intake.assign(frozenset({0}))
    intake.expect({0: 0})
    world.offsets[0] = 5
    assert [] == await world.read(intake, [sample(NOON_MS)])
    await intake.flush()
    assert (0, {}) == (intake.fates[SampleFate.COUNTED], await world.store.offsets())
    intake.expect({0: 5})  # as when retention has taken what stood before
    world.offsets[0] = 5
    await world.read(intake, [sample(NOON_MS)])
    await intake.flush()
    assert (1, {0: 6}) == (intake.fates[SampleFate.COUNTED], await world.store.offsets())


async def test_two_workers_that_read_one_target_count_all_of_it(world: World) -> None:
    values = [sample(NOON_MS + second * 1000, rss_bytes=second) for second in range(60)]
    one, two = world.intake(), world.intake()
    for at in range(0, 60, 2):
        await world.read(one, values[at : at + 1])
        await world.read(two, values[at + 1 : at + 2], partition=1)
        await asyncio.gather(one.flush(), two.flush())
    series = await world.store.load(series_key("fraud", "3", "pod-1"))
    assert series is not None
    assert 60 == sum(series.sums_of(place).samples for place in series.places() if place.size_ms == HOUR_MS)
    assert 60 == max(report["samples"] for report in world.newest().values())


async def test_a_failure_between_publishing_and_keeping_repeats_the_report_with_its_event_id(world: World) -> None:
    intake = world.intake()
    await world.read(intake, [sample(NOON_MS, cpu_cores=1.0)])
    world.publisher.failure = TemporaryFailure("the broker went away after writing")
    with pytest.raises(TemporaryFailure):
        await intake.flush()
    world.clock.wall_ms += 5000
    await intake.flush()
    ids = collections.defaultdict(set)
    for message in world.publisher.sent:
        ids[message.key].add(json.loads(message.value or b"")["event_id"])
    assert 4 == len(world.publisher.sent)
    assert [1, 1] == [len(each) for each in ids.values()]


async def test_bad_samples_become_dead_letters_with_their_reasons_and_a_flood_of_them_is_cut(world: World) -> None:
    intake = world.intake()
    bad = [b"<html>", None, sample(NOON_MS + 6 * MINUTE_MS), sample(NOON_MS, cpu_cores=-1), b"{}"]
    await world.read(intake, [*bad, sample(NOON_MS)])
    reasons = [dict(message.headers)["latelabel-reason"].decode() for message in world.publisher.sent]
    assert ["malformed_json", "tombstone", "implausible_time", "out_of_bounds", "missing_field"] == reasons
    assert (5, 1) == (intake.fates[SampleFate.REJECTED], intake.fates[SampleFate.COUNTED])
    await world.read(intake, [b"junk"] * 1000)
    assert LETTERS_A_MINUTE == len(world.publisher.sent)
    world.clock.wall_ms += MINUTE_MS
    await world.read(intake, [b"junk"] * 10)
    assert LETTERS_A_MINUTE + 10 == len(world.publisher.sent)
    assert 1015 == intake.fates[SampleFate.REJECTED]


async def test_late_repeated_and_crowded_samples_are_named(world: World) -> None:
    intake = world.intake()
    early = [sample(NOON_MS - HOUR_MS)]
    await world.read(intake, [sample(NOON_MS), sample(NOON_MS), *early])
    await world.read(intake, [sample(NOON_MS + at) for at in range(1, 700)])
    counted = {fate: count for fate, count in intake.fates.items() if count}
    assert {SampleFate.COUNTED: 600, SampleFate.REPEATED: 1, SampleFate.LATE: 1, SampleFate.CROWDED: 100} == counted


async def test_targets_beyond_the_limit_are_counted_and_cost_nothing(world: World) -> None:
    intake = world.intake(most_targets=3)
    await world.read(intake, [sample(NOON_MS, target=f"pod-{at}") for at in range(50)])
    await intake.flush()
    assert (3, 47) == (intake.targets, intake.fates[SampleFate.BEYOND_LIMIT])
    assert 3 == len(await world.store.targets())


async def test_windows_of_a_silent_target_become_final_under_the_next_owner(world: World) -> None:
    first = world.intake()
    await world.read(first, [sample(NOON_MS, cpu_cores=1.0)])
    await first.flush()
    next_owner = world.intake()
    await next_owner.assign(frozenset({0}))
    world.clock.wall_ms += 3 * HOUR_MS
    await next_owner.flush()
    assert ["final", "final"] == [report["status"] for report in world.newest().values()]
    sent = len(world.publisher.sent)
    world.clock.wall_ms += HOUR_MS
    await next_owner.flush()
    assert sent == len(world.publisher.sent)


async def test_redis_holds_a_bounded_state_and_two_days_of_reports(world: World, redis_server: RedisServer) -> None:
    intake = world.intake()
    for minute in range(0, 60 * 60, 30):
        world.clock.wall_ms = NOON_MS + minute * MINUTE_MS
        await world.read(intake, [sample(world.clock.wall_ms, rss_bytes=10**9, oom_kills=minute)])
        await intake.flush()
    version = model_version_hash("fraud", "3")
    queries = [
        WindowQuery(model_version=version, shape=Shape("resources", size), most=10_000, of_segments=True)
        for size in (300, 3600)
    ]
    fives, hours = await world.reports.find(queries)
    assert KEEP_MS // (30 * MINUTE_MS) <= len(fives) <= KEEP_MS // (30 * MINUTE_MS) + 3
    assert KEEP_MS // HOUR_MS <= len(hours) <= KEEP_MS // HOUR_MS + 3
    series = await world.store.load(series_key("fraud", "3", "pod-1"))
    assert series is not None
    with contextlib.closing(Redis.from_url(redis_server.url)) as client:
        (key,) = list(client.keys(f"*{world.prefix}:*{series_key('fraud', '3', 'pod-1').hex()}*"))
        assert client.strlen(key) < 10_000
        assert 0 < client.pttl(key) <= KEEP_MS


# --- a worker ---------------------------------------------------------------------------------------------------------


def send(installation: Installation, topic: str, values: Iterable[bytes]) -> None:
    producer = Producer({"bootstrap.servers": installation.brokers})
    for value in values:
        producer.produce(topic, value, key=b"pod-1")
    assert 0 == producer.flush(30)


def reported(installation: Installation) -> dict[bytes | None, dict[str, Any]]:
    return newest(read_topic(installation.brokers, installation.topics["metrics"]))


@pytest.mark.timeout(240)
async def test_a_worker_reads_samples_beside_predictions_and_a_kill_loses_and_repeats_nothing(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.topics["resource_samples"] = f"{installation.name}-samples"
    installation.create_topics()
    start_ms = int(time.time() * 1000) - 3_000_000
    values = [sample(start_ms + second * 1000, rss_bytes=10**9 + second, cpu_cores=0.5) for second in range(0, 3000, 5)]

    def samples() -> int:
        return sum(r["samples"] for r in reported(installation).values() if r["window"]["size_seconds"] == 300)

    await asyncio.to_thread(send, installation, installation.topics["resource_samples"], [*values[:300], b"junk"])
    with worker(installation) as process:
        await asyncio.to_thread(wait_until, lambda: samples() == 300, what="the first half", seconds=60)
        await asyncio.to_thread(send, installation, installation.topics["resource_samples"], values[200:500])
        process.send_signal(signal.SIGKILL)
        process.wait()
    await asyncio.to_thread(send, installation, installation.topics["resource_samples"], values[400:])
    with worker(installation) as process:
        await asyncio.to_thread(wait_until, lambda: samples() == 600, what="all samples", seconds=90)
        process.send_signal(signal.SIGTERM)
        code, log = finish(process)
    assert 0 == code, log
    assert "Traceback" not in log
    largest = [report["metrics"]["rss_bytes"]["value"] for report in reported(installation).values()]
    assert 10**9 + 2995 == max(largest)
    letters = [value for _, value in read_topic(installation.brokers, installation.topics["dead_letters"])]
    assert {b"junk"} == set(letters)


async def test_a_worker_without_the_topic_of_samples_counts_and_says_so_once(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.topics["resource_samples"] = f"{installation.name}-nowhere"
    for role in ("predictions", "labels", "metrics", "dead_letters"):
        create_topic(installation.brokers, installation.topics[role])
    with worker(installation) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        told = await asyncio.to_thread(lambda: next(line for line in lines if "No resources are watched" in line))
        process.send_signal(signal.SIGTERM)
        code, _ = finish(process)
    assert 0 == code
    assert "latelabel topics create" in told


def show(installation: Installation, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "agents", "show", *arguments],
        cwd=installation.folder,
        env={**installation.environment, "PYTHONPATH": str(RULES.parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.timeout(240)
async def test_shipped_rules_tell_of_a_leak_a_full_memory_kills_and_restarts(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.topics |= {role: f"{installation.name}-{role}" for role in ("resource_samples", "alerts")}
    installation.create_topics()
    now_ms = int(time.time() * 1000)
    leaking = [
        sample(
            now_ms - (60 - at) * 1000,
            "leaking",
            rss_bytes=10**9 + at * 15_000_000,
            memory_limit_bytes=2 * 10**9,
            oom_kills=int(at > 50),
        )
        for at in range(60)
    ]
    restarting = [
        sample(now_ms - (60 - at) * 1000, "restarting", process_start_time=format_time(now_ms - 10**6 + at // 10))
        for at in range(60)
    ]
    fine = [
        sample(now_ms - (60 - at) * 1000, "fine", rss_bytes=10**9, memory_limit_bytes=2 * 10**9, oom_kills=3)
        for at in range(60)
    ]

    def firing() -> set[tuple[str, str]]:
        records = read_topic(installation.brokers, installation.topics["alerts"])
        alerts = [json.loads(value or b"{}") for _, value in records]
        found = {(each["name"], each["labels"].get("target", "")) for each in alerts if each["status"] == "firing"}
        return {each for each in found if each[0] != "Watchdog"}

    expected = {(name, "leaking") for name in ("SuspectedLeak", "MemoryNearLimit", "MemoryFullSoon", "OomKilled")}
    expected.add(("Restarting", "restarting"))
    send(installation, installation.topics["resource_samples"], [*leaking, *restarting, *fine])
    with worker(installation, LATELABEL_RULE_FILES=str(RULES), LATELABEL_RESOURCES__LEAK_BLOCK="1s") as process:
        await asyncio.to_thread(wait_until, lambda: firing() >= expected, what="the alerts", seconds=90)
        process.send_signal(signal.SIGTERM)
        code, log = finish(process)
    assert (0, expected) == (code, firing()), log
    assert "fraud, version 3: watched by a probe, no prediction counted yet\n" == await asyncio.to_thread(
        show, installation
    )
    screen = await asyncio.to_thread(show, installation, "fraud")
    assert {f"resources of {target}," for target in ("leaking", "restarting", "fine")} <= set(
        re.findall(r"resources of \w+,", screen)
    )
    assert "leak?\n" in screen
    lines = (await asyncio.to_thread(show, installation, "fraud", "--json", "--model-version", "3")).splitlines()
    assert {"resources"} == {json.loads(line)["kind"] for line in lines}
