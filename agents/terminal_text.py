"""Text for terminals: what strangers called their things must not break columns, nor be taken for commands.

Names are written as they are, wide characters and all, but for what is no character to look at: line ends, escape
sequences, marks that turn the direction of writing or the look of the character before them.
"""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

__all__ = ["cell_len", "fit", "printable"]

VARIATION_SELECTORS = range(0xFE00, 0xFE10)
"""Printable by Unicode's rules, yet terminals do not agree how wide they make a character."""


def printable(text: str) -> str:
    r"""Write what cannot be looked at as Python's escapes.

    >>> printable("a\tb\u202e"), printable("模型")
    ('a\\tb\\u202e', '模型')
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character.isprintable() and ord(character) not in VARIATION_SELECTORS else ascii(character)[1:-1]
        for character in text
    )


def fit(text: str, cells: int, *, right: bool = False) -> str:
    """Make printable text exactly so many cells wide: filled with spaces, or cut with an ellipsis at its end.

    >>> fit("模型", 6), fit("模型", 6, right=True), fit("模型-one", 6)
    ('模型  ', '  模型', '模型-…')
    """
    width = cell_len(text)
    if width > cells:
        return set_cell_size(text, cells - 1) + "…" if cells > 0 else ""
    return " " * (cells - width) + text if right else text + " " * (cells - width)
