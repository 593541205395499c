"""Waiting for a condition with a deadline, which is how tests wait here: never for a length of time."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["wait_until"]

POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = 60.0) -> None:
    """Return as soon as `condition()` is true.

    Args:
        condition: asked about fifty times a second.
        what: completes the sentence "waited ... s for ...".
        seconds: the deadline; a program that starts beside others takes its time.

    Raises:
        AssertionError: the deadline passed.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(POLL_SECONDS)
