"""Durations as Prometheus writes them: `30s`, `5m`, `1h30m`, `7d`, `250ms`."""

from __future__ import annotations

import re

__all__ = ["DURATION_EXAMPLES", "DURATION_PATTERN", "duration_ms", "duration_text"]

DURATION_EXAMPLES = "30s, 5m, 1h30m or 7d"

_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_DURATION = re.compile("".join(f"(?:([0-9]{{1,9}}){unit})?" for unit in _UNITS_MS))
DURATION_PATTERN = "0|(?=.)" + "".join(f"(?:[0-9]{{1,9}}{unit})?" for unit in _UNITS_MS)
"""What `duration_ms` reads, in words that every dialect of regular expressions knows."""
# What is written back: days are the longest unit that everybody reads the same way.
_WRITTEN = ("d", "h", "m", "s", "ms")


def duration_ms(text: str) -> int:
    """The milliseconds of a duration: each unit at most once, the longest first.

    Raises: ValueError for anything else, a bare number included (0 needs no unit).

    >>> duration_ms("1h30m"), duration_ms("250ms"), duration_ms("0")
    (5400000, 250, 0)
    """
    if text == "0":
        return 0
    matched = _DURATION.fullmatch(text)
    if not text or matched is None:
        raise ValueError(f"{text!r} is not a duration such as {DURATION_EXAMPLES}")
    return sum(int(count or 0) * unit_ms for count, unit_ms in zip(matched.groups(), _UNITS_MS.values(), strict=True))


def duration_text(milliseconds: int) -> str:
    """The shortest text that `duration_ms` reads as this many milliseconds.

    >>> duration_text(5_400_000), duration_text(86_400_000), duration_text(0)
    ('1h30m', '1d', '0s')
    """
    written = []
    rest = milliseconds
    for unit in _WRITTEN:
        count, rest = divmod(rest, _UNITS_MS[unit])
        if count:
            written.append(f"{count}{unit}")
    return "".join(written) or "0s"
