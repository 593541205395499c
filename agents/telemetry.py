"""Logging of every process: one line a record, on standard error, with libraries kept to what operators need.

Lines are text for people, or one JSON object each for programs; `deploy/guides/logging.md` names the fields. A fault
that repeats itself is told once in a while, with how often it came.
"""

from __future__ import annotations

import collections
import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

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
    "urllib3": SILENT,
}
QUIET_SECONDS = 4.0
"""Between two lines about the same: who rides out an outage speaks up every five seconds and is heard each time."""
MOST_KINDS = 256
"""Of faults that are remembered; more at a time are told in full."""

FORMING = "GroupCoordinatorNotAvailableError"
"""What a broker says to the first who asks for a group, while it makes the topic in which it keeps them."""
FORMING_SECONDS = 10.0
LEAVING = "closed] -- marking coordinator dead"
"""What is said of a request that was under way when a consumer stopped; of a broker that goes away others tell."""

_NUMBERS = re.compile(r"\d+")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; all else was said by who logged."""


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Lines(logging.Formatter):
    """Times in UTC, as everything else here; a message stays on one line whatever it quotes."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return _time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        message = super().formatMessage(record).replace("\n", "\\n").replace("\r", "\\r")
        repeated = getattr(record, "repeated", 0)
        return f"{message} (and {repeated} more like it)" if repeated else message


class _Objects(logging.Formatter):
    """One JSON object a line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        line |= {name: _plain(value) for name, value in vars(record).items() if name not in (_STANDARD | line.keys())}
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, _ = record.exc_info
            line["exception"] = {
                "type": kind.__name__,
                "message": str(error),
                "traceback": self.formatException(record.exc_info),
            }
        if record.stack_info:
            line["stack"] = record.stack_info
        # Half a surrogate is no character, but as an escape it is JSON.
        return json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace").decode()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  (whatever arguments of a library do not fit its message)
        return f"{record.msg} {record.args}"


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | bool) else str(value)


class _Repeats(logging.Filter):
    """Lets a warning or error through once in a while, and counts those like it in between.

    Alike are messages that differ in numbers only: offsets, ports, seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clock = SystemClock()
        self._kinds: collections.OrderedDict[tuple[str, int, str], tuple[float, int]] = collections.OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, record.levelno, _NUMBERS.sub("#", _message(record)))
        now = self._clock.monotonic_seconds()
        told, repeated = self._kinds.get(kind, (float("-inf"), 0))
        if now - told < QUIET_SECONDS:
            self._kinds[kind] = (told, repeated + 1)
            return False
        self._kinds[kind] = (now, 0)
        self._kinds.move_to_end(kind)
        if len(self._kinds) > MOST_KINDS:
            self._kinds.popitem(last=False)
        if repeated:
            record.repeated = repeated
        return True


class _Seldom(logging.Filter):
    """Lets a line through once in a while, whatever it says; that a new cluster makes ready, only if it takes long, and
    what a consumer that leaves has not waited for, never."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = SystemClock()
        self._next_seconds = 0.0
        self._forming_until_seconds: float | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock.monotonic_seconds()
        message = _message(record)
        if LEAVING in message:
            return False
        if FORMING in message:
            self._forming_until_seconds = self._forming_until_seconds or now + FORMING_SECONDS
            if now < self._forming_until_seconds:
                return False
        if now < self._next_seconds:
            return False
        self._next_seconds = now + QUIET_SECONDS
        return True


def set_up_logging(level: int = logging.INFO, *, is_member: bool = False, as_json: bool = False) -> None:
    """Log to standard error from now on, in place of whatever was set up before.

    Args:
        level: of our own messages; those of libraries are fixed above.
        is_member: whether this process joins a consumer group. What the group's coordinator refuses nobody else tells,
            so aiokafka's errors are logged too, now and then.
        as_json: objects instead of text, also for what nobody catches.
    """
    formatter = _Objects() if as_json else _Lines(FORMAT)
    logging.basicConfig(level=level, handlers=[_handler(formatter, _Repeats())], force=True)
    logging.captureWarnings(True)
    if as_json:
        _log_what_nobody_catches()
    for library, library_level in LIBRARIES.items():
        logging.getLogger(library).setLevel(library_level)
    if is_member:
        driver = logging.getLogger("aiokafka")
        driver.setLevel(logging.ERROR)
        driver.propagate = False
        # aiokafka says the same in many words, thousands of times a minute while a broker is away.
        driver.handlers[:] = [_handler(formatter, _Seldom())]


def _handler(formatter: logging.Formatter, once_in_a_while: logging.Filter) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(once_in_a_while)
    return handler


def _log_what_nobody_catches() -> None:
    def of_the_program(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        logging.getLogger("agents").critical("Not caught: %s", kind.__name__, exc_info=(kind, error, where))

    def of_a_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            of_the_program(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)

    def of_nobody(arguments: Any) -> None:
        if arguments.exc_value is not None:
            of_the_program(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_the_program, of_a_thread, of_nobody
