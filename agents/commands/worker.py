"""`latelabel worker`: count, judge and report, until told to stop or caught up."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import click

from agents.app import run_worker
from agents.commands.command_line import FAILED, INTERRUPTED, Invocation
from agents.settings import Settings
from agents.telemetry import set_up_logging
from streams.errors import LatelabelError

__all__ = ["worker"]

_log = logging.getLogger(__name__)

STOP_SECONDS = 9.0
"""SIGTERM leaves ten seconds; a task that ignores being cancelled does not get more."""


@click.command()
@click.option(
    "--until-caught-up",
    is_flag=True,
    help="Stop when everything that the topics hold now is counted and published.",
)
@click.option(
    "--close",
    is_flag=True,
    help="Then close all windows: labels that come later no longer count.",
)
@click.pass_obj
def worker(invocation: Invocation, until_caught_up: bool, close: bool) -> None:
    """Count predictions and labels, and publish reports."""
    if close and not until_caught_up:
        raise click.UsageError("--close needs --until-caught-up")
    settings = invocation.settings()
    set_up_logging(is_member=True)
    code = asyncio.run(_run(settings, until_caught_up=until_caught_up, close=close))
    # Threads of libraries that still wait for a broker must not hold the process back.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


async def _run(settings: Settings, *, until_caught_up: bool, close: bool) -> int:
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(run_worker(settings, until_caught_up=until_caught_up, close=close))
    codes: list[int] = []

    def stop(code: int) -> None:
        if not codes:
            codes.append(code)
            work.cancel()
            loop.call_later(STOP_SECONDS, os._exit, code)

    loop.add_signal_handler(signal.SIGTERM, stop, 0)
    loop.add_signal_handler(signal.SIGINT, stop, INTERRUPTED)
    try:
        await work
    except asyncio.CancelledError:
        return codes[0] if codes else FAILED
    except LatelabelError as error:
        _log.error("%s", error)
        return FAILED
    except Exception:  # noqa: BLE001  (the last place that can say why)
        _log.exception("The worker stops because of an error that it does not expect")
        return FAILED
    return 0
