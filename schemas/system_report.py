"""The report of a worker on itself and on the ledger that it counts into, for one window of wall time.

Its head is that of every report (`schemas.window_report`), with an empty model and version and the worker as its
segment. Figures are observed, not sampled: `low` and `high` are the value itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from schemas.window_report import Metric, Window

__all__ = ["SystemReport"]


class SystemReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker has seen of itself in one window, from open until final.

    `samples` is how often it looked. `fates` says of the whole ledger, by topic, how many records were `read` and what
    became of them, as of the last look; they add up to those read unless `violations` says what does not.
    """

    kind: Literal["system"] = "system"
    model: str = ""
    model_version: str = ""
    segment: Mapping[str, str]
    window: Window
    status: Literal["open", "final"]
    revision: int
    event_id: str
    samples: int
    address: str
    program_version: str
    fates: Mapping[str, Mapping[str, int]]
    violations: tuple[str, ...]
    metrics: Mapping[str, Metric]
    undefined: Mapping[str, str]
    config_hash: str
    produced_at: str
