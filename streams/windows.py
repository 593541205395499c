"""Tumbling windows of event time: where they start, and how settled their figures are.

Windows are half-open, `[start, end)`, and aligned to the Unix epoch in UTC. All times are integer
milliseconds since the epoch. What may still change in a window is decided by the watermark W alone:

    start            end                end + horizon
      |---- open -----|---- provisional ----|---- final ----> W

The last prediction a window can hold is made at `end - 1`. Its label counts while the label's arrival is
at most `end - 1 + horizon`, and nothing read from now on arrives before W, so the window is settled once
`W > end - 1 + horizon`, which in whole milliseconds is `W >= end + horizon`.
"""

from __future__ import annotations

import enum
from collections.abc import Collection

__all__ = [
    "WindowStatus",
    "base_windows",
    "is_settled",
    "next_status_change_ms",
    "window_start_ms",
    "window_status",
]


class WindowStatus(enum.StrEnum):
    """How far a window's figures can still move."""

    OPEN = "open"
    """Predictions are still due: the watermark is before the end, or not known."""
    PROVISIONAL = "provisional"
    """Predictions are in, labels still due."""
    FINAL = "final"
    """Nothing that is read from now on can change it."""
    INCOMPLETE = "incomplete"
    """Input that may belong to it was lost; no watermark makes it final."""


def window_start_ms(time_ms: int, *, size_ms: int) -> int:
    """Return the start of the window of `size_ms` that holds `time_ms`.

    Floors towards the past, also before 1970.

    >>> window_start_ms(299_999, size_ms=300_000), window_start_ms(300_000, size_ms=300_000)
    (0, 300000)
    >>> window_start_ms(-1, size_ms=300_000)
    -300000
    """
    return time_ms - time_ms % size_ms


def base_windows(start_ms: int, *, size_ms: int, base_ms: int) -> range:
    """Return the starts of the base windows that make up the window `[start_ms, start_ms + size_ms)`.

    Raises:
        ValueError: `base_ms` does not divide `size_ms`, or `start_ms` is no start of such a window.

    >>> list(base_windows(600_000, size_ms=600_000, base_ms=300_000))
    [600000, 900000]
    """
    if size_ms % base_ms:
        raise ValueError(f"base window of {base_ms} ms does not divide a window of {size_ms} ms")
    if start_ms % size_ms:
        raise ValueError(f"{start_ms} is not the start of a window of {size_ms} ms")
    return range(start_ms, start_ms + size_ms, base_ms)


def is_settled(*, end_ms: int, horizon_ms: int, watermark_ms: int | None) -> bool:
    """Say whether every label that may still come is too late for every prediction of the window."""
    return watermark_ms is not None and watermark_ms >= end_ms + horizon_ms


def window_status(
    *, end_ms: int, horizon_ms: int, watermark_ms: int | None, missing: Collection[object] = ()
) -> WindowStatus:
    """Return the status of the window that ends (exclusively) at `end_ms`.

    Args:
        end_ms: first millisecond after the window.
        horizon_ms: how long after its prediction a label still counts.
        watermark_ms: smallest watermark over all input partitions; None while one of them is unknown.
        missing: what input was lost; anything in it makes the window incomplete for good.
    """
    if missing:
        return WindowStatus.INCOMPLETE
    if watermark_ms is None or watermark_ms < end_ms:
        return WindowStatus.OPEN
    if is_settled(end_ms=end_ms, horizon_ms=horizon_ms, watermark_ms=watermark_ms):
        return WindowStatus.FINAL
    return WindowStatus.PROVISIONAL


def next_status_change_ms(
    status: WindowStatus, *, end_ms: int, horizon_ms: int, watermark_ms: int | None
) -> int | None:
    """Return the watermark from which a window that has `status` at `watermark_ms` must be looked at again.

    None when the watermark alone changes nothing any more. An incomplete window keeps its status, but its
    unlabelled predictions become `never_labelled` when it settles, so that moment is returned for it.
    """
    settles_ms = end_ms + horizon_ms
    match status:
        case WindowStatus.OPEN:
            return end_ms
        case WindowStatus.PROVISIONAL:
            return settles_ms
        case WindowStatus.FINAL:
            return None
        case WindowStatus.INCOMPLETE:
            settled = is_settled(end_ms=end_ms, horizon_ms=horizon_ms, watermark_ms=watermark_ms)
            return None if settled else settles_ms
