"""What a worker counts about the resource samples it reads, under Prometheus' names."""

from __future__ import annotations

from collections.abc import Iterator

from agents.exposition import Kind, Metric
from agents.resource_intake import ResourceIntake
from agents.side_reading import SideReading
from streams.stability.resource_series import SampleFate

__all__ = ["resource_metrics"]


def resource_metrics(watch: SideReading[ResourceIntake]) -> Iterator[Metric]:
    """All of them, as they stand now; each is there from the first time on."""
    yield Metric(
        "latelabel_resource_samples_total",
        Kind.COUNTER,
        "Resource samples read, by what became of them.",
        {(("fate", str(fate)),): watch.intake.fates[fate] for fate in SampleFate},
    )
    yield Metric("latelabel_resource_targets", Kind.GAUGE, "Targets watched by this worker.", watch.intake.targets)
    yield Metric(
        "latelabel_resource_reading",
        Kind.GAUGE,
        "1 while resource samples are read; 0 also if there is no topic of them.",
        int(watch.is_reading),
    )
