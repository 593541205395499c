"""Why there is no explanation: a closed list of reasons, and the one error that explaining raises."""

from __future__ import annotations

from schemas.explanation import ExplainFailure

__all__ = ["Refused"]


class Refused(Exception):
    """An explanation that cannot be given, whoever tries; it is published with this reason instead.

    Args:
        reason: of the closed list.
        message: for people: the value, the limit and the remedy.
    """

    def __init__(self, reason: ExplainFailure, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
