"""The fold of a rule over its windows in order of start: when it breaks, for how long, and when it is fine again.

    windows        fine   BREACH   BREACH   (too few)   BREACH   fine   fine
    for: 2 windows   .    pending  firing    firing     firing    .      .
                          |<---------- the run ---------->|
    keep_firing_for: 1 window                             firing  firing .

Windows that pass neither samples nor coverage are no part of it. A run of breaches fires when it spans `for`, from the
start of its first window to the end of its last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from streams.alerting.outcome import Grounds, Outcome
from streams.alerting.rules import AlertRule

__all__ = ["NO_RUN", "Judged", "Run", "advance", "runs_of"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A window with its verdict, and the figures that an alert tells."""

    start_ms: int
    end_ms: int
    outcome: Outcome
    grounds: Grounds
    is_final: bool
    value: float | None
    n: int
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    coverage: float | None = None
    wanted: float | None = None
    undefined: str | None = None
    slices: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Consecutive breaches. `since_ms` is the start of the first, None if there are none; `until_ms` the end of the
    last. Once `is_firing`, it lasts until `keep_firing_for` has been fine."""

    since_ms: int | None = None
    until_ms: int = 0
    is_firing: bool = False

    def overlaps(self, other: Run) -> bool:
        """Whether both speak of the same time."""
        return (
            self.since_ms is not None
            and other.since_ms is not None
            and self.since_ms < other.until_ms
            and other.since_ms < self.until_ms
        )


NO_RUN = Run()


def advance(run: Run, window: Judged, rule: AlertRule) -> Run:
    """The run after one more window, which is a breach or fine."""
    if window.outcome is Outcome.BREACH:
        since_ms = window.start_ms if run.since_ms is None else run.since_ms
        return Run(since_ms, window.end_ms, run.is_firing or window.end_ms - since_ms >= rule.for_ms)
    if run.is_firing and window.end_ms < run.until_ms + rule.keep_firing_for_ms:
        return run
    return NO_RUN


def runs_of(run: Run, windows: Iterable[Judged], rule: AlertRule) -> Iterator[Run]:
    """The run as it stands, and after each window."""
    yield run
    for window in windows:
        run = advance(run, window, rule)
        yield run
