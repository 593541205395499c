"""What all stores in Redis have in common: a client, an address for messages and the prefix of their keys."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Self

from agents.redis_connection import RedisClient, connect
from agents.settings import RedisSettings

__all__ = ["RedisStore"]


class RedisStore:
    """On Redis 7.0 or Valkey, alone or as a cluster.

    Args:
        client: from `agents.redis_connection.connect`; not closed here.
        address: for messages.
        prefix: of every key.
    """

    def __init__(self, client: RedisClient, *, address: str, prefix: str) -> None:
        self._client = client
        self._address = address
        self._prefix = prefix

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """A store as configured, with a client of its own."""
        client = connect(settings.url)
        try:
            yield cls(client, address=settings.address, prefix=settings.prefix)
        finally:
            await client.aclose()
