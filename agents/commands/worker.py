"""`latelabel worker`: count, judge and report, until told to stop or caught up."""

from __future__ import annotations

import click

from agents.alert_rule_files import load_rules
from agents.app import run_worker
from agents.clock import SystemClock
from agents.commands.command_line import Invocation
from agents.commands.serving import serve
from agents.garbage import look_for_garbage_rarely
from agents.reloading import Reloading

__all__ = ["worker"]


@click.command()
@click.option(
    "--until-caught-up",
    is_flag=True,
    help="Stop when everything that the topics hold now is counted and published.",
)
@click.option(
    "--close",
    is_flag=True,
    help="Then close: labels that come later no longer count, and windows that end by the newest event time are final.",
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
    look_for_garbage_rarely()
    work = run_worker(reloading, until_caught_up=until_caught_up, close=close)
    serve(work, what="The worker", reload=reloading.ask)
