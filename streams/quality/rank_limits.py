"""Between which of some values their quantiles lie, whatever the values are distributed like.

The number of values below a quantile is binomial: of n values, those at two ranks hold it with a given probability.
With few of them no rank is low, or high, enough.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["rank_limits"]


@functools.lru_cache(maxsize=4096)
def rank_limits(n: int, shares: tuple[float, ...], *, confidence_level: float) -> tuple[Sequence[int], Sequence[int]]:
    """Of each quantile the ranks, from 1, between which it lies; 0 or n + 1 where no value bounds it.

    Remembered, because it is half of the work, and most slices of most windows have one of a few hundred numbers.

    Args:
        n: how many values, at least 1.
        shares: of values that each quantile is not exceeded by, ascending, e.g. 0.5.
        confidence_level: two-sided, e.g. 0.95.

    Source: H. A. David and H. N. Nagaraja, Order Statistics, 7.1.

    >>> rank_limits(100, (0.5,), confidence_level=0.95)
    ([40], [61])
    """
    tail = (1.0 - confidence_level) / 2.0
    below, above = _binomial_quantiles(tail, n, shares), _binomial_quantiles(1.0 - tail, n, shares) + 1
    return below.tolist(), above.tolist()


def _binomial_quantiles(share: float, n: int, shares: tuple[float, ...]) -> npt.NDArray[np.int64]:
    """Of each quantile the smallest count of smaller values whose distribution function reaches `share`."""
    of_all = np.array(shares)
    found = np.ceil(special.bdtrik(share, n, of_all))
    before = np.maximum(found - 1.0, 0.0)
    limits: npt.NDArray[np.int64] = np.where(special.bdtr(before, n, of_all) >= share, before, found).astype(np.int64)
    return limits
