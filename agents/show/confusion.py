"""A confusion matrix as text: as many classes as there is room for, the largest first to get it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from agents.terminal_text import cell_len, fit, printable
from schemas.window_report import Confusion

__all__ = ["confusion_lines"]

MOST_CLASSES = 8
WIDEST_LABEL, WIDEST_COLUMN = 20, 12
CORNER = "label \\ prediction"
INDENT = GAP = "  "


def confusion_lines(confusion: Confusion, width: int) -> Iterator[Text]:
    """One line for each class of labels; classes beyond the room are added up in one row and column.

    Args:
        confusion: with at least one class.
        width: cells, the indent not counted.
    """
    for shown in range(min(MOST_CLASSES, len(confusion.classes)), 0, -1):
        names, counts = _largest(confusion, shown)
        lines = list(_lines(names, counts))
        if shown == 1 or max(map(cell_len, lines)) <= width:
            yield Text(INDENT + lines[0], style="bold")
            yield from (Text(INDENT + line) for line in lines[1:])
            return


def _largest(confusion: Confusion, shown: int) -> tuple[list[str], list[list[int]]]:
    """Names and counts of the classes that occur most, in the order of the report, and of the others together."""
    counts = confusion.counts
    size = range(len(confusion.classes))
    occurs = [sum(counts[at]) + sum(row[at] for row in counts) for at in size]
    kept = sorted(sorted(size, key=lambda at: (-occurs[at], at))[:shown])
    others = [at for at in size if at not in set(kept)]
    groups = [[at] for at in kept] + ([others] if others else [])
    names = [printable(confusion.classes[at]) for at in kept]
    if others:
        names.append(f"({len(others):,} more)")
    return names, [[sum(counts[i][j] for i in rows for j in columns) for columns in groups] for rows in groups]


def _lines(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Iterator[str]:
    texts = [[f"{count:,}" for count in row] for row in counts]
    label_width = max(cell_len(CORNER), *(min(cell_len(name), WIDEST_LABEL) for name in names))
    widths = [
        max(min(cell_len(name), WIDEST_COLUMN), *(len(row[at]) for row in texts)) for at, name in enumerate(names)
    ]
    heads = [fit(name, width, right=True) for name, width in zip(names, widths, strict=True)]
    yield GAP.join([fit(CORNER, label_width), *heads])
    for name, row in zip(names, texts, strict=True):
        yield GAP.join([fit(name, label_width), *(text.rjust(width) for text, width in zip(row, widths, strict=True))])
