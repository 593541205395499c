"""What a check says: how things stand, what was seen, and what to do about it."""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["Finding", "Verdict"]


class Verdict(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Counts are right; they are at risk, or late."""
    FAILED = "failed"
    """Counts are wrong or will be, or cannot be had."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's report. `remedy` is empty where there is nothing to do."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""
