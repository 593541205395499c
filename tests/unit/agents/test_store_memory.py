"""How full the store is, of several servers and one without a limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from agents.redis_facts import RedisFacts
from agents.store_memory import LOOK_SECONDS, StoreMemory
from tests.support.intake_world import FakeClock

SERVER = RedisFacts(
    address="a", is_valkey=False, version="7.0", policy="noeviction", persists_commands=True,
    last_write_succeeded=True, used_memory_bytes=50, maxmemory_bytes=100, system_memory_bytes=1000, time_ms=None,
)  # fmt: skip


async def test_fullest_server_is_told_and_asked_about_only_now_and_then() -> None:
    clock, asked = FakeClock(), []

    async def facts() -> Sequence[RedisFacts]:
        asked.append(clock.monotonic_seconds())
        unlimited = dataclasses.replace(SERVER, used_memory_bytes=900, maxmemory_bytes=0)
        return [SERVER, unlimited]

    memory = StoreMemory(facts, clock)
    assert (0, 0) == (memory.used_bytes, memory.limit_bytes)
    await memory.look()
    await memory.look()
    assert (900, 1000, 1) == (memory.used_bytes, memory.limit_bytes, len(asked))
    clock.seconds += LOOK_SECONDS
    await memory.look()
    assert 2 == len(asked)
