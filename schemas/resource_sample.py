"""A resource sample: what one process, or one container, that serves a model takes at one moment.

`SentResourceSample` is the JSON object as probes send it, checked while it is parsed. Units are closed: bytes,
cores, seconds, and ratios from 0 to 1. What a probe cannot see is absent, never 0.

One sample is identified by (target, event time). `oom_kills` only ever grows while a container lives, so that a
sample that is lost loses no kill; `process_start_time` changes exactly when the process was started anew.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.prediction import Name, Text

__all__ = ["Gpu", "Pressure", "SentResourceSample"]

MAX_COUNT = 2**63 - 1

_Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
_Limit = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
_Ratio = Annotated[float, Meta(ge=0, le=1)]
_NotNegative = Annotated[float, Meta(ge=0)]
_Positive = Annotated[float, Meta(gt=0)]


class Gpu(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """All graphics processors that the target uses, together.

    `utilization_ratio` is their mean, `temperature_celsius` that of the hottest, `ecc_errors` the uncorrected ones
    since the driver was loaded, `cache_ratio` how full an inference server's cache of keys and values is.
    """

    memory_used_bytes: _Count | None = None
    memory_limit_bytes: _Limit | None = None
    utilization_ratio: _Ratio | None = None
    temperature_celsius: float | None = None
    ecc_errors: _Count | None = None
    cache_ratio: _Ratio | None = None


class Pressure(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Share of the last ten seconds in which something of the target waited for a resource.

    Source: Linux, Documentation/accounting/psi.rst, `some avg10`.
    """

    cpu_ratio: _Ratio | None = None
    memory_ratio: _Ratio | None = None
    io_ratio: _Ratio | None = None


class SentResourceSample(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The fields of a resource sample on the wire."""

    target: Name
    model: Name
    model_version: Text | None = None
    event_time: str | None = None
    cpu_cores: _NotNegative | None = None
    cpu_limit_cores: _Positive | None = None
    cpu_throttled_ratio: _Ratio | None = None
    rss_bytes: _Count | None = None
    working_set_bytes: _Count | None = None
    memory_limit_bytes: _Limit | None = None
    open_fds: _Count | None = None
    threads: _Count | None = None
    gpu: Gpu | None = None
    process_start_time: str | None = None
    oom_kills: _Count | None = None
    pressure: Pressure | None = None
    queue_length: _NotNegative | None = None
