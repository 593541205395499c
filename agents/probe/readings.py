"""What the sources of a probe tell, in the units of a resource sample, and what can be wrong with them.

`None` is not known. CPU is told as seconds used so far; the cores of a sample are the growth between two readings.
"""

from __future__ import annotations

import dataclasses
import enum

from schemas.resource_sample import Gpu, Pressure

__all__ = ["CpuUse", "Reading", "Trouble", "TroubleReason", "merged"]


class TroubleReason(enum.StrEnum):
    """Why a target could not be read. Closed: each is counted."""

    NO_PROCESS = "no_process"
    PERMISSION_DENIED = "permission_denied"
    NO_CGROUP = "no_cgroup"
    SCRAPE_FAILED = "scrape_failed"
    SCRAPE_TIMED_OUT = "scrape_timed_out"
    SCRAPE_TOO_LARGE = "scrape_too_large"
    SCRAPE_NOT_METRICS = "scrape_not_metrics"


class Trouble(Exception):
    """A target cannot be read now; it is looked for again. `message` names it, and what to do."""

    def __init__(self, reason: TroubleReason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclasses.dataclass(frozen=True, slots=True)
class CpuUse:
    """Seconds of CPU used so far by each part of a target; a part that was not there before used all since."""

    seconds: dict[object, float]

    def since(self, earlier: CpuUse) -> float:
        """Seconds used since an earlier reading, by the parts that are left."""
        return sum(max(0.0, used - earlier.seconds.get(part, 0.0)) for part, used in self.seconds.items())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at a target. `periods` and `throttled` are of the scheduler, so far."""

    cpu: CpuUse | None = None
    cpu_limit_cores: float | None = None
    periods: int | None = None
    throttled: int | None = None
    rss_bytes: int | None = None
    working_set_bytes: int | None = None
    memory_limit_bytes: int | None = None
    open_fds: int | None = None
    threads: int | None = None
    gpu: Gpu | None = None
    start_ms: int | None = None
    oom_kills: int | None = None
    pressure: Pressure | None = None
    queue_length: float | None = None


def merged(first: Reading, second: Reading) -> Reading:
    """What the first tells, and the second where the first tells nothing."""
    return Reading(
        **{
            field.name: getattr(second if getattr(first, field.name) is None else first, field.name)
            for field in dataclasses.fields(Reading)
        }
    )
