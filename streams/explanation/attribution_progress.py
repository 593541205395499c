"""How settled what is known of attributions is: what may still come, told by what has come.

    open          predictions of the window are due
    provisional   the base sample is in; labels, and with them wrong predictions, are due
    final         nothing can change

A model version has come as far as the newest of its predictions that was explained, since nothing else on the topic of
explanations tells; where nothing has been explained for an hour, by wall time. A window is final ten minutes of wall
time after its last label was due, which is what explainers may take, and together with the largest window that it is
in: so each explanation is in all windows of its prediction, or in none.
"""

from __future__ import annotations

import collections
import dataclasses

from streams.ledger.eras import Eras, settled_ms
from streams.monitored_model import HOUR_MS, MINUTE_MS, MonitoredModel
from streams.windows import WindowStatus, window_start_ms

__all__ = ["AttributionWindow", "Progress", "Settling", "closed_ms", "reached_ms", "status_of", "windows_of"]

EXPLAINING_MS = 10 * MINUTE_MS
SILENT_MS = HOUR_MS


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class AttributionWindow:
    """A report window."""

    start_ms: int
    size_ms: int

    @property
    def end_ms(self) -> int:
        """First moment after it."""
        return self.start_ms + self.size_ms


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a model version has come in event time, and how far it had come ten minutes of wall time ago."""

    reached_ms: int
    settled_ms: int


def reached_ms(*, newest_ms: int, heard_ms: int, now_ms: int) -> int:
    """How far a model version has come.

    Args:
        newest_ms: event time of the newest prediction that was explained.
        heard_ms: wall time at which an explanation was last read.
        now_ms: wall time.

    >>> reached_ms(newest_ms=5, heard_ms=HOUR_MS, now_ms=HOUR_MS + 1)
    5
    >>> reached_ms(newest_ms=5, heard_ms=HOUR_MS, now_ms=3 * HOUR_MS) == 2 * HOUR_MS
    True
    """
    return newest_ms if now_ms - heard_ms <= SILENT_MS else max(newest_ms, now_ms - SILENT_MS)


class Settling:
    """Remembers how far a model version had come, once a minute of the last ten."""

    def __init__(self) -> None:
        self._points: collections.deque[tuple[int, int]] = collections.deque()

    def note(self, reached_ms: int, *, now_ms: int) -> Progress:
        """How far it has come now. It has settled nothing before ten minutes are over."""
        points = self._points
        if not points or now_ms - points[-1][0] >= MINUTE_MS:
            points.append((now_ms, reached_ms))
        while len(points) > 1 and points[1][0] <= now_ms - EXPLAINING_MS:
            points.popleft()
        noted_ms, settled_ms = points[0]
        return Progress(reached_ms, settled_ms if noted_ms <= now_ms - EXPLAINING_MS else 0)


def status_of(
    window: AttributionWindow, progress: Progress, *, model: MonitoredModel, eras: Eras, lateness_ms: int
) -> WindowStatus:
    """How far the figures of a window can still move."""
    if progress.reached_ms < window.end_ms + lateness_ms:
        return WindowStatus.OPEN
    is_due = progress.settled_ms < closed_ms(window.end_ms - 1, model=model, eras=eras) + lateness_ms
    return WindowStatus.PROVISIONAL if is_due else WindowStatus.FINAL


def closed_ms(time_ms: int, *, model: MonitoredModel, eras: Eras) -> int:
    """When no label counts any more for any prediction of the largest window that holds a time."""
    largest_ms = max(model.report_windows_ms)
    return settled_ms(eras, window_start_ms(time_ms, size_ms=largest_ms) + largest_ms)


def windows_of(start_ms: int, model: MonitoredModel) -> list[AttributionWindow]:
    """The report windows that a base window is in."""
    return [
        AttributionWindow(window_start_ms(start_ms, size_ms=size_ms), size_ms) for size_ms in model.report_windows_ms
    ]
