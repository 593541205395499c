"""Logging of every process: one line a record, on standard error, with libraries kept to what operators need."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

from agents.clock import SystemClock

__all__ = ["set_up_logging"]

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

SILENT = logging.CRITICAL + 1
LIBRARIES = {
    # Connection troubles are told once by who rides them out, not once an attempt by the driver.
    "aiokafka": logging.CRITICAL,
    "redis": logging.CRITICAL,
    # What ends a worker is logged by its command.
    "faust": SILENT,
    "mode": SILENT,
    "asyncio": logging.WARNING,
    "aiohttp": logging.WARNING,
    # Its messages hold the URLs it was given, which are secrets.
    "apprise": SILENT,
}
QUIET_SECONDS = 5.0
"""aiokafka repeats itself thousands of times a minute while a broker is away."""


class _Lines(logging.Formatter):
    """Times in UTC, as everything else here; a message stays on one line whatever it quotes."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return super().formatMessage(record).replace("\n", "\\n").replace("\r", "\\r")


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


def set_up_logging(level: int = logging.INFO, *, is_member: bool = False) -> None:
    """Log to standard error from now on, in place of whatever was set up before.

    Args:
        level: of our own messages; those of libraries are fixed above.
        is_member: whether this process joins a consumer group. What the group's coordinator refuses nobody else tells,
            so aiokafka's errors are logged too, now and then.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(FORMAT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library, library_level in LIBRARIES.items():
        logging.getLogger(library).setLevel(library_level)
    if is_member:
        driver = logging.getLogger("aiokafka")
        driver.setLevel(logging.ERROR)
        driver.propagate = False
        seldom = logging.StreamHandler(sys.stderr)
        seldom.setFormatter(_Lines(FORMAT))
        seldom.addFilter(_Seldom())
        driver.handlers[:] = [seldom]
