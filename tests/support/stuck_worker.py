"""A worker like any other, except that a part of it stops working once there is something to read.

    STUCK_PART=thread|fetch|loop python -m tests.support.stuck_worker worker

thread   the consumer's thread is blocked
fetch    its fetch never comes back, the thread lives
loop     the worker's event loop is blocked
none     nothing is stuck

Its watchdog has less patience than usual: `OFFSET_SECONDS`, `THREAD_SECONDS` and `LOOP_SECONDS`.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from typing import Any

from agents import app, batch_transport
from agents.__main__ import main
from agents.intake import Intake
from agents.loop_watch import LoopWatch
from streams.watchdog import Watchdog, WatchdogLimits

__all__ = ["LOOP_SECONDS", "OFFSET_SECONDS", "THREAD_SECONDS"]

OFFSET_SECONDS = 8.0
THREAD_SECONDS = 4.0
LOOP_SECONDS = 5.0


class _StuckThread(batch_transport._Thread):
    async def _fetch_records(self, *arguments: Any, **options: Any) -> Any:
        if os.environ["STUCK_PART"] == "thread":
            threading.Event().wait()
        await asyncio.Event().wait()


class _StuckIntake(Intake):
    async def put(self, *arguments: Any) -> None:
        threading.Event().wait()


def _stick(part: str) -> None:
    # By name, because the wiring offers no place for it, and needs none outside these tests.
    limits = WatchdogLimits(offset_seconds=OFFSET_SECONDS, thread_seconds=THREAD_SECONDS)
    vars(app)["Watchdog"] = functools.partial(Watchdog, limits)
    vars(app)["LoopWatch"] = functools.partial(LoopWatch, limit_seconds=LOOP_SECONDS)
    if part in ("thread", "fetch"):
        vars(batch_transport)["_Thread"] = _StuckThread
    if part == "loop":
        vars(app)["Intake"] = _StuckIntake


if __name__ == "__main__":
    _stick(os.environ["STUCK_PART"])
    main(prog_name="latelabel")
