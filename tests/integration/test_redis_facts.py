"""What Redis says about itself, asked of real servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agents.redis_facts import redis_facts
from deploy.servers import RedisServer
from tests.support.redis_ledgers import connected
from tests.support.redis_topologies import RedisTopology, operate


async def test_server_with_the_deployments_settings_has_what_the_ledger_needs() -> None:
    with RedisServer(options={"maxmemory": "64mb"}) as server:
        async with connected(server.url) as client:
            (facts,) = await redis_facts(client)
        assert operate(server, "INFO", "server")["redis_version"] == facts.version
    assert ("", False, "noeviction", True, True, 64 << 20) == (
        facts.address,
        facts.is_valkey,
        facts.policy,
        facts.persists_commands,
        facts.last_write_succeeded,
        facts.maxmemory_bytes,
    )
    assert 0 < facts.used_memory_bytes < 64 << 20


async def test_server_that_would_drop_counts_or_forget_them_in_a_crash_is_seen() -> None:
    with RedisServer(options={"maxmemory-policy": "allkeys-lru", "appendonly": "no"}) as server:
        async with connected(server.url) as client:
            (facts,) = await redis_facts(client)
    assert ("allkeys-lru", False, 0) == (facts.policy, facts.persists_commands, facts.maxmemory_bytes)


@pytest.mark.parametrize("topology", ["cluster", "tls-cluster"])
async def test_every_node_of_a_cluster_is_asked(topology_named: Callable[[str], RedisTopology], topology: str) -> None:
    servers = topology_named(topology).servers
    operate(servers[1], "CONFIG SET", "maxmemory-policy", "volatile-ttl")
    async with connected(topology_named(topology).url) as client:
        facts = await redis_facts(client)
    operate(servers[1], "CONFIG SET", "maxmemory-policy", "noeviction")
    expected = {server.address: "noeviction" for server in servers} | {servers[1].address: "volatile-ttl"}
    assert expected == {each.address: each.policy for each in facts}
