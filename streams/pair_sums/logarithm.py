"""The natural logarithm from additions, multiplications and divisions alone.

Whoever takes a contribution back must compute the same bits as whoever added it, perhaps on another machine
years later; the logarithms of C libraries differ in the last bit. This one is within 3 units in the last place.

    log a/b = 2 artanh s,  s = (a - b) / (a + b),  after factors of 2 have been taken out so that |s| <= 0.172
"""

from __future__ import annotations

import math

from streams.pair_sums.exact_sum import Real

__all__ = ["LARGEST_S", "LN2_HIGH", "LN2_LOW", "SQRT_HALF", "log", "log1p_ratio", "twice_artanh"]

SQRT_HALF = 0.7071067811865476
LN2_HIGH = 0.6931471803691238
"""ln 2 with its last 21 bits left out, so that its product with an exponent is exact."""
LN2_LOW = 1.9082149292705877e-10
ODDS = (21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0)
LARGEST_S = 0.17157287525380990
"""(sqrt 2 - 1) / (sqrt 2 + 1)."""


def log(value: float) -> float:
    """Return the natural logarithm of a positive, normal double."""
    mantissa, exponent = math.frexp(value)
    if mantissa < SQRT_HALF:
        mantissa, exponent = mantissa * 2.0, exponent - 1
    return exponent * LN2_HIGH + (twice_artanh((mantissa - 1.0) / (mantissa + 1.0)) + exponent * LN2_LOW)


def log1p_ratio(a: float, b: float) -> float:
    """Return log((1 + a) / (1 + b)) of two numbers that are not negative, exact also where they are close."""
    s = (a - b) / (2.0 + a + b)
    if -LARGEST_S <= s <= LARGEST_S:
        return twice_artanh(s)
    return log((1.0 + a) / (1.0 + b))


def twice_artanh(s: Real) -> Real:
    """Of a double, or of each of many: 2 (s + s**3 / 3 + s**5 / 5 + ...) up to s**21, for |s| <= 0.172; the
    next term is below 2 ** -60."""
    square = s * s
    series = 0.0 * s
    for odd in ODDS:
        series = (series + 1.0 / odd) * square
    return 2.0 * s + 2.0 * s * series
