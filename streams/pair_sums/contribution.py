"""The increments by which one labelled prediction changes the sums of its window.

They are added when a prediction gets its label and subtracted when a better label replaces it, so they are
a function of the two values alone, the same to the last bit wherever it is computed. Names are short because
every window keeps them.

A score is the probability of an *event*: that the label is the positive class (binary), or that the
prediction is right (multiclass). At most 9 names a pair:

    p<bin>, n<bin>      pairs of a score bin whose event happened, or did not
    l:, lr:             log loss, and its squares, to 2 ** -56
    b:                  Brier score, to 2 ** -56
    c<decile>:          scores, by tenths of their range, to 2 ** -56
    x                   pairs whose score is no probability; nothing else is known of them

Of a regression model at most 24, where error = prediction - label:

    n                   pairs
    o:, u:              errors above 0; errors below 0, as sizes
    q:, qr:             squared errors, and roughly their squares
    y:, yy:, yyy:, yyyy:    first four powers of the labels
    qy:, qyy:           roughly, squared errors times the label and times its square
    a:, ar:             relative errors |error / label|, and roughly their squares; not where the label is 0
    z                   pairs whose label is 0
    s:, sr:             squared errors of log(1 + value), and roughly their squares; not where a value is below 0
    g                   pairs with a value below 0

See `exact_sum` for what follows the colon.
"""

from __future__ import annotations

from streams.pair_sums.exact_sum import add, add_fixed, add_rough, square
from streams.pair_sums.logarithm import log, log1p_ratio
from streams.pair_sums.score_bins import decile, score_bin

__all__ = ["LARGEST_VALUE", "SMALLEST_CERTAINTY", "regression_contribution", "score_contribution"]

LARGEST_VALUE = 1e12
"""In size, of a prediction or label of a regression model; decoding rejects what is beyond."""

SMALLEST_CERTAINTY = 2.0**-52
"""Log loss takes probabilities no closer than this to 0 and 1, and a relative error no smaller label: the
distance from 1 to the next double, as in scikit-learn."""


def score_contribution(score: float, *, happened: bool) -> dict[str, int]:
    """Return the increments of a scored prediction that got its label.

    Args:
        score: probability of the event; one outside [0, 1], or NaN, is counted as bad and otherwise ignored.
        happened: whether the label says that the event happened.

    >>> sorted(score_contribution(0.75, happened=True))
    ['b:-3', 'c7:-3', 'l:-3', 'l:-7', 'lr:-3', 'lr:-7', 'p442']
    """
    if not 0.0 <= score <= 1.0:
        return {"x": 1}
    increments = {f"{'p' if happened else 'n'}{score_bin(score)}": 1}
    probability = score if happened else 1.0 - score
    loss = -log(min(1.0 - SMALLEST_CERTAINTY, max(SMALLEST_CERTAINTY, probability)))
    add_fixed(increments, "l", loss)
    add_fixed(increments, "lr", loss * loss)
    gap = score - happened
    add_fixed(increments, "b", gap * gap)
    add_fixed(increments, f"c{decile(score)}", score)
    return increments


def regression_contribution(*, predicted: float, label: float) -> dict[str, int]:
    """Return the increments of a predicted number that got its label.

    Args:
        predicted: the answer; at most `LARGEST_VALUE` in size, as is the label.
        label: what was true.

    Raises:
        ValueError: one of them is not finite.

    >>> regression_contribution(predicted=3.0, label=3.0)["n"]
    1
    """
    increments = {"n": 1}
    error = predicted - label
    squared = error * error
    _add_errors(increments, error, squared)
    _add_label(increments, label, squared)
    _add_relative_error(increments, error, label)
    _add_log_error(increments, predicted, label)
    return increments


def _add_errors(increments: dict[str, int], error: float, squared: float) -> None:
    add(increments, "o" if error > 0.0 else "u", abs(error))
    add(increments, "q", squared)
    add_rough(increments, "qr", squared * squared)


def _add_label(increments: dict[str, int], label: float, squared_error: float) -> None:
    product, lack = square(label)
    add(increments, "y", label)
    # The variance of labels is a small difference of large sums: their squares need every bit.
    add(increments, "yy", product)
    add(increments, "yy", lack)
    add(increments, "yyy", product * label)
    add(increments, "yyyy", product * product)
    add_rough(increments, "qy", squared_error * label)
    add_rough(increments, "qyy", squared_error * product)


def _add_relative_error(increments: dict[str, int], error: float, label: float) -> None:
    if label == 0.0:
        increments["z"] = 1
        return
    ratio = abs(error) / max(abs(label), SMALLEST_CERTAINTY)
    add(increments, "a", ratio)
    add_rough(increments, "ar", ratio * ratio)


def _add_log_error(increments: dict[str, int], predicted: float, label: float) -> None:
    if predicted < 0.0 or label < 0.0:
        increments["g"] = 1
        return
    difference = log1p_ratio(predicted, label)
    squared = difference * difference
    add(increments, "s", squared)
    add_rough(increments, "sr", squared * squared)
