"""How far scores are from the frequencies of what they foretell: the expected calibration error.

The mean distance of score and frequency over ten equal tenths of the scores [0, 0.1), ..., [0.9, 1], weighted by
their counts. Noise makes a good calibration look bad and never the other way on average: a perfect one measured on a
thousand labels has an error of some hundredths. So the interval is not laid around the value but inverted: it holds
every true error under which the measured one would not be unusual.

- A true error t is taken to lie over the tenths as the measured distances do, and a quarter of it as their noise does,
  which may hide some.
- The distance measured in a tenth is then the size of a normal deviate around the true one. The mean, variance and
  skewness of the sum of ten such sizes say which values would be unusual (Cornish and Fisher's quantile).
- The interval always holds the value, and whatever the noise alone may hide, so that no true error below either can be
  missed above. Half of the chance of a miss that is saved there is spent below, so that a perfect calibration is held
  about as often as any other; half, because the noise is only estimated.
- The noise of a tenth is that of its labels, with five pseudo-observations that came out as the scores say.

The interval reaches down to 0 where nothing but noise was measured, and the value lies in its upper part.
"""

from __future__ import annotations

import functools
import math
import statistics

import numpy as np
import numpy.typing as npt

from streams.quality.figure import Bounds, Figure
from streams.quality.intervals import normal_quantile

__all__ = ["expected_calibration_error"]

_Reals = npt.NDArray[np.float64]

PSEUDO_OBSERVATIONS = 5.0
LEAST_VARIANCE = 0.25
"""Of the number of events in a tenth with many scores."""
HIDDEN = 0.25
"""The part of a true error that is taken to lie as the noise does."""
SMALLEST = 1e-12
"""Noise that passes for none."""
_STEPS = np.linspace(0.0, 1.0, 17)
"""Of true errors that are tried, from none to one that is surely too large."""


def expected_calibration_error(
    *, scores: _Reals, happened: _Reals, sizes: _Reals, gaps: _Reals, confidence_level: float
) -> Figure:
    """Return the expected calibration error.

    Args:
        scores: sum of the scores of each tenth, shape (10,).
        happened: how many events happened in each.
        sizes: how many scores each has; at least one in all.
        gaps: distance of the first two, which the caller knows more exactly.
        confidence_level: of the interval, e.g. 0.95.
    """
    n = int(sizes.sum())
    value = math.fsum(gaps) / n
    at_least_one = np.maximum(sizes, 1.0)
    frequencies = (happened + PSEUDO_OBSERVATIONS * scores / at_least_one) / (sizes + PSEUDO_OBSERVATIONS)
    # Scores of 0 and 1 that were always right are not certain to be.
    noise = np.sqrt(sizes * np.maximum(frequencies * (1.0 - frequencies), LEAST_VARIANCE / (sizes + 1.0))) / n
    # Which tenths the scores fall into varies too.
    mixing = float(sizes @ (gaps / at_least_one - value) ** 2) / n**2
    low, high = _inverted(value, gaps / n, noise, mixing, confidence_level)
    return Figure.of(value, (min(value, low), min(1.0, max(value, high))), n=n)


def _inverted(value: float, gaps: _Reals, noise: _Reals, mixing: float, confidence_level: float) -> Bounds:
    """The smallest and the largest true error under which `value` is not unusual."""
    z = normal_quantile(confidence_level)
    shape = noise / noise.sum()
    if value:
        shape = HIDDEN * shape + (1.0 - HIDDEN) * gaps / value
    variance = float(noise @ noise)
    errors = _STEPS * (value + (z + 1.0) * math.sqrt(variance + mixing))
    means, variances, skews = _sizes_of_deviates(errors[:, np.newaxis] * shape, noise)
    # The further from even the measured distances are, the more depends on where scores fall; no error, no difference.
    deviations = np.sqrt(variances + mixing * (np.minimum(errors, value) / value if value else 0.0) ** 2)
    shifts = skews / deviations**3 * (z * z - 1.0) / 6.0
    # However good it looks, an error as small as the noise may hide.
    hidden = z * math.sqrt(variance)
    biases = np.where(errors < hidden, np.inf, (means - errors) / deviations + shifts)
    above = np.interp(biases, *_quantiles_above(confidence_level))
    usual_most = np.maximum.accumulate(means + (above + shifts) * deviations)
    usual_least = np.maximum.accumulate(means - (z - shifts) * deviations)
    return float(np.interp(value, usual_most, errors)), max(hidden, float(np.interp(value, usual_least, errors)))


@functools.lru_cache(maxsize=16)
def _quantiles_above(confidence_level: float) -> tuple[_Reals, _Reals]:
    """Distances between a true error and what is measured on average, in standard deviations, and which quantile is
    left for values above if those that are farther below the average than it cannot miss."""
    normal = statistics.NormalDist()
    unusual = 1.0 - confidence_level
    biases = np.linspace(0.0, 4.0, 41)
    missed_above = [min(unusual / 2.0, unusual / 4.0 + normal.cdf(-bias) / 2.0) for bias in biases.tolist()]
    return biases, np.array([normal.inv_cdf(1.0 - unusual + missed) for missed in missed_above])


def _sizes_of_deviates(centres: _Reals, deviations: _Reals) -> tuple[_Reals, _Reals, _Reals]:
    """Mean, variance and third central moment of the sum of the sizes of normal deviates.

    Args:
        centres: shape (cases, deviates), none below 0.
        deviations: their standard deviations, shape (deviates,).
    """
    # Tenths without scores have neither distance nor noise.
    ratios = centres / np.maximum(deviations, SMALLEST)
    squared = ratios * ratios
    density = math.sqrt(2.0 / math.pi) * np.exp(-0.5 * squared)
    # 2 * Phi(ratio) - 1, to 3e-4.
    inside = np.tanh(ratios * (0.7988 + 0.03528 * squared))
    # In units of the deviations.
    means = density + ratios * inside
    variances = np.maximum(0.0, squared + 1.0 - means * means)
    cubes = (squared + 2.0) * density + ratios * (squared + 3.0) * inside
    thirds = cubes - means * (3.0 * (squared + 1.0) - 2.0 * means * means)
    return means @ deviations, variances @ deviations**2, thirds @ deviations**3
