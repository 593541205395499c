"""The report on the resources of one target that serves a model version, for one window.

Its head is that of every report (`schemas.window_report`), so that whoever reads one kind reads the others. Figures are
observed, not sampled: `low` and `high` are the value itself, but for growth and what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from schemas.window_report import Metric, Window

__all__ = ["Memory", "ResourceReport"]


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What its memory looks like since the process was started; null where it is not known."""

    state: Literal["warming_up", "stable", "suspected_leak", "step"]
    bytes: int | None
    limit_bytes: int | None


class ResourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about what a target took in one window.

    `samples` is how many stand behind it; `memory` is as of the newest of them, null if none tells of memory.
    """

    kind: Literal["resources"] = "resources"
    model: str
    model_version: str
    segment: Mapping[str, str]
    window: Window
    status: Literal["open", "final"]
    revision: int
    event_id: str
    samples: int
    memory: Memory | None
    metrics: Mapping[str, Metric]
    undefined: Mapping[str, str]
    config_hash: str
    produced_at: str
