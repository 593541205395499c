"""The port behind which receivers of alerts stand, and how they say that they did not take one.

TemporaryFailure
  NotTaken    nobody there, too busy, or it does not let us in: the alerts wait
PermanentFailure
  Refused     it will never take these alerts: they are stepped over
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Protocol

from schemas.alert import Alert
from streams.errors import PermanentFailure, TemporaryFailure

__all__ = ["NotTaken", "PublishedAlert", "Receiver", "Refused", "Trouble"]


@dataclasses.dataclass(frozen=True, slots=True)
class PublishedAlert:
    """An alert, and its bytes as they stand on the topic."""

    alert: Alert
    value: bytes


class Trouble(enum.StrEnum):
    """Why an attempt failed: a closed list, so that it can be a label of a metric."""

    CONNECTION = "connection"
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"
    BUSY = "busy"
    SERVER_ERROR = "server_error"
    NOT_ADMITTED = "not_admitted"
    REFUSED = "refused"


class NotTaken(TemporaryFailure):
    """The receiver may take the same alerts later.

    `concerns_all` is False where it answered about these alerts alone, so that others are still worth a try.
    """

    def __init__(
        self, message: str, trouble: Trouble, *, concerns_all: bool = True, retry_after_seconds: float = 0.0
    ) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.concerns_all = concerns_all
        self.retry_after_seconds = retry_after_seconds


class Refused(PermanentFailure):
    """The receiver understood and says no: sending the same alerts again changes nothing."""


class Receiver(Protocol):
    """Takes alerts, at most `most_at_once` in a call. It may be given the same one again."""

    name: str
    most_at_once: int

    async def deliver(self, alerts: Sequence[PublishedAlert]) -> None:
        """Hand over alerts; return when the receiver has taken all of them.

        Raises:
            NotTaken: try again later; it may have taken some.
            Refused: one of them will never be taken. Which one is found out by handing them over one by one.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
