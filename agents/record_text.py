"""Bytes of records as people can read them: as text where they are one, else in hexadecimal; nothing to obey."""

from __future__ import annotations

import dataclasses

__all__ = ["ShownBytes", "inline", "printable", "shown_bytes", "text_of"]

HEX_LINE_BYTES = 32


@dataclasses.dataclass(frozen=True, slots=True)
class ShownBytes:
    """The beginning of a value, and how much is left out."""

    lines: tuple[str, ...]
    is_text: bool
    left_bytes: int


def printable(text: str) -> str:
    r"""The text with what is not printable escaped.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def text_of(content: bytes) -> str | None:
    """The text that the bytes are; None if they are none."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character in "\n\t\r" for character in text) else None


def inline(content: bytes | None) -> str:
    """On one line.

    >>> inline(b"a\\nb"), inline(bytes([0, 255])), inline(None)
    ('a\\\\nb', '0x00ff', 'null')
    """
    if content is None:
        return "null"
    text = text_of(content)
    return f"0x{content.hex()}" if text is None else printable(text)


def shown_bytes(content: bytes, *, most: int | None) -> ShownBytes:
    """The first bytes, line by line; `most` None shows all."""
    shown = content[:most]
    left = len(content) - len(shown)
    # The cut may go through a character, which has up to four bytes.
    cuts = (text_of(shown[: len(shown) - cut]) for cut in range(4 if left else 1))
    text = next((text for text in cuts if text is not None), None)
    if text is not None:
        return ShownBytes(tuple(text.replace("\r", "\\r").split("\n")), is_text=True, left_bytes=left)
    lines = tuple(shown[at : at + HEX_LINE_BYTES].hex(" ") for at in range(0, len(shown), HEX_LINE_BYTES))
    return ShownBytes(lines, is_text=False, left_bytes=left)
