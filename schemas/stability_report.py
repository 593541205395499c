"""The report on how fast and how reliably a model version answered in one window, whether it was right or not.

Its head is that of the report on quality (`schemas.window_report`), and its key differs from that one's in the kind
alone: whoever keeps both finds the two of one version, segment and window beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from schemas.window_report import Metric, Window

__all__ = ["StabilityReport"]


class StabilityReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about latency and failures in one window, from open until final.

    `predictions` leaves out `failed`, of which `timed_out` are those whose status is `timeout`; `with_latency` counts
    predictions that tell how long they took. Labels change nothing in it, so while a window is `provisional` only
    predictions that come late can. `undefined` names the reason for each metric whose value is None.
    """

    kind: Literal["stability"] = "stability"
    model: str
    model_version: str
    segment: Mapping[str, str]
    window: Window
    status: Literal["open", "provisional", "final", "incomplete"]
    missing: tuple[str, ...] | UnsetType = UNSET
    revision: int
    event_id: str
    predictions: int
    failed: int
    timed_out: int
    with_latency: int
    metrics: Mapping[str, Metric]
    undefined: Mapping[str, str]
    config_hash: str
    produced_at: str
