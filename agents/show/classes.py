"""Figures of each class as text, where there is no confusion matrix: as many classes as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.text import Text

from agents.terminal_text import cell_len, fit, printable
from schemas.window_report import ClassFigures

__all__ = ["class_lines"]

MOST_CLASSES = 8
WIDEST_NAME = 40
HEADS = ("precision", "recall", "f1", "labels")
INDENT = GAP = "  "


def class_lines(per_class: Mapping[str, ClassFigures], width: int) -> Iterator[Text]:
    """One line for each of the classes that have most labels.

    Args:
        per_class: at least one class.
        width: cells, the indent not counted.
    """
    ordered = sorted(per_class, key=lambda name: (-per_class[name].support, name))
    rows = [
        (_figure(each.precision), _figure(each.recall), _figure(each.f1), f"{each.support:,}")
        for each in (per_class[name] for name in ordered[:MOST_CLASSES])
    ]
    widths = [max(map(len, column)) for column in zip(HEADS, *rows, strict=True)]
    room = min(WIDEST_NAME, width - sum(widths) - len(GAP) * len(widths))
    names = [printable(name) for name in ordered[:MOST_CLASSES]]
    name_width = max(1, min(room, max(cell_len(name) for name in ("class", *names))))
    for at, (name, row) in enumerate(zip(("class", *names), (HEADS, *rows), strict=True)):
        cells = [cell.rjust(cells) for cell, cells in zip(row, widths, strict=True)]
        yield Text(INDENT + GAP.join([fit(name, name_width), *cells]), style="" if at else "bold")
    if len(ordered) > MOST_CLASSES:
        yield Text(f"{INDENT}and {len(ordered) - MOST_CLASSES:,} more")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
