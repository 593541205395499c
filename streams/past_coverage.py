"""What share of its labels a window should have by now, and in the end, judged by past windows of its model.

The past are the newest base windows that are final, of every version of the model and all its slices together: their
predictions and how long each label took. It takes no state of its own, and whoever looks at one watermark finds the
same.

    final base windows                        the window that is judged
    ... | 5m | 5m | 5m |                     start        end
        (the newest 96)  <--- horizon --->     |-----------|----- age -----> read up to W + allowed_lateness

A label that takes d is here for predictions made until d before the time read up to. Predictions are taken to be even
over the window, so with each label of the past goes the part of the window from its start to that moment.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping

from schemas.window_report import CoverageExpected
from streams.evaluation import ReportWindow
from streams.ledger.eras import Eras, settled_until_ms
from streams.monitored_model import MonitoredModel
from streams.pair_sums.delay import bucket_delay_ms, middle_delay_ms
from streams.windows import window_start_ms

__all__ = ["NO_PAST", "PAST_WINDOWS", "PastCoverage", "past_windows"]

PAST_WINDOWS = 96
"""Base windows of each version: eight hours of five minutes, and few enough to be read when a worker starts."""

DECIMALS = 3
"""Of a share. A report is news when it changes, and nobody asks for more."""


@dataclasses.dataclass(frozen=True, slots=True)
class PastCoverage:
    """Predictions of past windows, and their labels by the buckets of `streams.pair_sums.delay`."""

    predictions: int = 0
    delays: Mapping[int, int] = dataclasses.field(default_factory=dict)

    def __add__(self, other: PastCoverage) -> PastCoverage:
        return PastCoverage(self.predictions + other.predictions, Counter(self.delays) + Counter(other.delays))

    def expected(self, window: ReportWindow, *, horizon_ms: int, read_up_to_ms: int) -> CoverageExpected | None:
        """What a window of the model should have; None without a past.

        Args:
            window: of any size.
            horizon_ms: labels that take longer do not count in it, though they did in the past.
            read_up_to_ms: event time up to which records have been read.

        >>> past = PastCoverage(100, {103: 90})  # 90 of 100 labels came, after about two seconds
        >>> past.expected(ReportWindow(b"", 10_000, 0), horizon_ms=60_000, read_up_to_ms=7_000)
        CoverageExpected(now=0.645, final=0.9)
        """
        if not self.predictions:
            return None
        made_ms = max(1, min(window.size_ms, read_up_to_ms - window.start_ms))
        since_start_ms = read_up_to_ms - window.start_ms
        delays = {bucket: count for bucket, count in self.delays.items() if bucket_delay_ms(bucket) <= horizon_ms}
        here = sum(
            count * max(0.0, min(1.0, (since_start_ms - min(horizon_ms, middle_delay_ms(bucket))) / made_ms))
            for bucket, count in sorted(delays.items())
        )
        labelled = sum(delays.values())
        return CoverageExpected(
            now=round(here / self.predictions, DECIMALS), final=round(labelled / self.predictions, DECIMALS)
        )


NO_PAST = PastCoverage()


def past_windows(
    model_version: bytes, model: MonitoredModel, eras: Eras, *, watermark_ms: int
) -> Iterator[ReportWindow]:
    """The newest base windows that are final at a watermark, whether anything is in them or not."""
    base_ms = model.base_window_ms
    end_ms = window_start_ms(settled_until_ms(eras, watermark_ms), size_ms=base_ms)
    for start_ms in range(end_ms - base_ms, max(0, end_ms - (PAST_WINDOWS + 1) * base_ms), -base_ms):
        yield ReportWindow(model_version, base_ms, start_ms)
