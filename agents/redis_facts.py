"""What a Redis says about itself, as far as the ledger depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio.cluster import RedisCluster

from agents.redis_connection import RedisClient

__all__ = ["RedisFacts", "redis_facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """One server, or one node of a cluster."""

    address: str
    """`host:port` of a cluster's node; empty for the one server of the URL."""
    is_valkey: bool
    version: str
    """Of Redis, or of Valkey itself rather than of the Redis that it stands for."""
    policy: str
    """`maxmemory-policy`. Anything but `noeviction` may drop counts and keep the offset that says they are there."""
    persists_commands: bool
    """Whether there is an append-only file; without one a crash loses all since the last snapshot."""
    last_write_succeeded: bool
    """Of the append-only file and of snapshots; False before writes are refused, or while they are."""
    used_memory_bytes: int
    maxmemory_bytes: int
    """0 means no limit but the machine's."""
    system_memory_bytes: int
    """Of the machine."""
    time_ms: int | None
    """Its wall clock when it answered; None before Redis 7.0."""


async def redis_facts(client: RedisClient) -> tuple[RedisFacts, ...]:
    """Ask every server that holds a part of the ledger; call it inside `redis_failures`.

    Needs the commands `INFO` and, on a cluster, `CLUSTER SLOTS`.
    """
    if not isinstance(client, RedisCluster):
        return (_facts(await client.info("everything"), ""),)
    await client.initialize()
    return tuple(
        [_facts(await client.info("everything", target_nodes=node), node.name) for node in client.get_primaries()]
    )


def _facts(info: Mapping[str, Any], address: str) -> RedisFacts:
    return RedisFacts(
        address=address,
        is_valkey="valkey_version" in info,
        version=str(info.get("valkey_version", info["redis_version"])),
        policy=str(info["maxmemory_policy"]),
        persists_commands=bool(info["aof_enabled"]),
        last_write_succeeded=info["aof_last_write_status"] == info["rdb_last_bgsave_status"] == "ok",
        used_memory_bytes=int(info["used_memory"]),
        maxmemory_bytes=int(info["maxmemory"]),
        system_memory_bytes=int(info["total_system_memory"]),
        time_ms=int(info["server_time_usec"]) // 1000 if "server_time_usec" in info else None,
    )
