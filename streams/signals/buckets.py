"""The buckets that values of signals are counted in: of either sign and any size, each at most 1.6 % wide, and zero.

A value is kept as a number of 32 bits (IEEE 754 binary32): its exponent and the first six bits behind the leading one
name its bucket, so every machine, worker and version puts a value into the same one, and counts add up. Buckets are
ordered as values are:

    bucket      -8128 ... -1   0   1 ...  8128     8129 ...
    first value -1.0           0           1.0     1.015625

What is smaller than 2 ** -126 is zero; what is larger than 3.4e38 is not finite. What stands for a bucket is within
0.8 % of everything in it.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

__all__ = ["VALUE_BYTES", "bounds_of", "buckets_of", "kept_values", "middle_of", "parts_of"]

VALUE_BYTES = 4

_MANTISSA_BITS = 23
_BUCKET_SHIFT = _MANTISSA_BITS - 6
_SIZE = 0x7FFF_FFFF
_SMALLEST = np.float32(2.0**-126)
_LARGEST = np.finfo(np.float32).max

Values = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


def kept_values(values: npt.NDArray[np.float64]) -> Values:
    """Values as they are kept; NaN in the place of what is not finite, or too large.

    >>> kept_values(np.array([0.1, -0.0, 1e-300, 1e300, np.nan])).tolist()
    [0.10000000149011612, 0.0, 0.0, nan, nan]
    """
    with np.errstate(over="ignore", under="ignore"):
        kept = values.astype(np.float32)
    kept[np.isinf(kept)] = np.nan
    kept[np.abs(kept) < _SMALLEST] = 0.0
    return kept


def buckets_of(values: Values) -> Integers:
    """The bucket of each value, none of which is NaN.

    >>> buckets_of(np.array([-1.0, 0.0, 1.0, 1.015, 1.016], dtype=np.float32)).tolist()
    [-8128, 0, 8128, 8128, 8129]
    """
    bits = values.view(np.int32).astype(np.int64)
    sizes = (bits & _SIZE) >> _BUCKET_SHIFT
    return np.where(bits < 0, -sizes, sizes)


def parts_of(values: Values) -> tuple[Integers, Integers]:
    """Whole numbers and exponents of values, none of which is NaN: value = number * 2 ** (exponent - 149)."""
    bits = values.view(np.int32).astype(np.int64)
    exponents = (bits & _SIZE) >> _MANTISSA_BITS
    numbers = (bits & ((1 << _MANTISSA_BITS) - 1)) | (1 << _MANTISSA_BITS)
    numbers[exponents == 0] = 0
    return np.where(bits < 0, -numbers, numbers), np.maximum(exponents - 1, 0)


@functools.lru_cache(maxsize=65_536)
def bounds_of(bucket: int) -> tuple[float, float]:
    """Where a bucket begins and ends; the end that is further from 0 is where the next one begins.

    >>> bounds_of(8128), bounds_of(0)
    ((1.0, 1.015625), (0.0, 0.0))
    """
    if bucket == 0:
        return 0.0, 0.0
    ends = np.array([abs(bucket), abs(bucket) + 1], dtype=np.int32) << _BUCKET_SHIFT
    near, far = np.minimum(ends.view(np.float32), _LARGEST).tolist()
    return (near, far) if bucket > 0 else (-far, -near)


@functools.lru_cache(maxsize=65_536)
def middle_of(bucket: int) -> float:
    """What stands for the values of a bucket: as far from its ends, in proportion; no digits that nobody knows.

    >>> middle_of(8128), middle_of(-8128), middle_of(0)
    (1.0078, -1.0078, 0.0)
    """
    low, high = bounds_of(bucket)
    return float(f"{2.0 * low * high / (low + high):.5g}") if bucket else 0.0
