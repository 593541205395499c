"""The least memory of each block of time, at three lengths of blocks, and what that says of a leak.

A leak that fills memory within the hour and one that takes a week need spans of different length. Each scale keeps
its last forty blocks; a sample belongs to one block of each. Whatever the order of samples within the allowed
lateness, and however often one comes, the minima are the same.

    block of the configuration     40 of them, such as    40 minutes
    6 of them                                              4 hours
    36 of them                                            24 hours

A verdict is given when a block ends. A suspicion has to be found three times in a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streams.stability.leak import LeakState, Trend, judge

__all__ = ["MOST_BLOCKS", "SCALES", "Growth", "MemoryBlocks"]

SCALES = (1, 6, 36)
"""Lengths of blocks, in blocks of the configuration."""
MOST_BLOCKS = 40
REPEATS = 3


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a target's memory: the state, and the growth in bytes per second with its 95 % interval.

    The three figures are None while nothing can be judged. `blocks` is how many of them it rests on.
    """

    state: LeakState
    slope: float | None = None
    low: float | None = None
    high: float | None = None
    blocks: int = 0


class _Scale(msgspec.Struct, array_like=True):
    """`minima` by the number of their block since 1970; the newest one goes on."""

    minima: dict[int, int] = {}
    suspicions: int = 0
    growth: Growth | None = None


class MemoryBlocks(msgspec.Struct, array_like=True):
    """The blocks of one process; another process begins anew."""

    block_ms: int
    scales: list[_Scale] = msgspec.field(default_factory=lambda: [_Scale() for _ in SCALES])

    def take(self, time_ms: int, memory_bytes: int) -> None:
        """Count one sample; what is older than all blocks that are kept changes nothing."""
        for length, scale in zip(SCALES, self.scales, strict=True):
            number = time_ms // (self.block_ms * length)
            known = scale.minima.get(number)
            if known is None or memory_bytes < known:
                scale.minima[number] = memory_bytes
            newest = max(scale.minima)
            if known is None and len(scale.minima) > 1 and number == newest:
                _judge(scale, newest=newest, block_seconds=self.block_ms * length / 1000)

    def growth(self) -> Growth:
        """The verdict: that of the shortest span in which a leak is suspected, else that of the longest judged."""
        judged = [scale.growth for scale in self.scales if scale.growth is not None]
        for growth in judged:
            if growth.state is LeakState.SUSPECTED_LEAK:
                return growth
        return judged[-1] if judged else Growth(state=LeakState.WARMING_UP)


def _judge(scale: _Scale, *, newest: int, block_seconds: float) -> None:
    """Look at the blocks that have ended now that another begins."""
    for number in [number for number in scale.minima if number < newest - MOST_BLOCKS]:
        del scale.minima[number]
    ended = sorted(number for number in scale.minima if number < newest)
    trend = judge([scale.minima[number] for number in ended], ended)
    if trend.slope is None:
        return
    scale.suspicions = scale.suspicions + 1 if trend.state is LeakState.SUSPECTED_LEAK else 0
    scale.growth = _growth(trend, scale, ended, block_seconds)


def _growth(trend: Trend, scale: _Scale, ended: Sequence[int], block_seconds: float) -> Growth:
    assert trend.slope is not None
    assert trend.low is not None
    assert trend.high is not None
    state = trend.state
    if state is LeakState.SUSPECTED_LEAK and scale.suspicions < REPEATS:
        state = scale.growth.state if scale.growth is not None else LeakState.WARMING_UP
    return Growth(
        state=state,
        slope=trend.slope / block_seconds,
        low=trend.low / block_seconds,
        high=trend.high / block_seconds,
        blocks=len(ended),
    )
