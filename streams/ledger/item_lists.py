"""Lists of names as the join sees them: by their hashes, sets in ascending order.

    prediction  [a, b, c]      label  {b, d}       found b, invented a and c, missed d
    ranking     [a, b, a, c]   relevant {a, d}     a stands at rank 1; where it stands again it is no hit

What a set of relevant items keeps does not depend on the order in which they came: of more than the limit, those
with the smallest hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.limits import LIST_ENTRIES

__all__ = ["Items", "compared_sets", "ranks_of", "set_of", "united"]

Items = tuple[bytes, ...]


def set_of(items: Iterable[bytes]) -> Items:
    """The items of a set."""
    return tuple(sorted(set(items)))


def united(known: Items, more: Items) -> Items:
    """All items of two sets, up to the limit."""
    return set_of((*known, *more))[:LIST_ENTRIES]


def compared_sets(predicted: Items, label: Items) -> tuple[Items, Items, Items]:
    """The items in both, in the prediction alone, and in the label alone."""
    both = set(predicted) & set(label)
    return (
        tuple(item for item in predicted if item in both),
        tuple(item for item in predicted if item not in both),
        tuple(item for item in label if item not in both),
    )


def ranks_of(ranked: Sequence[bytes], relevant: Items) -> list[int]:
    """The ranks, from 1, at which the relevant items stand first."""
    wanted = set(relevant)
    ranks = []
    for rank, item in enumerate(ranked, start=1):
        if item in wanted:
            wanted.remove(item)
            ranks.append(rank)
    return ranks
