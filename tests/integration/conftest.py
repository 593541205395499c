"""Fixtures of the tests on real services: every way in which Redis can stand, each started when first asked for."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from agents.redis_connection import connect
from agents.redis_ledger import RedisLedger
from streams.ledger.reference import ReferenceLedger
from streams.ports import Ledger
from tests.support.ledger_writer import HOUR_MS, MINUTE_MS
from tests.support.redis_topologies import TOPOLOGIES, RedisTopology, start_topology


@pytest.fixture(scope="session")
def topology_named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RedisTopology]]:
    """Gives the topology of a name, with whatever the tests before left in it; one of each for the session."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(name: str) -> RedisTopology:
            return stack.enter_context(start_topology(name, tmp_path_factory.mktemp(name)))

        yield start


@pytest.fixture(params=["reference", *TOPOLOGIES])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Ledger]:
    """The reference, and the Redis ledger on every topology."""
    settings = {"label_hold_ms": 5 * MINUTE_MS, "keep_windows_ms": 24 * HOUR_MS}
    if request.param == "reference":
        yield ReferenceLedger(shards=2, **settings)
        return
    topology: RedisTopology = request.getfixturevalue("topology_named")(request.param)
    topology.clear()
    async with connect(topology.url) as client:
        yield RedisLedger(client, address=request.param, prefix="latelabel", shards=2, **settings)
