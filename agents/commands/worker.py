"""`latelabel worker`: count, judge and report, until told to stop or caught up."""

from __future__ import annotations

import gc

import click

from agents.alert_rule_files import load_rules
from agents.app import run_worker
from agents.clock import SystemClock
from agents.commands.command_line import Invocation
from agents.commands.serving import serve
from agents.reloading import Reloading

__all__ = ["worker"]

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
    work = run_worker(reloading, until_caught_up=until_caught_up, close=close)
    serve(work, what="The worker", reload=reloading.ask)


def _calm_the_garbage_collector() -> None:
    """A batch makes thousands of objects that all live until it is packed; by default every 700 are searched for
    cycles, again and again. That is a third of the time of packing."""
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 10, 10)
