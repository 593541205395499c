"""How far the ledger has come, read from Redis beside the workers, and how long it took to come back."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from agents.redis_ledger import shard_tag

__all__ = ["Progress"]

POLL_SECONDS = 0.05
ANSWER_SECONDS = 2.0
_STATE = struct.Struct(">QQQ")


class Progress:
    """The offsets that every shard has stored.

    Args:
        prefix: of the ledger's keys.
        shards: how many.
    """

    def __init__(self, redis_url: str, *, prefix: str, shards: int) -> None:
        self._client = Redis.from_url(redis_url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
        self._keys = [f"{shard_tag(prefix, shard, shards=shards)}:sources" for shard in range(shards)]

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def offsets(self) -> Mapping[str, int]:
        """The offset that each source has reached in every shard; empty while Redis does not answer."""
        lowest: dict[str, int] = {}
        try:
            for key in self._keys:
                states: dict[Any, Any] = self._client.hgetall(key)
                for source, state in states.items():
                    offset = _STATE.unpack(state)[0]
                    lowest[source.decode()] = min(offset, lowest.get(source.decode(), offset))
        except RedisError:
            return {}
        return lowest

    def seconds_until_past(self, since: Mapping[str, int], *, began: float, limit_seconds: float) -> float:
        """Wait until every source is beyond where it was.

        Args:
            since: what `offsets` said.
            began: when the fault was (monotonic seconds); the answer counts from there.
            limit_seconds: also from there.

        Raises:
            AssertionError: the limit passed; the message names what stands still.
        """
        while True:
            now = self.offsets()
            still = {source: at for source, at in since.items() if now.get(source, 0) <= at}
            if since and not still:
                return time.monotonic() - began
            assert time.monotonic() - began < limit_seconds, f"not counted again within {limit_seconds:g} s: {still}"
            threading.Event().wait(POLL_SECONDS)
