"""Whether memory grows as a leak does: a trend through the least memory of each block of time.

The minimum of a block is what garbage collection leaves. A line through the minima by Theil and Sen does not follow
outliers. Growth is a suspected leak only if all of this holds:

    rising      the slope of the last three quarters, and that of their second half, are above 0 with confidence, and
                either would add more than 5 % and 20 MB over the whole span
    no step     without the one largest jump it is still rising
    no warm-up  it does not flatten: the second half is neither much slower than the first, nor slower for sure
    steady      seven in ten pairs of blocks more go up than down

`deploy/guides/stability.md` shows how often each kind of series is suspected. A warm-up that takes longer than the
span cannot be told from a leak by anybody until it flattens.

Source: Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63 (1968).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["FEWEST_BLOCKS", "LeakState", "Trend", "judge", "judge_many"]

FEWEST_BLOCKS = 20
"""With fewer, the quarter that is dropped and the halves that are compared hold too little."""

GROWTH_RATIO = 0.05
GROWTH_BYTES = 20_000_000
"""Over the span: what grows less is noise, or grows too slowly to matter yet."""
FLATTENED_RATIO = 0.4
"""A second half that is slower than this share of the first has flattened, whatever the noise."""
FLATTENING_RATIO = 0.75
"""One that is slower than this share is flattening if the intervals of the two slopes do not meet either."""
STEADINESS = 0.7
"""Least Kendall's tau: a random walk that ends high has rarely climbed so steadily."""
STEP_SHARE = 0.5
_Z = 1.959963984540054  # two-sided 95 %

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class LeakState(enum.StrEnum):
    """What the memory of a target looks like since it was started."""

    WARMING_UP = "warming_up"
    """Too short to be judged, or growing ever more slowly."""
    STABLE = "stable"
    SUSPECTED_LEAK = "suspected_leak"
    STEP = "step"
    """It grew once, as by another model or a larger cache, and not before or after."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A verdict, and the growth it rests on, in bytes per block with its 95 % interval.

    `slope`, `low` and `high` are None while there are too few blocks.
    """

    state: LeakState
    slope: float | None = None
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Line:
    slope: Floats
    low: Floats
    high: Floats
    tau: Floats


def judge(minima: Sequence[float], places: Sequence[int]) -> Trend:
    """Judge one target.

    Args:
        minima: least memory of each block, bytes, oldest first.
        places: the number of each block, rising; numbers are left out where there was no sample.

    >>> grows = [1e9 + 4e6 * at for at in range(40)]
    >>> judge(grows, range(40)).state, judge(grows[:10], range(10)).state
    (<LeakState.SUSPECTED_LEAK: 'suspected_leak'>, <LeakState.WARMING_UP: 'warming_up'>)
    """
    if len(minima) < FEWEST_BLOCKS:
        return Trend(state=LeakState.WARMING_UP)
    states, line = judge_many(np.array([minima], dtype=np.float64), np.array(places, dtype=np.float64))
    slope, low, high = (float(each[0]) for each in (line.slope, line.low, line.high))
    return Trend(state=states[0], slope=slope, low=low, high=high)


def judge_many(minima: Floats, places: Floats) -> tuple[list[LeakState], _Line]:
    """Judge many series of the same length at once.

    Args:
        minima: (series, blocks), at least `FEWEST_BLOCKS`; bytes.
        places: (blocks,), the number of each block.

    Returns: the state of each series, and its line over the last three quarters.
    """
    dropped = minima.shape[1] // 4
    kept, at = minima[:, dropped:], places[dropped:]
    middle = (kept.shape[1] + 1) // 2
    first, second = _line(kept[:, :middle], at[:middle]), _line(kept[:, middle:], at[middle:])
    whole = _line(kept, at)
    span = places[-1] - places[0] + 1
    needed = np.maximum(GROWTH_RATIO * np.median(kept, axis=1), GROWTH_BYTES)
    is_rising = (whole.low > 0) & (second.low > 0) & (whole.slope * span > needed) & (second.slope * span > needed)

    largest = np.diff(kept, axis=1).argmax(axis=1)
    is_behind = np.arange(kept.shape[1])[None, :] > largest[:, None]
    jump = np.diff(kept, axis=1)[np.arange(len(kept)), largest]
    levelled = _line(kept - np.where(is_behind, jump[:, None], 0.0), at)
    grows_without_it = (levelled.low > 0) & (levelled.slope * span > STEP_SHARE * needed)

    is_flattening = (second.slope < FLATTENED_RATIO * first.slope) | (
        (second.slope < FLATTENING_RATIO * first.slope) & (second.high < first.low)
    )
    is_leak = is_rising & grows_without_it & ~is_flattening & (whole.tau > STEADINESS)
    is_warming = is_rising & grows_without_it & is_flattening
    is_step = _stepped(kept, is_behind) > needed
    is_step &= jump > STEP_SHARE * needed
    return [_state(*flags) for flags in zip(is_leak, is_warming, is_step, strict=True)], whole


def _state(is_leak: bool, is_warming: bool, is_step: bool) -> LeakState:
    if is_leak:
        return LeakState.SUSPECTED_LEAK
    if is_warming:
        return LeakState.WARMING_UP
    return LeakState.STEP if is_step else LeakState.STABLE


def _line(values: Floats, at: Floats) -> _Line:
    """Theil's and Sen's line of each row; ties narrow no interval here, which errs on the side of wider ones."""
    count = values.shape[1]
    left, right = np.triu_indices(count, 1)
    rises = values[:, right] - values[:, left]
    slopes = np.sort(rises / (at[right] - at[left]), axis=1)
    pairs = slopes.shape[1]
    spread = _Z * np.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    high = min(int(np.round((pairs + spread) / 2)), pairs - 1)
    low = max(int(np.round((pairs - spread) / 2)) - 1, 0)
    return _Line(np.median(slopes, axis=1), slopes[:, low], slopes[:, high], np.sign(rises).mean(axis=1))


def _stepped(values: Floats, is_behind: Flags) -> Floats:
    """How much higher the middle of the blocks behind the jump is than that of those before it."""
    before = np.nanmedian(np.where(is_behind, np.nan, values), axis=1)
    behind = np.nanmedian(np.where(is_behind, values, np.nan), axis=1)
    return np.asarray(behind - before, dtype=np.float64)
