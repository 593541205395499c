"""Asks Kafka, Redis and the ledger, and hands what they say to the checks.

Kafka ──> topics, logs, group ──┐
Redis ──> servers ──────────────┼──> findings, in this order; what a silent service would have been asked
ledger ─> states, fates, cells ─┘    is left out, its silence is a finding
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from agents.doctor.codec_checks import check_codecs
from agents.doctor.finding import Finding, Verdict
from agents.doctor.kafka_checks import check_brokers, check_lag, check_topics, standings
from agents.doctor.ledger_checks import (
    check_agreements,
    check_classes,
    check_conservation,
    check_dead_letters,
    check_gaps,
    check_ledger,
    check_stops,
)
from agents.doctor.redis_checks import check_clock, check_memory, check_servers
from agents.doctor.traffic import recent_traffic
from agents.kafka_connection import connection_options
from agents.kafka_log import KafkaLog
from agents.kafka_topics import KafkaTopics, wanted_topics
from agents.model_agreements import broken_agreements, change_notes
from agents.partition_intake import LogBounds
from agents.redis_connection import RedisClient, connect, redis_failures
from agents.redis_facts import RedisFacts, redis_facts
from agents.redis_ledger import RedisLedger
from agents.redis_stops import RedisStops
from agents.settings import Settings
from streams.dead_letter_limits import Stop
from streams.errors import LatelabelError, PermanentFailure
from streams.ledger.conservation import Violation, broken_by_cells, broken_by_fates
from streams.ledger.founding import Charter, agreements_of
from streams.ledger.parts import Gap, Role, ShardState, Source
from streams.ports import Clock, Ledger, WindowCells

__all__ = ["examine"]

MOST_WINDOWS = 5000
"""Of a shard whose cells are compared with its fates; more would take longer than somebody at a prompt waits."""
WINDOWS_AT_ONCE = 500


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """What the brokers know of the worker's reading."""

    bounds: Mapping[Source, LogBounds]
    has_committed: bool
    members: Sequence[str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Books:
    """What the ledger holds, shard by shard."""

    charter: Charter | None
    states: Sequence[ShardState | None]
    fates: Sequence[Mapping[str, int]]
    gaps: Sequence[Sequence[Gap]]
    violations: Mapping[int, Sequence[Violation]]
    stops: Mapping[Source, Stop]


async def examine(settings: Settings, clock: Clock) -> list[Finding]:
    """Check everything once; takes some seconds, longer where services do not answer."""
    try:
        redis = connect(settings.redis.url)
    except PermanentFailure as failure:
        findings, _ = await _examine_kafka(settings, horizon_ms=0)
        return [*findings, check_codecs(), _silence("redis", failure, "the files that redis.url names")]
    async with contextlib.aclosing(redis):
        findings, group = await _examine_kafka(settings, horizon_ms=await _agreed_horizon_ms(settings, redis))
        findings.append(check_codecs())
        findings += await _examine_redis(settings, clock, redis, group)
    return findings


async def _agreed_horizon_ms(settings: Settings, redis: RedisClient) -> int:
    """The longest by which the ledger counts what is not settled yet; 0 while Redis does not answer."""
    ledger = RedisLedger.from_settings(settings, redis)
    try:
        charter = await ledger.charter()
        states = await asyncio.gather(*map(ledger.state, range(ledger.shards)))
    except LatelabelError:
        return 0
    return agreements_of(charter).longest_horizon_ms(watermark_ms=_watermark_ms(states))


def _watermark_ms(states: Iterable[ShardState | None]) -> int:
    """Up to which all shards have counted; 0 while none has."""
    return min((state.watermark_ms for state in states if state is not None), default=0)


async def _examine_kafka(settings: Settings, *, horizon_ms: int) -> tuple[list[Finding], _Group | None]:
    wanted = wanted_topics(settings, horizon_ms=horizon_ms)
    try:
        async with KafkaTopics(settings.kafka) as kafka:
            releases = await kafka.releases()
            existing = await kafka.existing(*(topic.name for topic in wanted))
    except LatelabelError as failure:
        return [_silence("kafka", failure, "kafka.brokers and kafka.security")], None
    findings = [check_brokers(settings.kafka.address, releases)]
    findings += check_topics(wanted, existing, server=settings.kafka.brokers[0])
    if not all(settings.kafka.topic(role) in existing for role in Role):
        return findings, None
    try:
        return findings, await _ask_group(settings)
    except LatelabelError as failure:
        return [*findings, _silence("kafka group", failure, "the rights of the user on the group")], None


async def _ask_group(settings: Settings) -> _Group:
    topics = {role: settings.kafka.topic(role) for role in Role}
    log = KafkaLog(connection_options(settings.kafka), group=settings.kafka.group, topics=topics)
    try:
        await log.start()
        return _Group(
            bounds=await log.all_bounds(), has_committed=await log.has_committed(), members=await log.members()
        )
    finally:
        await log.stop()


async def _examine_redis(settings: Settings, clock: Clock, redis: RedisClient, group: _Group | None) -> list[Finding]:
    address = settings.redis.address
    try:
        asked_ms = clock.now_ms()
        async with redis_failures(address):
            servers = await redis_facts(redis)
        now_ms = (asked_ms + clock.now_ms()) // 2
    except LatelabelError as failure:
        return [_silence("redis", failure, "redis.url")]
    findings = [Finding(check="redis", verdict=Verdict.OK, found=f"{address} answers")]
    findings += check_servers(servers)
    findings.append(check_clock(servers, now_ms=now_ms, max_future_skew_ms=settings.max_future_skew_ms))
    ledger = RedisLedger.from_settings(settings, redis)
    stops = RedisStops(redis, address=address, prefix=settings.redis.prefix)
    try:
        findings += await _examine_ledger(settings, ledger, stops, servers, group)
    except LatelabelError as failure:
        findings.append(_silence("ledger", failure, "redis.url"))
    return findings


async def _examine_ledger(
    settings: Settings, ledger: Ledger, stops: RedisStops, servers: Sequence[RedisFacts], group: _Group | None
) -> list[Finding]:
    books = await _read_books(ledger, stops)
    states = [state for state in books.states if state is not None]
    traffic = await recent_traffic(
        ledger,
        settings.model,
        agreements_of(books.charter),
        watermark_ms=_watermark_ms(states),
    )
    topics = {role: settings.kafka.topic(role) for role in Role}
    models = {model.name: model for model in settings.models}
    broken = await broken_agreements(ledger, models)
    fates: collections.Counter[str] = collections.Counter()
    for each in books.fates:
        fates.update(each)

    def findings() -> Iterator[Finding]:
        yield check_memory(servers, traffic, settings)
        yield check_ledger(
            books.charter,
            [None if state is None else state.ledger_id for state in books.states],
            group_has_committed=None if group is None else group.has_committed,
        )
        if not states:
            return
        yield from check_agreements(broken, change_notes(books.charter, models))
        yield from check_conservation(books.violations, fates)
        yield check_gaps(books.gaps)
        if group is not None:
            yield from check_lag(standings(group.bounds, states), topics, members=group.members)
        yield from check_dead_letters(fates, topics)
        yield from check_stops(books.stops, topics)
        yield from check_classes(traffic)

    return list(findings())


async def _read_books(ledger: Ledger, stops: RedisStops) -> _Books:
    shards = range(ledger.shards)
    violations = {}
    fates = []
    for shard in shards:
        # Cells first: what is counted between the two readings is in the fates alone.
        cells = await _cells(ledger, shard)
        fates.append(await ledger.fates(shard))
        violations[shard] = (*broken_by_fates(fates[-1]), *broken_by_cells(cells, fates[-1]))
    return _Books(
        charter=await ledger.charter(),
        states=await asyncio.gather(*map(ledger.state, shards)),
        fates=fates,
        gaps=await asyncio.gather(*map(ledger.gaps, shards)),
        violations=violations,
        stops=await stops.stops(),
    )


async def _cells(ledger: Ledger, shard: int) -> Sequence[WindowCells]:
    windows = (await ledger.windows(shard))[-MOST_WINDOWS:]
    cells: list[WindowCells] = []
    for at in range(0, len(windows), WINDOWS_AT_ONCE):
        cells += await ledger.cells(shard, windows[at : at + WINDOWS_AT_ONCE])
    return cells


def _silence(check: str, failure: LatelabelError, settings: str) -> Finding:
    is_refused = isinstance(failure, PermanentFailure)
    remedy = "as said" if is_refused else f"check that it runs, and {settings} of the configuration"
    return Finding(check=check, verdict=Verdict.FAILED, found=str(failure), remedy=remedy)
