"""What a labelled list adds to its window: of a multilabel prediction the classes it found, invented and missed, of a
ranked one the ranks of its relevant items.

All sums are whole numbers, so every figure is exact whatever order they came in, and taken back by subtracting.
Of a multilabel pair, P being the classes predicted, L those of the label and F, found, those in both:

    n                    pairs
    s                    pairs whose two sets are equal
    F=<class>            the class is in both; likewise I=, invented: predicted alone, and M=, missed: in the label
                         alone. Classes are hashes in hexadecimal
    FF, FP, FL, PP, PL, LL    products of the sizes of F, P and L: how far they vary from pair to pair

Of a ranking pair with R relevant items, ranks counted from 1:

    n                    pairs
    e                    pairs without any relevant item (R = 0)
    f<rank>              the first relevant item stands there
    h<rank>.<R>          a relevant item stands there
    x<rank>.<R>          twice the relevant items above it
    y<rank>.<R>          what it adds to the square of the discounted gain beyond its own, in units of 2 ** -24

From these follow hits, precision, recall, reciprocal rank and discounted gain, and the sums of their squares,
down to any rank: (number of hits)**2 grows by 1 + x with each further one, and the squared gain by gain**2 + y.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from schemas.limits import LIST_ENTRIES
from streams.pair_sums.logarithm import log

__all__ = [
    "GAINS",
    "GAIN_UNITS",
    "MOMENTS",
    "class_of",
    "multilabel_contribution",
    "named_by",
    "ranking_contribution",
]


MOMENTS = ("FF", "FP", "FL", "PP", "PL", "LL")

GAINS: tuple[float, ...] = (0.0, *(log(2.0) / log(rank + 1.0) for rank in range(1, LIST_ENTRIES + 1)))
"""By rank, 1 / log2(rank + 1): what a relevant item there is worth. Nothing stands at rank 0."""

_GAIN_SCALE = 2**12
GAIN_UNITS: tuple[int, ...] = tuple(round(gain * _GAIN_SCALE) for gain in GAINS)
"""The same in whole units: products of two only decide how wide an interval is."""


def class_of(name: bytes) -> bytes | None:
    """The hash of the class that a sum counts; None if it is about no single class.

    >>> class_of(b"F=00000000000000ff"), class_of(b"FF")
    (b'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xff', None)
    """
    return bytes.fromhex(name[2:].decode()) if name[1:2] == b"=" else None


def named_by(name: str, text: str) -> str:
    """The name of a sum with the class as text in the place of its hash."""
    return name[:2] + text


def multilabel_contribution(
    *, found: Collection[bytes], invented: Collection[bytes], missed: Collection[bytes]
) -> dict[str, int]:
    """Return the increments of a set of classes that got its label.

    Args:
        found: hashes of the classes in both.
        invented: of those predicted alone.
        missed: of those in the label alone. Classes without cells of their own have one hash in common.

    >>> multilabel_contribution(found=[bytes(8)], invented=[], missed=[])["F=0000000000000000"]
    1
    """
    increments = {"n": 1, "s": 0 if invented or missed else 1}
    for prefix, classes in (("F", found), ("I", invented), ("M", missed)):
        for each in classes:
            name = f"{prefix}={each.hex()}"
            increments[name] = increments.get(name, 0) + 1
    sizes = {"F": len(found), "P": len(found) + len(invented), "L": len(found) + len(missed)}
    increments |= {name: sizes[name[0]] * sizes[name[1]] for name in MOMENTS}
    return {name: increment for name, increment in increments.items() if increment}


def ranking_contribution(ranks: Sequence[int], *, relevant: int) -> dict[str, int]:
    """Return the increments of a ranking whose relevant items are known.

    Args:
        ranks: of the relevant items that were ranked, ascending from 1.
        relevant: how many items are relevant, ranked or not.

    >>> ranking_contribution([2], relevant=3)
    {'n': 1, 'f2': 1, 'h2.3': 1}
    """
    increments = {"n": 1}
    if not relevant:
        increments["e"] = 1
    if ranks:
        increments[f"f{ranks[0]}"] = 1
    gain = 0
    for above, rank in enumerate(ranks):
        increments[f"h{rank}.{relevant}"] = 1
        if above:
            increments[f"x{rank}.{relevant}"] = 2 * above
            increments[f"y{rank}.{relevant}"] = 2 * GAIN_UNITS[rank] * gain
        gain += GAIN_UNITS[rank]
    return increments
