"""How commands run that do not end by themselves: until they are told to stop, or cannot go on.

SIGTERM    0    what runs is cancelled, and has a few seconds to end
SIGINT   130    the same
errors     1    with one line that says why, or a traceback where nobody expected it
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from agents.commands.command_line import FAILED, INTERRUPTED
from streams.errors import LatelabelError

__all__ = ["serve"]

_log = logging.getLogger(__name__)

STOP_SECONDS = 9.0
"""SIGTERM leaves ten seconds; a task that ignores being cancelled does not get more."""


def serve(
    work: Coroutine[Any, Any, None],
    *,
    what: str,
    reload: Callable[[], None] | None = None,
    stop_seconds: float = STOP_SECONDS,
) -> NoReturn:
    """Run until it is done or stopped, and end the process.

    Args:
        work: to be run.
        what: names it in the message about an error that nobody expects.
        reload: called on SIGHUP; without it SIGHUP ends the process, as usual.
        stop_seconds: how long it may take to stop.
    """
    code = asyncio.run(_run(work, what, reload, stop_seconds))
    # Threads of libraries that still wait for an answer must not hold the process back.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


async def _run(
    work: Coroutine[Any, Any, None], what: str, reload: Callable[[], None] | None, stop_seconds: float
) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    codes: list[int] = []

    def stop(code: int) -> None:
        if not codes:
            _log.info("%s was told to stop", what)
            codes.append(code)
            task.cancel()
            loop.call_later(stop_seconds, os._exit, code)

    if reload is not None:
        loop.add_signal_handler(signal.SIGHUP, reload)
    loop.add_signal_handler(signal.SIGTERM, stop, 0)
    loop.add_signal_handler(signal.SIGINT, stop, INTERRUPTED)
    try:
        await task
    except asyncio.CancelledError:
        return codes[0] if codes else FAILED
    except LatelabelError as error:
        _log.error("%s", error)
        return FAILED
    except Exception:  # noqa: BLE001  (the last place that can say why)
        _log.exception("%s stops because of an error that it does not expect", what)
        return FAILED
    return 0
