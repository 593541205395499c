"""Whether a reader of a log still gets on: a broker that says nothing is an outage, not the end of the log."""

from __future__ import annotations

from streams.errors import TemporaryFailure

__all__ = ["POLL_MS", "Headway"]

POLL_MS = 500
SILENT_POLLS = 10
"""So many without any progress, although the log does not end there, and no broker answers. What was aborted or
compacted away is passed over, which is progress too."""


class Headway:
    """Compares positions after each poll.

    Args:
        position: before the first one; of one partition, or of several.
    """

    def __init__(self, position: object) -> None:
        self._position = position
        self._silent = 0

    def check(self, position: object, *, silence: str) -> None:
        """Note where the reader is now.

        Raises:
            TemporaryFailure: it has been there for too many polls; says `silence`.
        """
        self._silent = self._silent + 1 if position == self._position else 0
        self._position = position
        if self._silent == SILENT_POLLS:
            raise TemporaryFailure(silence)
