"""Why there is no explanation: a closed list of reasons, and the one error that explaining raises."""

from __future__ import annotations

from schemas.explanation import ExplainFailure

__all__ = ["Refused"]

MESSAGE_CHARACTERS = 500


class Refused(Exception):
    """An explanation that cannot be given, whoever tries; it is published with this reason instead.

    Args:
        reason: of the closed list.
        message: for people: the value, the limit and the remedy.
    """

    def __init__(self, reason: ExplainFailure, message: str) -> None:
        # Servers and models are quoted, and may say anything.
        self.message = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message[:MESSAGE_CHARACTERS])
        self.reason = reason
        super().__init__(f"{reason}: {self.message}")
