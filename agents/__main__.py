"""The command line: `latelabel COMMAND`, also `python -m agents COMMAND`.

To add a command, write `agents/commands/NAME.py` with a click command called NAME, and add a line here.
"""

from __future__ import annotations

import click

from agents.commands.command_line import Invocation, Program

__all__ = ["main"]

COMMANDS = {
    "topics": "Create the topics and report what differs.",
    "init": "Create the ledger, or count again what was lost.",
    "worker": "Join predictions and labels, count, and publish reports.",
    "show": "Show all models, worst first, or one model on one screen.",
    "counts": "Print what has been counted, cell by cell.",
    "tail": "Print reports, alerts or explanations as they are published.",
    "alerts": "See what fires, and send it to Alertmanager, a webhook or people.",
    "explainer": "Explain the predictions that workers ask about, and publish why.",
    "explain": "Explain one prediction: which features decided, and how sure that is.",
    "probe": "Watch what a model takes: CPU, memory, restarts, and send it to Kafka.",
    "replay": "Publish predictions and labels from CSV, JSON Lines or Parquet files.",
    "dead-letters": "List, show or replay bad records, or let a stopped partition's records through.",
    "doctor": "Check everything that right counts depend on, and say what to do.",
    "backtest": "Tell which alerts there would have been, from files, without Kafka and Redis.",
    "rules": "Check and test alert rules, or describe their files to editors.",
    "config": "Check the configuration, show what is used, or describe it to editors.",
    "demo": "Judge real flights as they land, and recount every figure.",
}


@click.group(
    cls=Program,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="latelabel", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Model monitoring for when the truth arrives late.

    Exit codes: 0 done, 1 failed or unsafe, 2 wrong usage or configuration, 130 interrupted.
    """
    context.ensure_object(Invocation)


if __name__ == "__main__":
    main(prog_name="latelabel")
