"""Models that nobody would want to have explained: the predictors of `tests.bench.explained`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CLASSES", "hang", "slow"]

CLASSES = tuple(f"c{number}" for number in range(5))
BUSY_SECONDS = 0.1


def slow(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Keep a core busy for a while, whatever is asked."""
    until = time.process_time() + BUSY_SECONDS
    while time.process_time() < until:
        pass
    return np.full((len(rows), len(CLASSES)), 1 / len(CLASSES))


def hang(rows: npt.NDArray[Any]) -> None:
    """Never answer."""
    time.sleep(3600)
