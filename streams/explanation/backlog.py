"""Requests that wait to be explained: bounded, in order, those of people first; what is too much is dropped."""

from __future__ import annotations

from collections import OrderedDict, deque

from schemas.explain_request import ExplainRequest, WhyAsked

__all__ = ["Backlog"]

MOST_WAITING = 1000
"""A second's work of a fast model; whoever asks for more gets it late or not at all."""


class Backlog:
    """Samples are dropped beyond the limit, what somebody asked for is not: people ask seldom."""

    def __init__(self, *, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: OrderedDict[tuple[bool, str, str], deque[ExplainRequest]] = OrderedDict()
        self.count = 0

    def add(self, request: ExplainRequest) -> bool:
        """Take a request in; False if there is no room for it."""
        is_sample = request.reason is not WhyAsked.ASKED
        if is_sample and self.count >= self._most:
            return False
        subject = (is_sample, request.model, request.model_version)
        self._waiting.setdefault(subject, deque()).append(request)
        if not is_sample:
            self._waiting.move_to_end(subject, last=False)
        self.count += 1
        return True

    def take(self, most: int) -> list[ExplainRequest]:
        """Up to `most` requests about one model version; model versions take turns."""
        if not self._waiting:
            return []
        subject, waiting = self._waiting.popitem(last=False)
        taken = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        if waiting:
            self._waiting[subject] = waiting
        self.count -= len(taken)
        return taken
