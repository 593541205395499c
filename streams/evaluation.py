"""Which windows are due for a report, when a window may be revised again, and how their counts are summed.

A changed base window touches one window of every report size. Revisions of one window are spaced, more
widely as it ages; a change of status is never held back:

    start        end                              end + horizon            + keep_windows
      |-- open ---|------------ provisional ------------|------ final ----------|- forgotten
      r  r  r  r  R  r   r    r      r         r        R
                  (r: spaced by max(interval, 1 % of the age), R: at once)
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping

from schemas.times import parse_time_ms
from streams.identity import ABSENT, ANY_LABEL, FAILED, OTHER, OTHER_WRONG, SUM, model_version_hash, model_version_name
from streams.monitored_model import MonitoredModel
from streams.pair_sums.delay import DELAY_PREFIX
from streams.pair_sums.lists import class_of, named_by
from streams.reports import SliceCounts
from streams.signals.sums import SIGNAL_PREFIX, totals_by_signal
from streams.stability.latency_sums import LATENCY_PREFIX
from streams.windows import WindowStatus, next_status_change_ms, window_start_ms, window_status

__all__ = [
    "RESERVED_NAMES",
    "Publication",
    "ReportWindow",
    "is_final_published",
    "may_revise",
    "next_round_ms",
    "segment_of_key",
    "slice_counts",
    "touched_windows",
    "window_of_key",
]

AGE_SHARE = 100
"""A revision may come after this part of the window's age: 1 %."""

RESERVED_NAMES: Mapping[bytes, str] = {
    OTHER: "__other__",
    OTHER_WRONG: "__other_wrong__",
    ANY_LABEL: "*",
    model_version_hash("__other__", "__other__"): model_version_name("__other__", "__other__"),
}
"""Names that no shard needs to have written."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class ReportWindow:
    """A window of one model version that has reports, one for each slice. Ordered inner windows first."""

    model_version: bytes
    size_ms: int
    start_ms: int

    @property
    def end_ms(self) -> int:
        """First millisecond after the window."""
        return self.start_ms + self.size_ms

    def forgotten_after_ms(self, *, horizon_ms: int, keep_windows_ms: int) -> int:
        """The last watermark at which its reports are kept."""
        return self.end_ms + horizon_ms + keep_windows_ms

    def status(self, watermark_ms: int, *, horizon_ms: int) -> WindowStatus:
        """Its status at a watermark, as long as no input is lost."""
        return window_status(end_ms=self.end_ms, horizon_ms=horizon_ms, watermark_ms=watermark_ms)

    def due_ms(self, *, watermark_ms: int, horizon_ms: int, keep_windows_ms: int) -> int:
        """The watermark from which the window has to be looked at again though its counts did not change."""
        changes_ms = next_status_change_ms(
            self.status(watermark_ms, horizon_ms=horizon_ms),
            end_ms=self.end_ms,
            horizon_ms=horizon_ms,
            watermark_ms=watermark_ms,
        )
        if changes_ms is not None:
            return changes_ms
        return self.forgotten_after_ms(horizon_ms=horizon_ms, keep_windows_ms=keep_windows_ms) + 1


@dataclasses.dataclass(frozen=True, slots=True)
class Publication:
    """When a window's report was last published: wall time, and the watermark it was made at."""

    published_ms: int
    watermark_ms: int


def touched_windows(model_version: bytes, base_start_ms: int, model: MonitoredModel) -> Iterator[ReportWindow]:
    """The report windows that contain a base window, one of each size."""
    for size_ms in model.report_windows_ms:
        yield ReportWindow(model_version, size_ms, window_start_ms(base_start_ms, size_ms=size_ms))


def window_of_key(model_version: bytes, key: bytes) -> ReportWindow:
    """The window that a report's key names."""
    *_, size_seconds, start = json.loads(key)
    return ReportWindow(model_version, size_seconds * 1000, parse_time_ms(start))


def segment_of_key(key: bytes) -> Mapping[str, str]:
    """The slice that a report's key names."""
    segment: Mapping[str, str] = json.loads(key)[3]
    return segment


def may_revise(
    window: ReportWindow,
    last: Publication | None,
    *,
    now_ms: int,
    watermark_ms: int,
    horizon_ms: int,
    interval_ms: int,
) -> bool:
    """Say whether a window whose counts changed may be published now.

    Its age is judged twice and the younger view decides: by the wall clock since its end, and by the
    watermark since its start. Old data that is replayed fast is old by the clock, yet moves on in event time.
    """
    if last is None:
        return True
    if window.status(watermark_ms, horizon_ms=horizon_ms) != window.status(last.watermark_ms, horizon_ms=horizon_ms):
        return True
    by_clock_ms = max(interval_ms, (now_ms - window.end_ms) // AGE_SHARE)
    by_watermark_ms = max(interval_ms, (watermark_ms - window.start_ms) // AGE_SHARE)
    return (
        now_ms - last.published_ms >= by_clock_ms
        or watermark_ms - last.watermark_ms >= by_watermark_ms
        # A clock that was set back must not hold a window for as long as it was wrong.
        or now_ms < last.published_ms - interval_ms
    )


def next_round_ms(interval_ms: int, *, took_ms: float) -> float:
    """How long after the end of a round that took so long the next one begins: an interval after this one began, but
    rounds that take long leave half of one for counting.

    >>> next_round_ms(1000, took_ms=300), next_round_ms(1000, took_ms=2000)
    (700, 500.0)
    """
    return max(interval_ms - took_ms, interval_ms / 2)


def is_final_published(window: ReportWindow, last: Publication | None, *, horizon_ms: int) -> bool:
    """Say whether the window's last report was its final one: a watermark that leaps leaves no time for it before."""
    return last is not None and last.watermark_ms >= window.end_ms + horizon_ms


def slice_counts(pairs: Mapping[tuple[bytes, bytes], int], names: Mapping[bytes, str]) -> SliceCounts:
    """Counts by hash as counts by name.

    Raises:
        KeyError: a class or a signal has no name in `names`; its argument is the hash.
    """
    cells: dict[tuple[str | None, str], int] = {}
    sums: dict[str, int] = {}
    delays: dict[int, int] = {}
    latencies: dict[str, int] = {}
    signals: dict[str, int] = {}
    failed = 0
    by_kind = sums, latencies, signals
    for (label, prediction), count in pairs.items():
        if label == SUM:
            kind, name, hashed = _sum_named(prediction)
            if kind == _DELAY:
                delays[int(name)] = count
            else:
                by_kind[kind][name if hashed is None else named_by(name, names[hashed])] = count
        elif label == FAILED:
            failed += count
        else:
            labelled = None if label == ABSENT else names[label]
            cells[labelled, "" if prediction == ABSENT else names[prediction]] = count
    totals = {names[signal]: total for signal, total in totals_by_signal(signals).items()}
    return SliceCounts(cells, failed, sums, delays, latencies, totals)


_OTHER_SUM, _LATENCY, _SIGNAL, _DELAY = range(4)


@functools.lru_cache(maxsize=65_536)
def _sum_named(name: bytes) -> tuple[int, str, bytes | None]:
    """What kind of sum has a name, the name as text (of a delay, its bucket), and the hash of the class in it if there
    is one. Remembered, because windows and slices have the same names."""
    text = name.decode()
    if text.startswith(LATENCY_PREFIX):
        return _LATENCY, text, None
    if text.startswith(SIGNAL_PREFIX):
        return _SIGNAL, text, None
    if text.startswith(DELAY_PREFIX):
        return _DELAY, text.removeprefix(DELAY_PREFIX), None
    return _OTHER_SUM, text, class_of(name)
