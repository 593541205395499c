"""The wiring of a worker's HTTP server, as far as it stands in the worker; the rest is `agents.app_page`."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from socket import gethostname

from agents.app_beside import Beside, all_metrics
from agents.page_process import PageProcess
from agents.reloading import Reloading
from agents.settings import Settings, WebSettings, environment
from agents.web.access import read_token
from agents.web.listening import listen
from agents.worker import Worker
from agents.worker_link import Told

__all__ = ["page_url", "serve_page"]


@contextlib.asynccontextmanager
async def serve_page(
    reloading: Reloading, *, worker: Callable[[], Worker | None], beside: Beside
) -> AsyncIterator[int]:
    """Serve while the block runs, also before there is a worker.

    Returns: the port that is listened on.

    Raises:
        PermanentFailure: the address cannot be listened on, or the token not be read.
    """
    settings = reloading.settings.web
    read_token(settings.token_file)  # a mistake there ends the worker, not its page
    listeners = await listen(settings)

    def told(known: Settings | None) -> Told:
        running = worker()
        newer = None if known is reloading.settings else reloading.settings
        if running is None:
            return Told(newer, is_running=False, unready="waiting for Kafka and Redis", metrics=(), ends={})
        return Told(
            newer,
            is_running=True,
            unready=running.unready(),
            metrics=tuple(all_metrics(running, reloading, beside)),
            ends={} if running.house.seen is None else running.house.seen.ends,
        )

    async with PageProcess(listeners, environment(), told).running():
        yield listeners[0].getsockname()[1]


def page_url(settings: WebSettings, port: int) -> str:
    """Where people find the page that listens on this port; on all addresses, by the name of this machine.

    >>> page_url(WebSettings(host="::1", port=0), 6067)
    'http://[::1]:6067'
    >>> page_url(WebSettings(external_url="https://latelabel.example/"), 6066)
    'https://latelabel.example'
    """
    if settings.external_url is not None:
        return settings.external_url.rstrip("/")
    try:
        address = ipaddress.ip_address(settings.host)
    except ValueError:
        return f"http://{settings.host}:{port}"
    if address.is_unspecified:
        return f"http://{gethostname()}:{port}"
    return f"http://{settings.host}:{port}" if address.version == 4 else f"http://[{settings.host}]:{port}"
