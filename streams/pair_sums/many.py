"""The contributions of many pairs at once: to the last bit the sum of what `contribution` and `delay` say of each.

The same arithmetic in the same order, on arrays: IEEE additions, multiplications and divisions give the same bits
one by one and by the thousand. Signs are 1 for pairs that are added and -1 for those that are taken back.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from streams.pair_sums.contribution import SMALLEST_CERTAINTY
from streams.pair_sums.delay import BUCKETS_PER_DOUBLING, DELAY_PREFIX
from streams.pair_sums.exact_sum import DIGIT, DIGIT_BITS, PLACE_BITS, PLACES_PER_DIGIT, square
from streams.pair_sums.logarithm import LARGEST_S, LN2_HIGH, LN2_LOW, SQRT_HALF, twice_artanh
from streams.pair_sums.score_bins import DECILES, deciles, score_bins

__all__ = ["Sums", "delay_sums", "regression_sums", "score_sums"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_FIXED = ("l", "lr", "b", *(f"c{tenth}" for tenth in range(DECILES)))
"""Names of fixed sums: they are added to all at once, because most windows have few pairs of a group of slices."""
_LOSSES, _SQUARED_LOSSES, _SQUARED_GAPS, _SCORES_OF_TENTHS = range(4)


def delay_sums(delays_ms: Integers, signs: Integers) -> Mapping[str, int]:
    """What labels add that came so long after their predictions."""
    mantissas, exponents = np.frexp(np.maximum(delays_ms, 0).astype(np.float64))
    parts = np.floor((mantissas - 0.5) * 2 * BUCKETS_PER_DOUBLING).astype(np.int64)
    buckets = BUCKETS_PER_DOUBLING * exponents.astype(np.int64) + parts + BUCKETS_PER_DOUBLING
    buckets[delays_ms <= 0] = 0
    sums = Sums()
    sums.count_each(DELAY_PREFIX, buckets, signs)
    return sums.increments


def score_sums(scores: Doubles, happened: npt.NDArray[np.bool_], signs: Integers) -> Mapping[str, int]:
    """What labelled predictions with scores add; see `contribution.score_contribution`."""
    sums = Sums()
    are_probabilities = (scores >= 0.0) & (scores <= 1.0)
    sums.count("x", signs[~are_probabilities])
    scores, happened, signs = scores[are_probabilities], happened[are_probabilities], signs[are_probabilities]
    bins = score_bins(scores)
    sums.count_each("p", bins[happened], signs[happened])
    sums.count_each("n", bins[~happened], signs[~happened])
    probabilities = np.where(happened, scores, 1.0 - scores)
    losses = -_log(np.minimum(1.0 - SMALLEST_CERTAINTY, np.maximum(SMALLEST_CERTAINTY, probabilities)))
    gaps = scores - happened
    names = np.repeat([_LOSSES, _SQUARED_LOSSES, _SQUARED_GAPS, _SCORES_OF_TENTHS], len(scores))
    names[-len(scores) :] += deciles(bins)
    sums.add_fixed(names, np.concatenate([losses, losses * losses, gaps * gaps, scores]), np.tile(signs, 4))
    return sums.increments


def regression_sums(predicted: Doubles, labels: Doubles, signs: Integers) -> Mapping[str, int]:
    """What labelled numbers add; see `contribution.regression_contribution`."""
    sums = Sums()
    sums.count("n", signs)
    errors = predicted - labels
    squared = errors * errors
    is_above = errors > 0.0
    sums.add("o", np.abs(errors[is_above]), signs[is_above])
    sums.add("u", np.abs(errors[~is_above]), signs[~is_above])
    sums.add("q", squared, signs)
    sums.add_rough("qr", squared * squared, signs)
    products, lacks = square(labels)
    sums.add("y", labels, signs)
    sums.add("yy", products, signs)
    sums.add("yy", lacks, signs)
    sums.add("yyy", products * labels, signs)
    sums.add("yyyy", products * products, signs)
    sums.add_rough("qy", squared * labels, signs)
    sums.add_rough("qyy", squared * products, signs)
    is_zero = labels == 0.0
    sums.count("z", signs[is_zero])
    ratios = np.abs(errors[~is_zero]) / np.maximum(np.abs(labels[~is_zero]), SMALLEST_CERTAINTY)
    sums.add("a", ratios, signs[~is_zero])
    sums.add_rough("ar", ratios * ratios, signs[~is_zero])
    is_negative = (predicted < 0.0) | (labels < 0.0)
    sums.count("g", signs[is_negative])
    differences = _log1p_ratio(predicted[~is_negative], labels[~is_negative])
    log_squared = differences * differences
    sums.add("s", log_squared, signs[~is_negative])
    sums.add_rough("sr", log_squared * log_squared, signs[~is_negative])
    return sums.increments


class Sums:
    """Increments by name; those that are zero are left out."""

    def __init__(self) -> None:
        self.increments: dict[str, int] = {}

    def increase(self, name: str, increment: int) -> None:
        total = self.increments.get(name, 0) + increment
        if total:
            self.increments[name] = total
        else:
            self.increments.pop(name, None)

    def count(self, name: str, signs: Integers) -> None:
        self.increase(name, int(signs.sum()))

    def count_each(self, prefix: str, numbers: Integers, signs: Integers) -> None:
        counts = np.bincount(numbers, weights=signs)
        for number in counts.nonzero()[0].tolist():
            self.increase(f"{prefix}{number}", int(counts[number]))

    def add_fixed(self, names: Integers, values: Doubles, signs: Integers) -> None:
        """Add each value to one of the sums of `_FIXED`."""
        scaled = np.ldexp(values, (PLACES_PER_DIGIT - 1) * PLACE_BITS)
        digits = np.floor(scaled)
        rests = np.floor((scaled - digits) * DIGIT)
        for place, units in ((1 - PLACES_PER_DIGIT, digits), (1 - 2 * PLACES_PER_DIGIT, rests)):
            totals = np.zeros(len(_FIXED), dtype=np.int64)
            np.add.at(totals, names, units.astype(np.int64) * signs)
            for number in totals.nonzero()[0].tolist():
                self.increase(f"{_FIXED[number]}:{place}", int(totals[number]))

    def add(self, name: str, values: Doubles, signs: Integers) -> None:
        digits, rests, places = _cut(values)
        self._add_places(name, digits, places, signs)
        self._add_places(name, np.trunc(rests * DIGIT), places - PLACES_PER_DIGIT, signs)

    def add_rough(self, name: str, values: Doubles, signs: Integers) -> None:
        digits, _, places = _cut(values)
        self._add_places(name, digits, places, signs)

    def _add_places(self, name: str, digits: Doubles, places: Integers, signs: Integers) -> None:
        for place in np.unique(places).tolist():
            mine = places == place
            self.increase(f"{name}:{place}", int(digits[mine].astype(np.int64) @ signs[mine]))


def _cut(values: Doubles) -> tuple[Doubles, Doubles, Integers]:
    _, exponents = np.frexp(values)
    places = np.ceil((exponents - DIGIT_BITS) / PLACE_BITS).astype(np.int64)
    scaled = np.ldexp(values, -places * PLACE_BITS)
    digits = np.trunc(scaled)
    return digits, scaled - digits, places


def _log(values: Doubles) -> Doubles:
    mantissas, exponents = np.frexp(values)
    is_small = mantissas < SQRT_HALF
    mantissas = np.where(is_small, mantissas * 2.0, mantissas)
    powers = (exponents - is_small).astype(np.float64)
    return powers * LN2_HIGH + (twice_artanh((mantissas - 1.0) / (mantissas + 1.0)) + powers * LN2_LOW)


def _log1p_ratio(a: Doubles, b: Doubles) -> Doubles:
    s = (a - b) / (2.0 + a + b)
    is_near = (-LARGEST_S <= s) & (s <= LARGEST_S)
    return np.where(is_near, twice_artanh(s), _log((1.0 + a) / (1.0 + b)))
