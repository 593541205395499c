"""Redis clients, and which of Redis' refusals pass by themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis import exceptions as redis_errors
from redis.asyncio.cluster import ClusterNode, RedisCluster

from agents.settings import RedisSettings
from streams.errors import PermanentFailure, TemporaryFailure

__all__ = ["RedisClient", "connect", "redis_failures"]

RedisClient = Any
"""`redis.asyncio.Redis` or `RedisCluster`: they share the commands used here, but no base class with types."""

SOCKET_TIMEOUT_SECONDS = 30.0
"""Longer than the longest script, shorter than the watchdog's patience."""

_PASSING_REFUSALS = (
    "LOADING",
    "BUSY",
    "READONLY",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "UNBLOCKED",
)


def connect(settings: RedisSettings) -> RedisClient:
    """A client for `redis://`, `rediss://`, `unix://` or `redis+cluster://host:port,host:port`. Connects lazily."""
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": 5.0,
        "health_check_interval": 30,
    }
    parts = urlsplit(settings.url)
    if parts.scheme == "redis+cluster":
        nodes = [node.rpartition(":") for node in parts.netloc.rpartition("@")[2].split(",")]
        startup_nodes = [ClusterNode(host, int(port)) for host, _, port in nodes]
        return RedisCluster(
            startup_nodes=startup_nodes, password=parts.password, username=parts.username, **options
        )
    return redis.Redis.from_url(settings.url, **options)


@contextlib.contextmanager
def redis_failures(address: str) -> Iterator[None]:
    """Turn what the client raises into the core's errors, naming the address."""
    try:
        yield
    except (redis_errors.AuthenticationError, redis_errors.NoPermissionError) as error:
        raise PermanentFailure(f"Redis at {address} refuses the credentials: {error}") from error
    except (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError) as error:
        raise TemporaryFailure(f"Redis at {address} does not answer: {error}") from error
    except redis_errors.ClusterError as error:
        raise TemporaryFailure(f"Redis Cluster at {address} is not ready: {error}") from error
    except redis_errors.ResponseError as error:
        if str(error).startswith(_PASSING_REFUSALS) or isinstance(error, redis_errors.ReadOnlyError):
            raise TemporaryFailure(f"Redis at {address} refuses for now: {error}") from error
        raise
