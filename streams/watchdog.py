"""Says when a worker has stopped getting on although nothing outside keeps it from doing so.

    sign of life                          must change within         not watched while
    offset counted of a partition         three minutes              at its end, paused or stopped on purpose
    rebalances ended                      three minutes              reading
    answers of the consumer's thread      half a minute

Nothing is held against a worker while Redis or the broker does not answer: starting it again would not help. Nor is
time in which the whole process stood still, as one that is frozen or on a machine that sleeps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from streams.ledger.parts import Source

__all__ = ["Progress", "Signs", "Watchdog", "WatchdogLimits"]

LONGEST_STEP_SECONDS = 5.0
"""Between two looks; what is beyond it nobody has lived through."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogLimits:
    """After how many seconds without a sign of life a worker is given up."""

    offset_seconds: float = 180.0
    """Many times what the slowest batch takes."""
    rebalance_seconds: float = 180.0
    """A group may wait a minute for members that do not answer, and as long again for those that take over."""
    thread_seconds: float = 30.0
    """It sends the heartbeats that keep this worker in its group."""


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far every shard has counted a partition, and how many offsets are left."""

    applied: int
    left: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What is seen of a worker at one moment.

    `partitions` are those that it owns and that are neither paused nor stopped. `rebalances_ended` and
    `thread_answers` only grow.
    """

    is_reading: bool
    rebalances_ended: int
    thread_answers: int
    partitions: Mapping[Source, Progress]


@dataclasses.dataclass(slots=True)
class Watchdog:
    """Remembers since when each sign of life has been the same."""

    limits: WatchdogLimits = dataclasses.field(default_factory=WatchdogLimits)
    _seen_seconds: float | None = None
    _same: dict[str, tuple[int, float]] = dataclasses.field(default_factory=dict)

    def forgive(self) -> None:
        """Start anew, because something outside does not answer."""
        self._same.clear()
        self._seen_seconds = None

    def observe(self, signs: Signs, *, now_seconds: float) -> str | None:
        """Look at a worker whose Redis and broker answer; `now_seconds` is monotonic time.

        Returns: why it should be started again; None if it gets on.
        """
        passed = 0.0 if self._seen_seconds is None else min(now_seconds - self._seen_seconds, LONGEST_STEP_SECONDS)
        self._seen_seconds = now_seconds
        watched = {str(source): each.applied for source, each in signs.partitions.items() if each.left > 0}
        watched["the consumer's thread"] = signs.thread_answers
        if not signs.is_reading:
            watched["the group"] = signs.rebalances_ended
        self._same = {name: self._since(name, sign, passed) for name, sign in watched.items()}
        for source, each in signs.partitions.items():
            if self._lasts(str(source), self.limits.offset_seconds):
                return (
                    f"{source} has stood at offset {each.applied} for {self.limits.offset_seconds:g} s with "
                    f"{each.left} offsets to read"
                )
        if self._lasts("the group", self.limits.rebalance_seconds):
            return f"the group has not said for {self.limits.rebalance_seconds:g} s which partitions to read"
        if self._lasts("the consumer's thread", self.limits.thread_seconds):
            return f"the consumer's thread has not answered for {self.limits.thread_seconds:g} s"
        return None

    def _since(self, name: str, sign: int, passed: float) -> tuple[int, float]:
        before, seconds = self._same.get(name, (sign, -passed))
        return (sign, seconds + passed) if before == sign else (sign, 0.0)

    def _lasts(self, name: str, limit_seconds: float) -> bool:
        return name in self._same and self._same[name][1] >= limit_seconds
