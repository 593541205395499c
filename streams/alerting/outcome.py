"""The words for what a window does to a rule, and why."""

from __future__ import annotations

import enum

__all__ = ["Grounds", "Outcome"]


class Outcome(enum.StrEnum):
    """What a window does to the fold."""

    BREACH = "breach"
    FINE = "fine"
    UNDECIDED = "undecided"
    """Not beyond the threshold for certain, and not yet final."""
    INSUFFICIENT = "insufficient"


class Grounds(enum.StrEnum):
    """Why. Closed: readers may branch on it."""

    FINAL = "final"
    """Tested once, when final."""
    EARLY = "early"
    """Beyond doubt although labels are missing, by a bound that may be looked at at any time."""
    CERTAIN = "certain"
    """Whatever the missing labels say."""
    POINT = "point"
    """The value itself is beyond the threshold; the rule asks for no confidence."""
    STATUS = "status"
    UNDEFINED = "undefined"
    SAMPLES = "samples"
    COVERAGE = "coverage"
    REFERENCE = "reference"
    """There is nothing to compare with."""
    FILLING = "filling"
    """A figure that is tested only once, and its window is not final."""
