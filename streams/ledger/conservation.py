"""Whether a shard's books balance: every record that was read has exactly one fate.

    read        = the sum of the fates                for each topic, after every commit
    each count >= 0                                   a fate that is left was entered before
    in cells   <= what the fates say was counted      windows that are no longer kept have left the cells

A commit moves all of it together, so a violation is never a matter of timing: counts were lost or written by
something else.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from streams.identity import ABSENT, EVERYTHING, FAILED, SUM
from streams.ledger.fates import LabelFate, PredictionFate
from streams.ledger.parts import Role
from streams.ports import WindowCells

__all__ = ["Violation", "broken_by_cells", "broken_by_fates"]

_FATES: Mapping[Role, tuple[str, ...]] = {Role.PREDICTIONS: tuple(PredictionFate), Role.LABELS: tuple(LabelFate)}


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold. Two are equal when they are about the same rule, whatever the numbers are now."""

    rule: str
    found: str = dataclasses.field(compare=False)

    def __str__(self) -> str:
        return f"{self.rule}: {self.found}"


def broken_by_fates(fates: Mapping[str, int]) -> tuple[Violation, ...]:
    """Check one shard's fates against what it has read.

    Args:
        fates: of `streams.ports.Ledger.fates`, read in one call.

    >>> broken_by_fates({"labels:read": 3, "labels:held": 2, "labels:matched": 1})
    ()
    >>> print(*broken_by_fates({"labels:read": 3, "labels:held": 2}))
    the fates of labels add up to those read: 2 of 3
    """
    return tuple(_broken_by_fates(fates))


def _broken_by_fates(fates: Mapping[str, int]) -> Iterator[Violation]:
    for role, names in _FATES.items():
        counts = {name: fates.get(f"{role}:{name}", 0) for name in names}
        read = fates.get(f"{role}:read", 0)
        if sum(counts.values()) != read:
            yield Violation(f"the fates of {role} add up to those read", f"{sum(counts.values())} of {read}")
        for name, count in counts.items():
            if count < 0:
                yield Violation(f"no fate of {role} is negative", f"{name} {count}")


def broken_by_cells(cells: Iterable[WindowCells], fates: Mapping[str, int]) -> tuple[Violation, ...]:
    """Check one shard's cells against its fates.

    Args:
        cells: of each window of the shard, or of some.
        fates: read after the cells. Until then they only grow, so commits in between break nothing.
    """
    return tuple(_broken_by_cells(cells, fates))


def _broken_by_cells(cells: Iterable[WindowCells], fates: Mapping[str, int]) -> Iterator[Violation]:
    counted: collections.Counter[str] = collections.Counter()
    for window in cells:
        for (piece, label, _), count in window.items():
            if label == SUM:
                continue
            if count < 0:
                yield Violation("no cell is negative", str(count))
            if piece == EVERYTHING:
                counted["failed" if label == FAILED else "waiting" if label == ABSENT else "matched"] += count
    answered = sum(fates.get(f"predictions:{fate}", 0) for fate in ("waiting", "matched", "never_labelled"))
    for what, found, most in (
        ("labelled predictions", counted["matched"], fates.get("predictions:matched", 0)),
        ("failed predictions", counted["failed"], fates.get("predictions:failed", 0)),
        ("predictions", counted["matched"] + counted["waiting"], answered),
    ):
        if found > most:
            yield Violation(f"cells hold no more {what} than the fates say", f"{found} of {most}")
