"""The wiring of the page's own process, beside the worker that starts it (`agents.page_process`).

python -m agents.app_page FILE...     with listening sockets, and on standard input the socket to the worker
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from aiohttp import web

from agents.clock import SystemClock
from agents.dead_letter_peek import DeadLetterPeek
from agents.explanation_feed import ExplanationFeed
from agents.garbage import look_for_garbage_rarely
from agents.redis_alerts import RedisAlerts
from agents.redis_connection import RedisClient, connect
from agents.redis_ledger import RedisLedger
from agents.redis_reports import RedisReports
from agents.settings import Settings, config_hash, environment
from agents.telemetry import set_up_logging
from agents.web.alerts import AlertReader
from agents.web.documents import SystemPage
from agents.web.fleet import FleetReader
from agents.web.reading import ReportReader
from agents.web.records import RecordReader
from agents.web.remembered import RememberedReports
from agents.web.server import serve_web
from agents.web.site import mount_site
from agents.web.system import SystemReader
from agents.worker_link import WorkerLink
from streams.errors import LatelabelError, TemporaryFailure
from streams.explanation.kept import KeptExplanations

__all__ = ["main"]

_log = logging.getLogger(__name__)

NICENESS = 10
"""Counting goes first: on a core that both want, it gets nine tenths. More would let a crowd keep health waiting."""
DIES_WITH_PARENT = 1
"""`PR_SET_PDEATHSIG` of prctl(2)."""
FAILED = 1


def main() -> None:
    """Serve until the worker has gone."""
    ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
    # Who stops a whole group of processes means the worker; that it has gone is seen by the socket.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    listeners = [socket.socket(fileno=int(file)) for file in sys.argv[1:]]
    code = 0
    try:
        asyncio.run(_serve(listeners, socket.socket(fileno=os.dup(0))))
    except LatelabelError as error:
        _log.error("%s", error)
        code = FAILED
    logging.shutdown()
    os._exit(code)


async def _serve(listeners: Sequence[socket.socket], worker: socket.socket) -> None:
    clock = SystemClock()
    link = WorkerLink(*await asyncio.open_unix_connection(sock=worker), clock)
    try:
        await link.ask()
    except TemporaryFailure:
        return  # It has ended already, and has not said how anything is to be logged.
    settings = link.settings
    assert settings is not None
    as_json = settings.log.is_json(environment(), on_terminal=sys.stderr.isatty())
    set_up_logging(settings.log.level_number, as_json=as_json)
    async with contextlib.AsyncExitStack() as stack:
        redis = connect(settings.redis.url)
        stack.push_async_callback(redis.aclose)
        feed = ExplanationFeed(settings.kafka, KeptExplanations(lambda model: settings.model(model).base_window_ms))
        explained = frozenset(model.name for model in settings.models if model.explanation is not None)
        records = RecordReader(
            feed, DeadLetterPeek(settings.kafka), explained=explained, are_shown=settings.web.records
        )
        await stack.enter_async_context(
            serve_web(
                settings.web,
                clock,
                unready=lambda: link.told.unready,
                metrics=lambda: link.told.metrics,
                mount=functools.partial(_mount, settings=settings, redis=redis, records=records, link=link),
                listeners=listeners,
                renew=link.ask,
            )
        )
        # Not before: who asks for health waits for the start.
        os.nice(NICENESS)
        look_for_garbage_rarely()
        gone = asyncio.ensure_future(link.until_gone())
        if records.are_shown and explained:
            while not (link.told.is_running or gone.done()):
                await asyncio.wait({gone}, timeout=1.0)
                with contextlib.suppress(TemporaryFailure):
                    await link.ask()
            await stack.enter_async_context(feed.running())
        await gone


def _mount(
    app: web.Application, *, settings: Settings, redis: RedisClient, records: RecordReader, link: WorkerLink
) -> None:
    clock = SystemClock()
    place = {"address": settings.redis.address, "prefix": settings.redis.prefix}
    ledger = RedisLedger.from_settings(settings, redis)
    reports = RememberedReports(RedisReports(redis, **place), clock)
    alerts = AlertReader(RedisAlerts(redis, **place))
    topics, level = settings.kafka.topic_names, settings.confidence_level
    system = SystemReader(
        ledger,
        topics=topics,
        version=version("latelabel"),
        config_hash=config_hash(settings),
        unready=lambda: link.told.unready,
        metrics=lambda: link.told.metrics,
        ends=lambda: link.told.ends,
    )

    def references() -> Mapping[str, Mapping[str, float]]:
        newest = link.settings or settings
        return {model.name: model.references for model in newest.models}

    async def system_page() -> SystemPage:
        await link.ask()
        return await system.page()

    mount_site(
        app,
        fleet=FleetReader(reports, alerts, clock, confidence_level=level, references=references, topics=topics),
        reader=ReportReader(reports, confidence_level=level, references=references),
        alerts=alerts,
        store=reports,
        system=system_page,
        records=records,
        clock=clock,
    )


if __name__ == "__main__":
    main()
