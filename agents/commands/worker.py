"""`latelabel worker`: count, judge and report, until told to stop or caught up."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys

import click

from agents.alert_rule_files import load_rules
from agents.app import run_worker
from agents.clock import SystemClock
from agents.commands.command_line import FAILED, INTERRUPTED, Invocation
from agents.reloading import Reloading
from streams.errors import LatelabelError

__all__ = ["worker"]

_log = logging.getLogger(__name__)

STOP_SECONDS = 9.0
"""SIGTERM leaves ten seconds; a task that ignores being cancelled does not get more."""
GARBAGE_THRESHOLD = 20_000
"""Objects: a batch makes up to 12,000 that live until it is packed. With five times as many, batches that are done
with, which Faust leaves in cycles, pile up to 100 MB."""


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
    """Count predictions and labels, and publish reports and alerts."""
    if close and not until_caught_up:
        raise click.UsageError("--close needs --until-caught-up")
    settings = invocation.settings()
    load_rules(settings)  # a mistake in a rule file ends as one in the configuration does
    invocation.log_by(settings, is_member=True)
    reloading = Reloading(settings, invocation.settings, SystemClock())
    _calm_the_garbage_collector()
    code = asyncio.run(_run(reloading, until_caught_up=until_caught_up, close=close))
    # Threads of libraries that still wait for a broker must not hold the process back.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _calm_the_garbage_collector() -> None:
    """A batch makes thousands of objects that all live until it is packed; by default every 700 are searched for
    cycles, again and again. That is a third of the time of packing."""
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 10, 10)


async def _run(reloading: Reloading, *, until_caught_up: bool, close: bool) -> int:
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(run_worker(reloading, until_caught_up=until_caught_up, close=close))
    codes: list[int] = []

    def stop(code: int) -> None:
        if not codes:
            codes.append(code)
            work.cancel()
            loop.call_later(STOP_SECONDS, os._exit, code)

    loop.add_signal_handler(signal.SIGHUP, reloading.ask)
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
