"""Follows the topic of explanations, so that the page can show the newest ones without asking anybody.

Belongs to no consumer group and leaves no trace. Begins a bounded number of records before the end; what is older, and
what does not fit, stands on the topic alone. Counting never waits for it, and where it may not read, it says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from agents.settings import KafkaSettings
from agents.topic_tail import TopicTail
from streams.errors import LatelabelError
from streams.explanation.kept import KeptExplanations, kept_explanation

__all__ = ["ExplanationFeed"]

_log = logging.getLogger(__name__)

NEWEST_RECORDS = 10_000
"""Looked at when it begins, of all partitions together: about as many as are kept."""
FETCH_BYTES = 256 * 1024
AGAIN_SECONDS = 60.0
STARTING = "the topic of explanations has not been read yet"


class ExplanationFeed:
    """Reads explanations into `kept` for as long as it runs; `trouble` says why it does not, else it is None."""

    def __init__(self, kafka: KafkaSettings, kept: KeptExplanations) -> None:
        self.kept = kept
        self.trouble: str | None = STARTING
        self._kafka = kafka

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read for as long as the block runs."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except LatelabelError as failure:
                if self.trouble != str(failure):
                    _log.warning("The page shows no new explanations: %s", failure)
                self.trouble = str(failure)
            except Exception:  # noqa: BLE001  (a sample is not worth a worker)
                _log.exception("The page shows no new explanations, because of an error that nobody expects")
                self.trouble = "reading them failed; the worker's log says why"
            await asyncio.sleep(AGAIN_SECONDS)

    async def _follow(self) -> None:
        topic = self._kafka.topic("explanations")
        async with TopicTail(
            self._kafka, topic, from_beginning=False, newest=NEWEST_RECORDS, fetch_bytes=FETCH_BYTES
        ) as tail:
            async for values in tail.batches():
                for value in values:
                    explanation = kept_explanation(value)
                    if explanation is not None:
                        self.kept.add(explanation)
                    # Others have to get on between two of a long batch.
                    await asyncio.sleep(0)
                self.trouble = None
