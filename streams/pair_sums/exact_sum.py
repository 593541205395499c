"""Sums of doubles as integers under short names: exact, in any order, and undone by subtracting again.

A double is cut into two whole numbers, its digits at two *places*; place p stands for units of 2 ** (8 * p):

    2.5 =  41943040 * 2 ** (8 * -3)
    0.1 = 429496729 * 2 ** (8 * -4) + 2576980480 * 2 ** (8 * -8)    (down to the last bit)

The first digit has 25 to 32 bits and the second the rest, so every finite double fits; what differs between
doubles is the place. The sum of each place is a whole number, kept under the name `<sum>:<place>`, and the
total is put together once, at the end. Digits are below 2 ** 32 in size: a signed 64-bit counter holds 2 ** 30
of them whatever they are.

A *rough* sum keeps the first digit alone, one name instead of two, short by less than 2 ** -24 of each value.
It is for second moments, which only decide how wide an interval is. A *fixed* sum is cut at the same unit for all
values: what is lost is below that unit.

    >>> increments = {}
    >>> add(increments, "x", 2.5)
    >>> add(increments, "x", 0.1)
    >>> increments
    {'x:-3': 41943040, 'x:-4': 429496729, 'x:-8': 2576980480}
    >>> float(total(increments, "x"))
    2.6
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "DIGIT",
    "DIGIT_BITS",
    "FIXED_BITS",
    "PLACES_PER_DIGIT",
    "PLACE_BITS",
    "add",
    "add_fixed",
    "add_rough",
    "fixed_units",
    "square",
    "total",
    "totals",
]

Real = TypeVar("Real", float, npt.NDArray[np.float64])

PLACE_BITS = 8
"""Between neighbouring places. Small enough that two digits hold 53 bits wherever the first one begins, large
enough that values of one magnitude share their places."""

DIGIT_BITS = 32
"""Most bits of a digit. Products of it with anything up to 2 ** 21 stay whole in a double."""

PLACES_PER_DIGIT = DIGIT_BITS // PLACE_BITS
DIGIT = 2.0**DIGIT_BITS
_FIXED_PLACES = 1 - PLACES_PER_DIGIT, 1 - 2 * PLACES_PER_DIGIT
FIXED_BITS = -_FIXED_PLACES[1] * PLACE_BITS
"""Fixed sums are cut to units of 2 ** -56."""
_HALF_OF_A_DOUBLE = 2.0**27 + 1.0
"""Veltkamp's factor: cuts 53 bits into two halves whose products are exact."""


def add(increments: dict[str, int], name: str, value: float) -> None:
    """Add `value` to the sum `name`, exactly; adds nothing for 0.

    Raises:
        ValueError: the value is not finite.
    """
    digit, rest, place = _cut(value)
    _increase(increments, name, place, digit)
    _increase(increments, name, place - PLACES_PER_DIGIT, int(rest * DIGIT))


def add_fixed(increments: dict[str, int], name: str, value: float) -> None:
    """Add `value`, from 0 to 2 ** 20, to the sum `name`, cut to units of 2 ** -56.

    Values of every size share two names, so that a window keeps few of them.
    """
    place = 1 - PLACES_PER_DIGIT
    scaled = math.ldexp(value, -place * PLACE_BITS)
    digit = math.floor(scaled)
    _increase(increments, name, place, digit)
    _increase(increments, name, place - PLACES_PER_DIGIT, math.floor((scaled - digit) * DIGIT))


def fixed_units(sums: Mapping[str, int], name: str) -> int:
    """The exact total of a fixed sum, in units of 2 ** -`FIXED_BITS`.

    >>> increments = {}
    >>> add_fixed(increments, "x", 2.5)
    >>> fixed_units(increments, "x") / (1 << FIXED_BITS)
    2.5
    """
    first, second = _FIXED_PLACES
    return (sums.get(f"{name}:{first}", 0) << DIGIT_BITS) + sums.get(f"{name}:{second}", 0)


def add_rough(increments: dict[str, int], name: str, value: float) -> None:
    """Add `value` to the sum `name`, cut to its first digit.

    Raises:
        ValueError: the value is not finite.
    """
    digit, _, place = _cut(value)
    _increase(increments, name, place, digit)


def _cut(value: float) -> tuple[int, float, int]:
    """The first digit of `value`, the rest as a part of its unit, and the place of the digit."""
    if not math.isfinite(value):
        raise ValueError(f"only finite numbers have a sum, not {value}")
    _, exponent = math.frexp(value)
    place = math.ceil((exponent - DIGIT_BITS) / PLACE_BITS)
    scaled = math.ldexp(value, -place * PLACE_BITS)
    digit = math.trunc(scaled)
    return digit, scaled - digit, place


def _increase(increments: dict[str, int], name: str, place: int, digit: int) -> None:
    if digit:
        field = f"{name}:{place}"
        increments[field] = increments.get(field, 0) + digit


def square(value: Real) -> tuple[Real, Real]:
    """Return two doubles whose exact sum is the square of `value`: the rounded square and what it lacks.

    Of a double, or of each of many. Exact as long as the square neither overflows nor comes near the smallest normal
    double: for sizes from 1e-140 to 1e150, and 0.

    Source: T. J. Dekker, Numerische Mathematik 18 (1971).
    """
    product = value * value
    shifted = _HALF_OF_A_DOUBLE * value
    high = shifted - (shifted - value)
    low = value - high
    return product, ((high * high - product) + 2.0 * high * low) + low * low


def total(sums: Mapping[str, int], name: str) -> Fraction:
    """The exact total of the sum `name`; 0 if nothing was added."""
    return totals(sums).get(name, Fraction(0))


def totals(sums: Mapping[str, int]) -> dict[str, Fraction]:
    """The exact totals of all sums among the fields, by name. Fields without a place are no sums."""
    by_name: dict[str, dict[int, int]] = {}
    for field, digits in sums.items():
        name, separator, place = field.partition(":")
        if separator:
            by_name.setdefault(name, {})[int(place)] = digits
    return {name: _put_together(places) for name, places in by_name.items()}


def _put_together(places: Mapping[int, int]) -> Fraction:
    lowest = min(places)
    units = sum(digits << (PLACE_BITS * (place - lowest)) for place, digits in places.items())
    shift = PLACE_BITS * lowest
    return Fraction(units << shift) if shift >= 0 else Fraction(units, 1 << -shift)
