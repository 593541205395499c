"""What the JSON API answers with about single records: explanations and dead letters."""

from __future__ import annotations

import msgspec

__all__ = ["DeadLetterPage", "DeadLetterRow", "DeadLetters", "Explanations"]


class Explanations(msgspec.Struct, frozen=True, kw_only=True):
    """The newest explanations, as they were published, newest event time first.

    `is_explained` is whether the configuration says how the model is asked, `trouble` why there may be newer ones than
    are shown. `next_cursor` asks for the page after; null if there is none.
    """

    model: str
    explanations: tuple[msgspec.Raw, ...]
    next_cursor: str | None
    is_explained: bool
    trouble: str | None


class DeadLetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter: which record it is about and why, and where it lies itself. `bytes` are those of its value."""

    topic: str
    partition: int
    offset: int
    time: str | None
    reason: str
    message: str
    letter_partition: int
    letter_offset: int
    written: str | None
    bytes: int | None


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """The newest of each partition, newest first. `there` is how many records the topic has, copies included."""

    topic: str
    there: int
    letters: tuple[DeadLetterRow, ...]


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter: `value` is its beginning, as text or hexadecimal, null for a tombstone.

    `left_bytes` are not shown. `sha256` is that of the whole value where the letter itself was cut.
    """

    letter: DeadLetterRow
    key: str
    headers: tuple[tuple[str, str], ...]
    value: str | None
    is_text: bool
    left_bytes: int
    sha256: str | None
