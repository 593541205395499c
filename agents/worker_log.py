"""A log that can be read: our lines, and of the libraries only what a person can act on."""

from __future__ import annotations

import logging

from agents.clock import SystemClock

__all__ = ["set_up_worker_log"]

QUIET_SECONDS = 5.0
"""aiokafka repeats itself thousands of times a minute while a broker is away."""

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class _Seldom(logging.Filter):
    """Lets a line through once in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = SystemClock()
        self._next_seconds = 0.0

    def filter(self, _: logging.LogRecord) -> bool:
        now = self._clock.monotonic_seconds()
        if now < self._next_seconds:
            return False
        self._next_seconds = now + QUIET_SECONDS
        return True


def set_up_worker_log() -> None:
    """Write to standard error. Faust's own lines are left out: what ends a worker is logged by its command."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("agents").setLevel(logging.INFO)
    for name in ("faust", "mode"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    libraries = logging.getLogger("aiokafka")
    libraries.setLevel(logging.ERROR)
    libraries.propagate = False
    seldom = logging.StreamHandler()
    seldom.setFormatter(logging.Formatter(_FORMAT))
    seldom.addFilter(_Seldom())
    libraries.handlers[:] = [seldom]
