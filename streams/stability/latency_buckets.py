"""The buckets that latencies are counted in: whole nanoseconds, each bucket at most 2 % wide.

Where a bucket begins is worked out in integers, so that every machine, worker and version puts a latency into the same
one, and counts of any windows, shards and workers add up. Up to 100 ns each nanosecond has its own; from there a bucket
begins 2 % after the one before it, rounded down:

    bucket       0    1    2   ...   100   101   102   103   ...       704
    begins at    0    1    2   ...   100   102   104   106   ...  12069843   ns

What stands for a bucket is within 1 % of everything in it. Latencies above two days count as two days.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["BUCKETS", "FIRSTS_MS", "LARGEST_NS", "LASTS_MS", "MIDDLES_MS", "NS_PER_MS", "bucket_of", "buckets_of"]

NS_PER_MS = 1_000_000
LARGEST_NS = 2 * 86_400 * 1000 * NS_PER_MS

Integers = npt.NDArray[np.int64]


def _starts_ns() -> Integers:
    starts = [0]
    while starts[-1] <= LARGEST_NS:
        starts.append(max(starts[-1] + 1, starts[-1] * 102 // 100))
    return np.array(starts, dtype=np.int64)


_STARTS_NS = _starts_ns()
"""Of every bucket, and of the one that would come next."""
_STARTS: Sequence[int] = _STARTS_NS.tolist()
BUCKETS = len(_STARTS_NS) - 1
"""How many there are."""
FIRSTS_MS: Sequence[float] = (_STARTS_NS[:-1] / NS_PER_MS).tolist()
"""The smallest latency of each bucket."""
LASTS_MS: Sequence[float] = ((_STARTS_NS[1:] - 1) / NS_PER_MS).tolist()
"""The largest latency of each bucket."""
MIDDLES_MS: Sequence[float] = [
    float(f"{2.0 * first * last / (first + last):.5g}") if last else 0.0
    for first, last in zip(FIRSTS_MS, LASTS_MS, strict=True)
]
"""What stands for the latencies of each bucket: as far from its ends, in proportion; no digits that nobody knows."""


def bucket_of(latency_ns: int) -> int:
    """The bucket of one latency."""
    return bisect.bisect_right(_STARTS, latency_ns) - 1


def buckets_of(latencies_ns: Integers) -> Integers:
    """The bucket of each latency, which lies between 0 and `LARGEST_NS`.

    >>> buckets_of(np.array([0, 1, 50, 101, 102, 12_300_000, LARGEST_NS])).tolist()
    [0, 1, 50, 100, 101, 704, 1536]
    """
    return np.searchsorted(_STARTS_NS, latencies_ns, side="right") - 1
