"""The metrics of a report of kind `resources`: what each is, and how it is made from sums.

A figure that no sample tells of is undefined, never 0.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from schemas.window_report import Metric
from streams.stability.leak import LeakState
from streams.stability.resource_sums import Outlook, Statistic, Sums

__all__ = ["RESOURCE_DEFINITIONS", "RESOURCE_REASONS", "ResourceDefinition", "ResourceReason", "resource_figures"]

HOUR_SECONDS = 3600


class ResourceReason(enum.StrEnum):
    """Why a figure has no value."""

    NOT_SAMPLED = "not_sampled"
    NO_MEMORY_LIMIT = "no_memory_limit"
    NO_CPU_LIMIT = "no_cpu_limit"
    WARMING_UP = "warming_up"
    NOT_GROWING = "not_growing"


RESOURCE_REASONS: Mapping[ResourceReason, str] = MappingProxyType(
    {
        ResourceReason.NOT_SAMPLED: "No sample of the window tells of it.",
        ResourceReason.NO_MEMORY_LIMIT: "The samples tell of no limit of memory.",
        ResourceReason.NO_CPU_LIMIT: "The samples tell of no limit of cores.",
        ResourceReason.WARMING_UP: "Too little time since the start to be judged.",
        ResourceReason.NOT_GROWING: "No leak is suspected, so that nothing fills the memory.",
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceDefinition:
    """One metric; `measure` and `statistic` say what it is made of, where it is made of one measure of the samples."""

    meaning: str
    measure: str | None = None
    statistic: Statistic = Statistic.LARGEST
    interval: str = "none: observed"


_MEAN = Statistic.MEAN

RESOURCE_DEFINITIONS: Mapping[str, ResourceDefinition] = MappingProxyType(
    {
        "cpu_cores_mean": ResourceDefinition("Cores in use, mean.", "cpu_cores", _MEAN),
        "cpu_cores_max": ResourceDefinition("Cores in use, largest sample.", "cpu_cores"),
        "cpu_limit_ratio": ResourceDefinition("Cores in use by those allowed, mean.", "cpu_limit_ratio", _MEAN),
        "cpu_throttled_ratio": ResourceDefinition(
            "Share of the scheduler's periods in which the limit held it back, mean.", "cpu_throttled_ratio", _MEAN
        ),
        "rss_bytes": ResourceDefinition("Resident memory of the processes, largest.", "rss_bytes"),
        "working_set_bytes": ResourceDefinition("Memory of the container, largest.", "working_set_bytes"),
        "memory_limit_ratio": ResourceDefinition("Memory in use by that allowed, largest.", "memory_limit_ratio"),
        "open_fds": ResourceDefinition("Open files and sockets, largest.", "open_fds"),
        "threads": ResourceDefinition("Threads, largest.", "threads"),
        "queue_length": ResourceDefinition("Requests that wait, largest.", "queue_length"),
        "cpu_pressure_ratio": ResourceDefinition("Share of time waiting for a core, largest.", "cpu_pressure_ratio"),
        "memory_pressure_ratio": ResourceDefinition(
            "Share of time waiting for memory, largest.", "memory_pressure_ratio"
        ),
        "io_pressure_ratio": ResourceDefinition("Share of time waiting for a disk, largest.", "io_pressure_ratio"),
        "gpu_memory_ratio": ResourceDefinition("Memory of the GPUs in use, largest.", "gpu_memory_ratio"),
        "gpu_utilization_ratio": ResourceDefinition(
            "Share of time in which the GPUs computed, mean.", "gpu_utilization_ratio", _MEAN
        ),
        "gpu_temperature_celsius": ResourceDefinition("Of the hottest GPU.", "gpu_temperature_celsius"),
        "gpu_ecc_errors": ResourceDefinition("Memory errors of the GPUs that were not corrected.", "gpu_ecc_errors"),
        "gpu_cache_ratio": ResourceDefinition("How full the cache of keys and values is, largest.", "gpu_cache_ratio"),
        "restarts": ResourceDefinition("Times that another process was found in the target's place."),
        "oom_kills": ResourceDefinition("Processes killed for want of memory."),
        "suspected_leak": ResourceDefinition("1 if memory grows as a leak does, else 0."),
        "memory_growth_bytes_per_hour": ResourceDefinition(
            "Slope of the least memory of each block of time.", interval="Theil and Sen"
        ),
        "seconds_to_memory_limit": ResourceDefinition(
            "Until a suspected leak reaches the limit.", interval="that of the growth"
        ),
    }
)
"""By name."""


def resource_figures(sums: Sums) -> tuple[dict[str, Metric], dict[str, str]]:
    """All metrics of a window, and the reason for each that is undefined."""
    figures = dict(_figures(sums))
    metrics = {
        name: figure if isinstance(figure, Metric) else Metric(value=None, low=None, high=None, n=0)
        for name, figure in figures.items()
    }
    return metrics, {name: str(why) for name, why in figures.items() if isinstance(why, ResourceReason)}


def _figures(sums: Sums) -> Iterator[tuple[str, Metric | ResourceReason]]:
    for name, definition in RESOURCE_DEFINITIONS.items():
        if definition.measure is not None:
            yield name, _measured(sums, name, definition)
    yield "restarts", _observed(sums.restarts, sums.samples)
    yield "oom_kills", _observed(sums.oom_kills, sums.samples)
    yield from _memory(sums.outlook).items()


def _measured(sums: Sums, name: str, definition: ResourceDefinition) -> Metric | ResourceReason:
    assert definition.measure is not None
    found = sums.figure(definition.measure, definition.statistic)
    if found is not None:
        return _observed(*found)
    if name == "memory_limit_ratio" and {"rss_bytes", "working_set_bytes"} & sums.totals.keys():
        return ResourceReason.NO_MEMORY_LIMIT
    if name == "cpu_limit_ratio" and "cpu_cores" in sums.totals:
        return ResourceReason.NO_CPU_LIMIT
    return ResourceReason.NOT_SAMPLED


def _observed(value: float, n: int) -> Metric:
    return Metric(value=value, low=value, high=value, n=n)


def _memory(outlook: Outlook | None) -> dict[str, Metric | ResourceReason]:
    names = ("suspected_leak", "memory_growth_bytes_per_hour", "seconds_to_memory_limit")
    if outlook is None:
        return dict.fromkeys(names, ResourceReason.NOT_SAMPLED)
    growth = outlook.growth
    if growth.slope is None or growth.low is None or growth.high is None:
        return dict.fromkeys(names, ResourceReason.WARMING_UP)
    is_leak = growth.state is LeakState.SUSPECTED_LEAK
    per_hour = Metric(
        value=growth.slope * HOUR_SECONDS,
        low=growth.low * HOUR_SECONDS,
        high=growth.high * HOUR_SECONDS,
        n=growth.blocks,
    )
    left = ResourceReason.NOT_GROWING if not is_leak else _until_full(outlook)
    return dict(zip(names, (_observed(float(is_leak), growth.blocks), per_hour, left), strict=True))


def _until_full(outlook: Outlook) -> Metric | ResourceReason:
    growth = outlook.growth
    if outlook.limit_bytes is None or outlook.memory_bytes is None:
        return ResourceReason.NO_MEMORY_LIMIT
    assert growth.slope is not None
    assert growth.low is not None
    assert growth.high is not None
    # A suspected leak has a slope that is above 0 with its whole interval.
    left_bytes = max(0, outlook.limit_bytes - outlook.memory_bytes)
    soonest, usual, latest = (left_bytes / slope for slope in (growth.high, growth.slope, growth.low))
    return Metric(value=usual, low=soonest, high=latest, n=growth.blocks)
