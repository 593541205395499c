"""How long the oldest record that is not counted yet has been waiting, from looks at where logs end.

    look    1 s   2 s   3 s   4 s        the log had ended at 120 by the look at 2 s, so what stands at 119
    end     100   120   120   150        has waited since then at the latest: 2 seconds at the look at 4 s
    counted 100   110   119   119

Nothing is read for it. The age is the least that is certain: what waited before the first look is not known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

__all__ = ["BacklogAges"]

KEPT_LOOKS = 512
"""Of each log; beyond them every second one is dropped, which makes an age a little smaller and never larger."""

Log = TypeVar("Log", bound=Hashable)


class BacklogAges(Generic[Log]):
    """The ends of logs as they were seen, as far back as something is not counted.

    >>> ages = BacklogAges()
    >>> for now, end, counted in ((1.0, 100, 100), (2.0, 120, 110), (3.0, 120, 119), (4.0, 150, 119)):
    ...     ages.observe({"log": end}, {"log": counted}, now_seconds=now)
    >>> ages.age_seconds("log", now_seconds=4.0)
    2.0
    """

    def __init__(self) -> None:
        self._seen: dict[Log, deque[tuple[int, float]]] = {}

    def observe(self, ends: Mapping[Log, int], counted: Mapping[Log, int], *, now_seconds: float) -> None:
        """Take in one look: where each log ends, and up to where it is counted; others are forgotten."""
        self._seen = {log: self._seen.get(log, deque()) for log in counted}
        for log, seen in self._seen.items():
            if ends.get(log, 0) > (seen[-1][0] if seen else 0):
                seen.append((ends[log], now_seconds))
            while seen and seen[0][0] <= counted[log]:
                seen.popleft()
            if len(seen) > KEPT_LOOKS:
                # The first tells the age; the last is where the log ends.
                self._seen[log] = deque([*list(seen)[:-1:2], seen[-1]])

    def age_seconds(self, log: Log, *, now_seconds: float) -> float:
        """How long the oldest record that is not counted has waited; 0 if there is none."""
        seen = self._seen.get(log)
        return now_seconds - seen[0][1] if seen else 0.0
