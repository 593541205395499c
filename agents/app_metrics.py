"""Everything that a worker tells at /metrics, of all its parts; wired into `agents.app`."""

from __future__ import annotations

from collections.abc import Iterator

from agents.alert_metrics import alert_metrics
from agents.explain_asking import ExplainAsking
from agents.exposition import Metric
from agents.process_metrics import process_metrics
from agents.reloading import Reloading
from agents.resource_metrics import resource_metrics
from agents.resource_watch import ResourceWatch
from agents.worker import Worker
from agents.worker_metrics import worker_metrics

__all__ = ["all_metrics"]


def all_metrics(worker: Worker, reloading: Reloading, watch: ResourceWatch, asking: ExplainAsking) -> Iterator[Metric]:
    """As they stand now."""
    yield from worker_metrics(worker.intake, worker.house, worker.outages, reloading)
    yield from process_metrics(
        worker.loop_lag,
        rebalances=worker.app.rebalances_ended,
        now_seconds=worker.clock.monotonic_seconds(),
    )
    yield from alert_metrics(worker.alerts.firing)
    yield from resource_metrics(watch)
    yield from asking.metrics()
