"""What a worker that stays does beside counting, and what it tells of all its parts at /metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

from agents.alert_metrics import alert_metrics
from agents.attribution_intake import AttributionIntake
from agents.attribution_metrics import attribution_metrics
from agents.explain_asking import ExplainAsking
from agents.exposition import Metric
from agents.process_metrics import process_metrics
from agents.reloading import Reloading
from agents.resource_intake import ResourceIntake
from agents.resource_metrics import resource_metrics
from agents.side_reading import SideReading
from agents.worker import Worker
from agents.worker_metrics import worker_metrics

__all__ = ["Beside", "all_metrics"]


@dataclasses.dataclass(frozen=True, slots=True)
class Beside:
    """`attributions` None: no model is explained."""

    resources: SideReading[ResourceIntake]
    attributions: SideReading[AttributionIntake] | None
    asking: ExplainAsking

    def running(self) -> Iterator[AbstractAsyncContextManager[None]]:
        """All of it, each for as long as its block."""
        for reading in (self.resources, self.attributions):
            if reading is not None:
                yield reading.running()
        yield self.asking.running()


def all_metrics(worker: Worker, reloading: Reloading, beside: Beside) -> Iterator[Metric]:
    """As they stand now."""
    yield from worker_metrics(worker.intake, worker.house, worker.outages, reloading)
    yield from process_metrics(
        worker.loop_lag,
        rebalances=worker.app.rebalances_ended,
        now_seconds=worker.clock.monotonic_seconds(),
    )
    yield from alert_metrics(worker.alerts.firing)
    yield from resource_metrics(beside.resources)
    yield from attribution_metrics(beside.attributions)
    yield from beside.asking.metrics()
