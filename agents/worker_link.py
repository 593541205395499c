"""What a worker tells the process of its page: a question and an answer over the socket that joins both.

    page ── a byte ──> worker        "how are you?"
    page <── a frame ── worker       `Told`: four bytes of length, big-endian, and a pickle

Only the page reads a pickle, of its parent: whoever takes the page over can make the worker answer, and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pickle
from collections.abc import Callable, Mapping, Sequence

from agents.exposition import Metric
from agents.settings import Settings
from streams.errors import TemporaryFailure
from streams.ledger.parts import Source
from streams.ports import Clock

__all__ = ["SILENT_SECONDS", "Told", "WorkerLink", "tell"]

LENGTH_BYTES = 4
QUESTION = b"?"
FRESH_SECONDS = 0.2
"""An answer serves everybody who asks so soon after it, so that no crowd of scrapers asks the worker more often."""
PAUSE_SECONDS = 0.1
"""Between two answers, whatever the page thinks."""
ANSWER_SECONDS = 10.0
"""Longer than anything that asks for health waits."""
BEAT_SECONDS = 5.0
"""The page asks so often although nobody asked it, to show that it lives."""
LOOK_SECONDS = 0.2
"""Between two looks whether the worker is still there."""
SILENT_SECONDS = 60.0
"""Of a page that starts or hangs; Python takes its time on a busy machine."""


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A worker as it stands now.

    `settings` come with the first answer and with newer ones; `unready` is why it does not read, None if it does.
    """

    settings: Settings | None
    is_running: bool
    unready: str | None
    metrics: Sequence[Metric]
    ends: Mapping[Source, int]


async def tell(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, told: Callable[[Settings | None], Told]
) -> None:
    """Answer until the page has gone.

    Args:
        told: what to answer, given the settings that the page has.

    Raises: TimeoutError: it asks nothing for `SILENT_SECONDS`, or takes no answer.
    """
    known: Settings | None = None
    while True:
        async with asyncio.timeout(SILENT_SECONDS):
            if not await reader.read(len(QUESTION)):
                return
            now = told(known)
            known = now.settings or known
            frame = pickle.dumps(now)
            writer.write(len(frame).to_bytes(LENGTH_BYTES) + frame)
            await writer.drain()
        await asyncio.sleep(PAUSE_SECONDS)


class WorkerLink:
    """The page's end: `told` is the newest answer, after `ask` one that is hardly older than the question."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, clock: Clock) -> None:
        self.told = Told(None, is_running=False, unready=None, metrics=(), ends={})
        self.settings: Settings | None = None
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._told_seconds = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def ask(self) -> None:
        """Have `told` renewed if it is not fresh; all who wait share one question.

        Raises: TemporaryFailure: the worker does not answer, or has gone.
        """
        if self._clock.monotonic_seconds() - self._told_seconds < FRESH_SECONDS:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._exchange())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.shield(self._asking)
        except TimeoutError:
            raise TemporaryFailure(f"the worker has not answered its page for {ANSWER_SECONDS:g} s") from None
        except (EOFError, ConnectionError):
            raise TemporaryFailure("the worker has gone") from None

    async def until_gone(self) -> None:
        """Wait for the worker's end, and ask now and then although nobody else does."""
        while not (self._reader.at_eof() or self._reader.exception()):
            if self._clock.monotonic_seconds() - self._told_seconds > BEAT_SECONDS:
                with contextlib.suppress(TemporaryFailure):
                    await self.ask()
            await asyncio.sleep(LOOK_SECONDS)

    async def _exchange(self) -> None:
        self._writer.write(QUESTION)
        await self._writer.drain()
        length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES))
        self.told = pickle.loads(await self._reader.readexactly(length))  # noqa: S301  (of our parent)
        self.settings = self.told.settings or self.settings
        self._told_seconds = self._clock.monotonic_seconds()
