"""One alert as it is stored: whose rule it is, which windows it is about, its labels, and how it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from streams.alerting.life_cycle import AlertState
from streams.alerting.rules import Series

__all__ = ["MONITOR", "AlertRecord"]

MONITOR = bytes(8)
"""In place of a model version: the alerts about the monitor itself."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AlertRecord:
    """An alert with its state.

    `rule` is the identity of its rule, `labels` are those that it is published with. `series` is None for an alert that
    is about the monitor itself.
    """

    rule: str
    group: str
    alert: str
    labels: Mapping[str, str]
    series: Series | None
    state: AlertState
