"""Stopped partitions in the real Redis come back as they were stored."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agents.redis_connection import connect
from agents.redis_stops import RedisStops
from deploy.servers import RedisServer
from streams.dead_letter_limits import Excess, Stop
from streams.errors import TemporaryFailure
from streams.ledger.parts import Role, Source

SOURCE = Source(Role.LABELS, 7)
STOP = Stop(
    excess=Excess(offset=120, in_a_row=101, recent=101),
    since_ms=1_795_435_200_000,
    tried_ms=1_795_435_260_000,
    marks=".x" * 10,
    earlier_in_a_row=3,
)


@pytest.fixture
async def stops(fresh_redis: RedisServer) -> AsyncIterator[RedisStops]:
    client = connect(fresh_redis.url)
    yield RedisStops(client, address=fresh_redis.address, prefix="test")
    await client.aclose()


async def test_stop_is_kept_until_the_partition_is_released(stops: RedisStops) -> None:
    assert {} == await stops.stops()
    await stops.stop(SOURCE, STOP)
    assert {SOURCE: STOP} == await stops.stops()
    await stops.release(SOURCE)
    assert {} == await stops.stops()


async def test_what_is_accepted_is_known_by_partition(stops: RedisStops) -> None:
    assert 0 == await stops.accepted_until(SOURCE)
    await stops.accept(SOURCE, until=150)
    assert 150 == await stops.accepted_until(SOURCE)
    assert 0 == await stops.accepted_until(Source(Role.PREDICTIONS, 7))


async def test_all_that_is_known_of_one_partition_can_be_forgotten(stops: RedisStops) -> None:
    other = Source(Role.PREDICTIONS, 7)
    for source in (SOURCE, other):
        await stops.stop(source, STOP)
        await stops.accept(source, until=150)
    await stops.forget(SOURCE)
    assert {other: STOP} == await stops.stops()
    assert [0, 150] == [await stops.accepted_until(source) for source in (SOURCE, other)]


async def test_redis_that_is_away_is_a_temporary_failure() -> None:
    client = connect("redis://127.0.0.1:1/0")
    stops = RedisStops(client, address="127.0.0.1:1", prefix="test")
    with pytest.raises(TemporaryFailure, match="does not answer: nothing listens there"):
        await stops.stops()
    await client.aclose()
