"""Which window a report's key names, and which like one a day or a week before it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from schemas.times import parse_time_ms
from schemas.window_report import related_key
from streams.alerting.observation import JudgedReport
from streams.alerting.rules import AlertRule
from streams.windows import WindowStatus

__all__ = ["keys_before", "start_of_key"]


def start_of_key(key: bytes) -> int:
    """The start of the window that a report's key names, milliseconds."""
    return parse_time_ms(json.loads(key)[5])


def keys_before(key: bytes, report: JudgedReport, rules: Iterable[AlertRule]) -> set[bytes]:
    """The keys of the like windows that rules compare a final report with."""
    if report.status != WindowStatus.FINAL:
        return set()
    backs_ms = {rule.when.against.back_ms for rule in rules if rule.when.against is not None}
    return {related_key(key, earlier_ms=back_ms) for back_ms in backs_ms if back_ms is not None}
