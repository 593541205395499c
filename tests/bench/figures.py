"""What a benchmark prints and keeps: figures with their bars, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import operator
import statistics
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["HEAD", "Figure"]

WHAT_WIDTH, VALUE_WIDTH = 76, 11
HEAD = f"{'':<{WHAT_WIDTH}} {'median':>{VALUE_WIDTH}} {'minimum':>{VALUE_WIDTH}}"


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result.

    Args:
        samples: one for each repeat; at least one.
        bar: what the median must not be above (or below); None if there is none.
    """

    what: str
    samples: tuple[float, ...]
    unit: str
    bar: float | None = None
    within: Callable[[float, float], bool] = operator.le

    @property
    def value(self) -> float:
        """The median: a minimum alone would flatter."""
        return statistics.median(self.samples)

    @property
    def is_met(self) -> bool:
        """Whether the bar is; true without one."""
        return self.bar is None or self.within(self.value, self.bar)

    def line(self) -> str:
        """For a terminal.

        >>> print(Figure("worker CPU", (4.0, 3.0, 5.0), "us", 3).line()[WHAT_WIDTH:])
                4.00        3.00 us         <= 3 missed
        """
        least = f"{min(self.samples):>{VALUE_WIDTH},.2f}" if len(self.samples) > 1 else " " * VALUE_WIDTH
        sign = "<=" if self.within is operator.le else ">="
        bar = "" if self.bar is None else f"{sign} {self.bar:,.6g} {'met' if self.is_met else 'missed'}"
        return f"{self.what:<{WHAT_WIDTH}} {self.value:>{VALUE_WIDTH},.2f} {least} {self.unit:<10} {bar}".rstrip()

    def as_json(self) -> Mapping[str, Any]:
        """All of it, for programs."""
        return {
            "what": self.what,
            "median": self.value,
            "minimum": min(self.samples),
            "samples": list(self.samples),
            "unit": self.unit,
            "bar": self.bar,
            "met": None if self.bar is None else self.is_met,
        }
