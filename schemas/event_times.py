"""When the records of a batch happened: read all at once where that is faster, and refused where it cannot be true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from schemas.errors import Reason, Rejected, shown
from schemas.times import EARLIEST_MS, parse_time_ms, parse_times_ms

__all__ = ["event_times_ms"]

MANY = 200
"""Event times, from which on reading them all at once is faster than one by one."""


def event_times_ms(
    texts: Sequence[str | None], timestamps_ms: Sequence[int], *, now_ms: int, max_future_skew_ms: int
) -> tuple[npt.NDArray[np.int64], Mapping[int, Rejected]]:
    """Of all records, and by index why some have none that can be true.

    Args:
        texts: what each record says, None for what its Kafka timestamp says.
        timestamps_ms: those, milliseconds since 1970.
        now_ms: the reader's clock.
        max_future_skew_ms: how far an event time may be ahead of either clock.
    """
    bad: dict[int, Rejected] = {}
    times_ms = None
    if len(texts) >= MANY and None not in texts:
        times_ms = parse_times_ms(cast("Sequence[str]", texts))
    if times_ms is None:
        times_ms = np.zeros(len(texts), dtype=np.int64)
        for index, (text, timestamp_ms) in enumerate(zip(texts, timestamps_ms, strict=True)):
            try:
                times_ms[index] = timestamp_ms if text is None else parse_time_ms(text)
            except Rejected as rejected:
                bad[index] = rejected.with_traceback(None)
    clocks_ms = np.minimum(np.fromiter(timestamps_ms, np.int64, len(timestamps_ms)), now_ms)
    possible = (times_ms >= EARLIEST_MS) & (times_ms - max_future_skew_ms <= clocks_ms)
    for index in np.flatnonzero(~possible).tolist():
        if index not in bad:
            ahead_ms = int(times_ms[index]) - int(clocks_ms[index]) - max_future_skew_ms
            bad[index] = _implausible(texts[index], timestamps_ms[index], int(times_ms[index]), ahead_ms)
    return times_ms, bad


def _implausible(text: str | None, timestamp_ms: int, time_ms: int, ahead_ms: int) -> Rejected:
    named = f"the record's timestamp {timestamp_ms} ms" if text is None else f"event_time {shown(text)}"
    if time_ms < EARLIEST_MS:
        return Rejected(Reason.IMPLAUSIBLE_TIME, f"{named} is before the year 2000; check the sender's clock and unit")
    return Rejected(
        Reason.IMPLAUSIBLE_TIME,
        f"{named} is {ahead_ms} ms beyond max_future_skew; correct the sender's clock or zone",
    )
