"""What a log costs at the margin: the whole of it less its beginning, at the same pace of event time.

So starting Python, joining the group and closing the windows are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tests.bench.backlog import Shape
from tests.bench.workers import Run

__all__ = ["Marginal", "marginal"]


@dataclasses.dataclass(frozen=True, slots=True)
class Marginal:
    """The difference between two runs of one shape."""

    small: Run
    large: Run

    @property
    def records(self) -> int:
        """Predictions and labels."""
        return self.large.expected.records - self.small.expected.records

    @property
    def pairs(self) -> int:
        """Predictions with a label."""
        return self.large.expected.pairs - self.small.expected.pairs

    @property
    def worker_seconds(self) -> float:
        """Of processor time."""
        return self.large.cost.own_seconds - self.small.cost.own_seconds

    def server_seconds(self, name: str) -> float:
        """Of processor time."""
        return self.large.cost.server_seconds[name] - self.small.cost.server_seconds[name]

    @property
    def pairs_per_core_second(self) -> float:
        """Of worker and Redis together."""
        return self.pairs / (self.worker_seconds + self.server_seconds("redis"))

    @property
    def records_per_second(self) -> float:
        """By the clock."""
        return self.records / (self.large.cost.wall_seconds - self.small.cost.wall_seconds)


def marginal(count: Callable[[Shape], Run], shape: Shape, *, small: int) -> Marginal:
    """Count the first so many predictions of a shape, then all.

    Args:
        count: counts a log of a shape, exactly.
    """
    return Marginal(count(dataclasses.replace(shape, predictions=small)), count(shape))
