"""The wiring of a worker's HTTP server: page, API, health and metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version

from agents.app_beside import Beside, all_metrics
from agents.exposition import Metric
from agents.reloading import Reloading
from agents.settings import config_hash
from agents.web.alerts import AlertReader
from agents.web.fleet import FleetReader
from agents.web.reading import ReportReader
from agents.web.records import RecordReader
from agents.web.server import serve_web
from agents.web.site import mount_site
from agents.web.system import SystemReader
from agents.worker import Worker
from streams.ledger.parts import Source
from streams.ports import AlertStore, Clock, Ledger, ReportStore

__all__ = ["build_web_server"]


def build_web_server(
    reloading: Reloading,
    clock: Clock,
    ledger: Ledger,
    reports: ReportStore,
    alerts: AlertStore,
    records: RecordReader,
    *,
    worker: Callable[[], Worker | None],
    beside: Beside,
) -> AbstractAsyncContextManager[int]:
    """It answers before there is a worker."""
    settings = reloading.settings

    def unready() -> str | None:
        running = worker()
        return "waiting for Kafka and Redis" if running is None else running.unready()

    def metrics() -> Iterator[Metric]:
        running = worker()
        return iter(()) if running is None else all_metrics(running, reloading, beside)

    def ends() -> Mapping[Source, int]:
        running = worker()
        return {} if running is None or running.house.seen is None else running.house.seen.ends

    def references() -> Mapping[str, Mapping[str, float]]:
        return {model.name: model.references for model in reloading.settings.models}

    topics = settings.kafka.topic_names
    system = SystemReader(
        ledger,
        topics=topics,
        version=version("latelabel"),
        config_hash=config_hash(settings),
        unready=unready,
        metrics=metrics,
        ends=ends,
    )
    alert_reader = AlertReader(alerts)
    level = settings.confidence_level
    fleet = FleetReader(reports, alert_reader, clock, confidence_level=level, references=references, topics=topics)
    reader = ReportReader(reports, confidence_level=level, references=references)
    mount = functools.partial(
        mount_site,
        fleet=fleet,
        reader=reader,
        alerts=alert_reader,
        store=reports,
        system=system.page,
        records=records,
        clock=clock,
    )
    return serve_web(settings.web, clock, unready=unready, metrics=metrics, mount=mount)
