"""Exact binomial tails: how likely so few, or so many, successes are if the true share is at a limit.

In logarithms and from the standard library: the tails of a window of a million labels are far below the smallest
double, and a worker does without SciPy, which is the tests' oracle.
"""

from __future__ import annotations

import math

__all__ = ["log_beta", "log_beta_share", "log_tail"]

_TINY = 1e-300
_PRECISION = 1e-15
_MOST_STEPS = 100_000
"""The fraction converges within a few times the root of the larger parameter: enough for 10^9 labels."""


def log_tail(successes: int, n: int, *, share: float, is_below: bool) -> float:
    """Return the logarithm of P(X <= successes), or of P(X >= successes), for X binomial(n, share).

    Args:
        successes: 0 to n.
        n: trials.
        share: the limit, in [0, 1].
        is_below: the lower tail; else the upper one.

    >>> round(math.exp(log_tail(3, 10, share=0.5, is_below=True)), 6)
    0.171875
    """
    if not is_below:
        return log_tail(n - successes, n, share=1.0 - share, is_below=True)
    if successes >= n or share <= 0.0:
        return 0.0
    if successes < 0 or share >= 1.0:
        return -math.inf
    return log_beta_share(1.0 - share, n - successes, successes + 1)


def log_beta(a: float, b: float) -> float:
    """Logarithm of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def log_beta_share(x: float, a: float, b: float) -> float:
    """Return the logarithm of the regularised incomplete beta function I_x(a, b): P(B <= x) for B of Beta(a, b).

    Source: the continued fraction of NIST's Digital Library of Mathematical Functions, 8.17.22, by Lentz' method.
    """
    if x <= 0.0:
        return -math.inf
    if x >= 1.0:
        return 0.0
    if x > (a + 1.0) / (a + b + 2.0):
        return math.log1p(-min(1.0 - _PRECISION, math.exp(log_beta_share(1.0 - x, b, a))))
    log_front = a * math.log(x) + b * math.log1p(-x) - log_beta(a, b) - math.log(a)
    return min(0.0, log_front + math.log(_fraction(x, a, b)))


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for step in range(1, _MOST_STEPS):
        twice = 2 * step
        for coefficient in (
            step * (b - step) * x / ((a + twice - 1) * (a + twice)),
            -(a + step) * (a + b + step) * x / ((a + twice) * (a + twice + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + coefficient * d)
            c = _away_from_zero(1.0 + coefficient / c)
            value *= c * d
        if abs(c * d - 1.0) < _PRECISION:
            return value
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
