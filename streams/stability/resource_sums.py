"""What the resource samples of a stretch of time add up to, and the metrics made from it.

Everything is a count, or a sum and a maximum of integers: bytes as they are, cores and ratios in millionths. So any
split of the samples, merged in any order, gives identical sums.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

from schemas.resource_sample import Gpu, Pressure, SentResourceSample
from streams.stability.block_minima import Growth

__all__ = ["MEASURES", "Outlook", "Statistic", "Sums", "measures_of", "memory_of"]

MILLIONTH = 1_000_000


class Statistic(enum.StrEnum):
    """How samples become one figure."""

    MEAN = "mean"
    LARGEST = "largest"


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """One number of a sample; `unit` is by what it is multiplied to be an integer."""

    unit: int = MILLIONTH


_BYTES = Measure(1)
_SHARE = Measure()

MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "cpu_cores": _SHARE,
        "cpu_limit_ratio": _SHARE,
        "cpu_throttled_ratio": _SHARE,
        "rss_bytes": _BYTES,
        "working_set_bytes": _BYTES,
        "memory_limit_ratio": _SHARE,
        "open_fds": _BYTES,
        "threads": _BYTES,
        "queue_length": _SHARE,
        "cpu_pressure_ratio": _SHARE,
        "memory_pressure_ratio": _SHARE,
        "io_pressure_ratio": _SHARE,
        "gpu_memory_ratio": _SHARE,
        "gpu_utilization_ratio": _SHARE,
        "gpu_temperature_celsius": _SHARE,
        "gpu_ecc_errors": _BYTES,
        "gpu_cache_ratio": _SHARE,
    }
)


class Outlook(msgspec.Struct, frozen=True, array_like=True):
    """What was known of the memory at the newest sample of a stretch of time.

    `memory_bytes` is what the limit is held against. Of two the later one holds.
    """

    time_ms: int
    growth: Growth
    memory_bytes: int | None = None
    limit_bytes: int | None = None


class Sums(msgspec.Struct, array_like=True):
    """Samples, restarts and kills, and by measure how many, their sum, their maximum."""

    samples: int = 0
    restarts: int = 0
    oom_kills: int = 0
    totals: dict[str, tuple[int, int, int]] = {}
    outlook: Outlook | None = None

    def add(self, name: str, value: int) -> None:
        """Count one number of a sample."""
        n, total, largest = self.totals.get(name, (0, 0, value))
        self.totals[name] = (n + 1, total + value, max(largest, value))

    def merge(self, other: Sums) -> None:
        """Add what another stretch of time adds up to."""
        self.samples += other.samples
        self.restarts += other.restarts
        self.oom_kills += other.oom_kills
        for name, (n, total, largest) in other.totals.items():
            mine_n, mine_total, mine_largest = self.totals.get(name, (0, 0, largest))
            self.totals[name] = (mine_n + n, mine_total + total, max(mine_largest, largest))
        if other.outlook is not None and (self.outlook is None or other.outlook.time_ms > self.outlook.time_ms):
            self.outlook = other.outlook

    def figure(self, name: str, statistic: Statistic) -> tuple[float, int] | None:
        """A figure of a measure with the number of samples behind it; None if no sample says it."""
        if name not in self.totals:
            return None
        n, total, largest = self.totals[name]
        unit = MEASURES[name].unit
        return (total / n / unit if statistic is Statistic.MEAN else largest / unit), n


def measures_of(sample: SentResourceSample) -> Iterator[tuple[str, int]]:
    """All numbers of a sample by their measure, as integers in its unit; what the sample lacks is left out."""
    for name, value in _numbers(sample):
        if value is not None:
            yield name, round(value * MEASURES[name].unit)


def _numbers(sample: SentResourceSample) -> Iterator[tuple[str, float | None]]:
    memory = sample.working_set_bytes if sample.working_set_bytes is not None else sample.rss_bytes
    gpu, pressure = sample.gpu or Gpu(), sample.pressure or Pressure()
    yield "cpu_cores", sample.cpu_cores
    yield "cpu_limit_ratio", _ratio(sample.cpu_cores, sample.cpu_limit_cores)
    yield "cpu_throttled_ratio", sample.cpu_throttled_ratio
    yield "rss_bytes", sample.rss_bytes
    yield "working_set_bytes", sample.working_set_bytes
    yield "memory_limit_ratio", _ratio(memory, sample.memory_limit_bytes)
    yield "open_fds", sample.open_fds
    yield "threads", sample.threads
    yield "queue_length", sample.queue_length
    yield "cpu_pressure_ratio", pressure.cpu_ratio
    yield "memory_pressure_ratio", pressure.memory_ratio
    yield "io_pressure_ratio", pressure.io_ratio
    yield "gpu_memory_ratio", _ratio(gpu.memory_used_bytes, gpu.memory_limit_bytes)
    yield "gpu_utilization_ratio", gpu.utilization_ratio
    yield "gpu_temperature_celsius", gpu.temperature_celsius
    yield "gpu_ecc_errors", gpu.ecc_errors
    yield "gpu_cache_ratio", gpu.cache_ratio


def memory_of(sample: SentResourceSample) -> tuple[int | None, int | None]:
    """The memory that a leak fills, and the memory that the limit is held against.

    A leak fills the process; a working set also holds files that are read, which come and go.
    """
    own = sample.rss_bytes if sample.rss_bytes is not None else sample.working_set_bytes
    limited = sample.working_set_bytes if sample.working_set_bytes is not None else sample.rss_bytes
    return own, limited


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
