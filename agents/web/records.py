"""Single records for page and API: explanations that this worker has read, and dead letters, read when asked for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from typing import Protocol

import msgspec

from agents.dead_letter_log import Letter
from agents.dead_letter_peek import Peek
from agents.record_text import inline, printable, shown_bytes
from agents.web.problems import BadRequest, NotFound, NotShown
from agents.web.record_documents import DeadLetterPage, DeadLetterRow, DeadLetters, Explanations
from schemas.times import format_time
from streams.explanation.kept import ExplanationsAsked, KeptExplanation, KeptExplanations
from streams.identity import KEY_BYTES

__all__ = ["CURSOR", "Letters", "NewestExplanations", "RecordReader", "read_cursor"]

SHOWN_BYTES = 4096
CURSOR = f"([0-9]{{1,15}})-([0-9a-f]{{{2 * KEY_BYTES}}})"


class NewestExplanations(Protocol):
    """`agents.explanation_feed.ExplanationFeed`; see there."""

    @property
    def kept(self) -> KeptExplanations: ...
    @property
    def trouble(self) -> str | None: ...


class Letters(Protocol):
    """`agents.dead_letter_peek.DeadLetterPeek`; see there."""

    topic: str

    async def newest(self) -> Peek: ...
    async def letter(self, partition: int, offset: int) -> Letter | None: ...


class RecordReader:
    """Answers questions about records.

    Args:
        explained: names of the models that are.
        are_shown: `web.records`.
    """

    def __init__(
        self, explanations: NewestExplanations, letters: Letters, *, explained: Collection[str], are_shown: bool
    ) -> None:
        self._explanations = explanations
        self._letters = letters
        self.explained = explained
        self.are_shown = are_shown

    def explanations(self, asked: ExplanationsAsked, *, most: int) -> Explanations:
        """Those that are kept here.

        Raises: NotShown.
        """
        self._check()
        found = list(itertools.islice(self._explanations.kept.find(asked), most + 1))
        shown = found[:most]
        is_explained = asked.model in self.explained
        return Explanations(
            model=asked.model,
            explanations=tuple(msgspec.Raw(each.value) for each in shown),
            next_cursor=_cursor(shown[-1]) if len(found) > most else None,
            is_explained=is_explained,
            trouble=self._explanations.trouble if is_explained else None,
        )

    async def dead_letters(self) -> DeadLetters:
        """The newest.

        Raises: NotShown, TemporaryFailure, PermanentFailure.
        """
        self._check()
        peek = await self._letters.newest()
        return DeadLetters(topic=self._letters.topic, there=peek.there, letters=tuple(map(_row, peek.letters)))

    async def dead_letter(self, partition: int, offset: int) -> DeadLetterPage:
        """One of them, by where it lies.

        Raises: NotShown, NotFound, TemporaryFailure, PermanentFailure.
        """
        self._check()
        letter = await self._letters.letter(partition, offset)
        if letter is None:
            raise NotFound(
                f"no dead letter lies at {self._letters.topic}/{partition}@{offset}; Kafka may have let it go",
                field="offset",
            )
        shown = shown_bytes(letter.value or b"", most=SHOWN_BYTES)
        return DeadLetterPage(
            letter=_row(letter),
            key=_cut(inline(letter.key)),
            headers=tuple((_cut(printable(name)), _cut(inline(content))) for name, content in letter.headers[:50]),
            value=None if letter.value is None else "\n".join(shown.lines),
            is_text=shown.is_text,
            left_bytes=shown.left_bytes,
            sha256=letter.origin.sha256,
        )

    def _check(self) -> None:
        if not self.are_shown:
            raise NotShown("web.records is false in the configuration, so single records are not shown")


def read_cursor(text: str) -> tuple[int, bytes]:
    """The place that a cursor names.

    Raises: BadRequest.
    """
    found = re.fullmatch(CURSOR, text)
    if found is not None:
        return int(found[1]), bytes.fromhex(found[2])
    raise BadRequest(f"cursor is what next_cursor of an answer said, not {text[:40]!r}", field="cursor")


def _cursor(each: KeptExplanation) -> str:
    return f"{each.time_ms}-{each.key.hex()}"


def _row(letter: Letter) -> DeadLetterRow:
    origin = letter.origin
    return DeadLetterRow(
        topic=origin.topic,
        partition=origin.partition,
        offset=origin.offset,
        time=_time(origin.timestamp_ms),
        reason=origin.reason,
        message=origin.message,
        letter_partition=letter.partition,
        letter_offset=letter.offset,
        written=_time(letter.timestamp_ms),
        bytes=None if letter.value is None else len(letter.value),
    )


def _time(time_ms: int | None) -> str | None:
    """Whoever writes to Kafka says when it was."""
    try:
        return None if time_ms is None else format_time(time_ms)
    except OverflowError:
        return None


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_BYTES else text[:SHOWN_BYTES] + "…"
