"""A dead letter: a bad record as it came, with the reason beside it in headers.

Value, key and original headers are untouched, so that a repaired reader, or a person, can take the
record from here. Only a letter that the topic could not take is cut: the first 64 KiB of its value stay, and
the SHA-256 of the whole value says which record it was.

`latelabel-time` is the Kafka timestamp of the bad record, from which its event time may have followed;
`timestamp_ms` of the letter itself is when it was written.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

from schemas.errors import Reason, Rejected
from schemas.limits import DEAD_LETTER_BYTES, DEAD_LETTER_EXCERPT_BYTES, DEAD_LETTER_MESSAGE_CHARACTERS
from schemas.times import format_time, parse_time_ms

__all__ = ["HEADER_PREFIX", "DeadLetter", "Origin", "dead_letter", "read_origin", "without_ours"]

HEADER_PREFIX = "latelabel-"

Header = tuple[str, bytes | None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record for the dead-letter topic, ready to be sent with `timestamp_ms` as its own time."""

    key: bytes | None
    value: bytes | None
    headers: list[Header]
    timestamp_ms: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which record a letter is about, and why it was refused, as its headers say.

    `reason` is one of `schemas.errors.Reason`, or one that a later version added. `timestamp_ms` is the record's
    own, None if it had none. `sha256` is set when the letter was cut, and is that of the whole value.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    message: str
    timestamp_ms: int | None
    sha256: str | None = None

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


def read_origin(headers: Iterable[Header]) -> Origin | None:
    """Read the headers that `dead_letter` adds; None if they are not all there, so that it is no letter of ours."""
    ours = {name.removeprefix(HEADER_PREFIX): value for name, value in headers if name.startswith(HEADER_PREFIX)}
    texts = {name: (value or b"").decode("utf-8", "replace") for name, value in ours.items()}
    try:
        return Origin(
            topic=texts["topic"],
            partition=int(texts["partition"]),
            offset=int(texts["offset"]),
            reason=texts["reason"],
            message=texts["message"],
            timestamp_ms=_time_ms(texts["time"]),
            sha256=texts.get("sha256"),
        )
    except (KeyError, ValueError, Rejected):
        return None


def without_ours(headers: Iterable[Header]) -> list[Header]:
    """The headers that the bad record came with."""
    return [header for header in headers if not header[0].startswith(HEADER_PREFIX)]


def dead_letter(
    *,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[Header],
    reason: Reason,
    message: str,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    now_ms: int,
) -> DeadLetter:
    """Make the letter for one bad record, or for one unreadable batch (then key and value are None).

    Args:
        headers: as they came. Those of an earlier life as a dead letter are replaced.
        message: for people; control characters are written as escapes, so that it is safe in a log.
        timestamp_ms: Kafka timestamp of the bad record, whatever its sender made of it.
        now_ms: time of the letter.
    """
    kept = without_ours(headers)
    added: list[Header] = [
        (f"{HEADER_PREFIX}reason", str(reason).encode()),
        (f"{HEADER_PREFIX}message", _one_line(message).encode()),
        (f"{HEADER_PREFIX}topic", topic.encode()),
        (f"{HEADER_PREFIX}partition", str(partition).encode()),
        (f"{HEADER_PREFIX}offset", str(offset).encode()),
        (f"{HEADER_PREFIX}time", _time_text(timestamp_ms).encode()),
    ]
    if _size(key, value, kept) > DEAD_LETTER_BYTES:
        added.append((f"{HEADER_PREFIX}sha256", hashlib.sha256(value or b"").hexdigest().encode()))
        value, key, kept = _excerpt(value), _excerpt(key), _first(kept)
    return DeadLetter(key=key, value=value, headers=kept + added, timestamp_ms=now_ms)


def _size(key: bytes | None, value: bytes | None, headers: Iterable[Header]) -> int:
    return len(key or b"") + len(value or b"") + sum(map(_header_size, headers))


def _header_size(header: Header) -> int:
    name, value = header
    return len(name.encode()) + len(value or b"")


def _excerpt(content: bytes | None) -> bytes | None:
    return None if content is None else content[:DEAD_LETTER_EXCERPT_BYTES]


def _first(headers: Sequence[Header]) -> list[Header]:
    """The headers up to the first that no longer fits; half a header would be a wrong one."""
    fitting: list[Header] = []
    room = DEAD_LETTER_EXCERPT_BYTES
    for header in headers:
        room -= _header_size(header)
        if room < 0:
            break
        fitting.append(header)
    return fitting


def _one_line(message: str) -> str:
    shortened = message[:DEAD_LETTER_MESSAGE_CHARACTERS]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shortened)


def _time_text(timestamp_ms: int) -> str:
    """RFC 3339, or the bare number of milliseconds for a timestamp outside the years 1 to 9999."""
    try:
        return format_time(timestamp_ms)
    except OverflowError:
        return str(timestamp_ms)


def _time_ms(text: str) -> int | None:
    time_ms = int(text) if text.lstrip("-").isdecimal() else parse_time_ms(text)
    return None if time_ms < 0 else time_ms  # Kafka's -1 for "no timestamp"
