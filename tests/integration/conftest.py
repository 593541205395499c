"""Fixtures of the tests on real services: every way in which Redis can stand, each started when first asked for."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import pytest

from tests.support.redis_topologies import RedisTopology, start_topology


@pytest.fixture(scope="session")
def topology_named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RedisTopology]]:
    """Gives the topology of a name, with whatever the tests before left in it; one of each for the session."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(name: str) -> RedisTopology:
            return stack.enter_context(start_topology(name, tmp_path_factory.mktemp(name)))

        yield start
