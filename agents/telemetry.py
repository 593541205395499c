"""Logging of every process: one line a record, on standard error, with libraries kept to what operators need."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

__all__ = ["set_up_logging"]

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

LIBRARIES = {
    # Connection troubles are told once by who rides them out, not once an attempt by the driver.
    "aiokafka": logging.CRITICAL,
    "redis": logging.CRITICAL,
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "asyncio": logging.WARNING,
}


class _Lines(logging.Formatter):
    """Times in UTC, as everything else here; a message stays on one line whatever it quotes."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return super().formatMessage(record).replace("\n", "\\n").replace("\r", "\\r")


def set_up_logging(level: int = logging.INFO) -> None:
    """Log to standard error from now on, in place of whatever was set up before.

    Args:
        level: of our own messages; those of libraries are fixed above.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(FORMAT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library, library_level in LIBRARIES.items():
        logging.getLogger(library).setLevel(library_level)
