"""How long labels take, in buckets that can be added up and taken back.

A delay is the label's event time less the prediction's. Buckets are eight to each doubling of the delay, so
a quantile is known to within 6 %; labels that come with their prediction or precede it share bucket 0.

    >>> [delay_bucket(delay_ms) for delay_ms in (-5, 0, 1, 1000, 2000)]
    [0, 0, 16, 95, 103]
    >>> bucket_delay_ms(95) <= 1000 < bucket_delay_ms(96)
    True
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = [
    "BUCKETS_PER_DOUBLING",
    "DELAY_PREFIX",
    "bucket_delay_ms",
    "delay_bucket",
    "delay_name",
    "delay_quantiles_ms",
]

DELAY_PREFIX = "d"
"""The sum of a bucket is named `d<bucket>`."""

BUCKETS_PER_DOUBLING = 8
"""Each bucket in use is one more sum to keep of every window and slice, and to add up with it."""


def delay_bucket(delay_ms: int) -> int:
    """The bucket of a delay."""
    if delay_ms <= 0:
        return 0
    mantissa, exponent = math.frexp(delay_ms)
    return BUCKETS_PER_DOUBLING * exponent + int((mantissa - 0.5) * 2 * BUCKETS_PER_DOUBLING) + BUCKETS_PER_DOUBLING


def delay_name(delay_ms: int) -> str:
    """The name of the sum that counts a delay."""
    return f"{DELAY_PREFIX}{delay_bucket(delay_ms)}"


def bucket_delay_ms(bucket: int) -> float:
    """The smallest delay of a bucket; 0 for bucket 0."""
    if bucket == 0:
        return 0.0
    exponent, part = divmod(bucket - BUCKETS_PER_DOUBLING, BUCKETS_PER_DOUBLING)
    return math.ldexp(0.5 + part / (2 * BUCKETS_PER_DOUBLING), exponent)


def middle_delay_ms(bucket: int) -> float:
    """What stands for all delays of a bucket."""
    return (bucket_delay_ms(bucket) + bucket_delay_ms(bucket + 1)) / 2 if bucket else 0.0


def delay_quantiles_ms(delays: Mapping[int, int], quantiles: Sequence[float]) -> tuple[float, ...] | None:
    """The delays within which these shares of the labels came, at the middle of their buckets.

    Args:
        delays: labels by bucket.
        quantiles: ascending, in (0, 1].

    Returns: None without labels.

    >>> delay_quantiles_ms({0: 3, 95: 1}, (0.5, 0.99))
    (0.0, 992.0)
    """
    total = sum(delays.values())
    if not total:
        return None
    found, seen = [], 0
    buckets = iter(sorted(delays))
    bucket = 0
    for quantile in quantiles:
        while seen < quantile * total:
            bucket = next(buckets)
            seen += delays[bucket]
        found.append(middle_delay_ms(bucket))
    return tuple(found)
