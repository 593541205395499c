"""What tests that break workers share beside their fixtures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from deploy.servers import RedisServer
from tests.support.chaos.arena import Arena
from tests.support.proxy import Proxy, proxy_in_a_thread

__all__ = ["Judged", "behind_a_proxy", "forgotten_tasks"]

BUSY_PER_SECOND = 2_500
"""Requests; with their labels about 5,000 records."""

Judged = Callable[..., contextlib.AbstractContextManager[Arena]]
"""The fixture `judged`: a run that ends with the verdict, which must find nothing."""


@contextlib.contextmanager
def behind_a_proxy(judged: Judged, store: RedisServer, **options: Any) -> Iterator[tuple[Arena, Proxy]]:
    """Much traffic and three ordinary workers, the second of which reaches Redis through a proxy."""
    options |= {"per_second": BUSY_PER_SECOND, "is_breakable": False, "workers": 3}
    with (
        proxy_in_a_thread(store.address) as proxy,
        judged(redis_urls=[store.url, f"redis://{proxy.address}/0", store.url], **options) as run,
    ):
        yield run, proxy


def forgotten_tasks(log: str) -> Iterator[str]:
    """What asyncio says of tasks that nobody waited for."""
    return (line for line in log.splitlines() if "was destroyed" in line or "never retrieved" in line)
