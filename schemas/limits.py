"""Limits of what is read and written, in one place.

Text is limited in bytes of UTF-8, because bytes are what Kafka and Redis store. Whoever decodes with
a limit in characters gets an upper bound only: a character takes up to four bytes.
"""

from __future__ import annotations

__all__ = [
    "DEAD_LETTER_BYTES",
    "DEAD_LETTER_EXCERPT_BYTES",
    "DEAD_LETTER_MESSAGE_CHARACTERS",
    "DEAD_LETTER_TOPIC_BYTES",
    "LIST_ENTRIES",
    "MAX_INSTANCE",
    "MAX_NESTING",
    "MAX_REGRESSION_MAGNITUDE",
    "NAME_BYTES",
    "RECORD_BYTES",
    "REQUEST_ID_BYTES",
]

RECORD_BYTES = 1 << 20
"""A larger prediction or label is refused before it is parsed."""

MAX_NESTING = 64
"""Objects and lists inside each other; the outermost object is the first level."""

REQUEST_ID_BYTES = 256
NAME_BYTES = 128
"""Models, versions, classes and segment values."""

LIST_ENTRIES = 64
"""Of a prediction or label that is a list. An id keeps its lists until its horizon is over, 8 bytes an entry."""

MAX_INSTANCE = 2**31 - 1
MAX_REGRESSION_MAGNITUDE = 1e12
"""Beyond this the sums behind a regression metric would lose the digits that we promise."""

DEAD_LETTER_BYTES = 15 << 20
"""Key, value and headers together; larger ones are cut, so that the topic takes every letter."""

DEAD_LETTER_EXCERPT_BYTES = 64 << 10
DEAD_LETTER_TOPIC_BYTES = 16 << 20
DEAD_LETTER_MESSAGE_CHARACTERS = 500
