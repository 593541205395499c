"""`latelabel rules`: are the alert rules right, and what do their files look like."""

from __future__ import annotations

import json
from pathlib import Path

import click

from agents.alert_rule_files import load_rules, patterns_of_no_file, rule_file_schema, rules_about_no_model
from agents.commands.command_line import FAILED, Invocation
from agents.rule_tests import run_rule_tests

__all__ = ["rules"]


@click.group()
def rules() -> None:
    """Check and test alert rules, or describe their files to editors."""


@rules.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE…]")
@click.pass_obj
def check(invocation: Invocation, files: tuple[Path, ...]) -> None:
    """Tell every mistake with its file and line; without FILE in the `rule_files` of the configuration.

    Also names rules for which the configuration lists no model. Ends with exit code 2 if there is a mistake.
    """
    settings = invocation.settings()
    read = load_rules(settings, files or None)
    where = len({rule.file for rule in read})
    number = "1 rule" if len(read) == 1 else f"{len(read)} rules"
    click.echo(f"ok, {number} in {'1 file' if where == 1 else f'{where} files'}")
    for note in (*(() if files else patterns_of_no_file(settings)), *rules_about_no_model(read, settings)):
        click.echo(note)


@rules.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.pass_obj
def test(invocation: Invocation, files: tuple[Path, ...]) -> int:
    """Test rules as promtool does: figures of windows go in, the alerts that fire are compared.

    Ends with exit code 1 if one is not as expected, 2 if a file has a mistake.
    """
    settings = invocation.settings()
    failed = False
    for file in files:
        count, differences = run_rule_tests(file, settings)
        click.echo(f"{file}: {count - len(differences)} of {count} expectations met")
        for each in differences:
            failed = True
            click.echo(f"  FAILED: {each.test}, alertname: {each.alert}, time: {each.at}")
            for what, alerts in (("expected", each.expected), ("found", each.found)):
                click.echo(f"    {what}: {alerts[0] if len(alerts) == 1 else ('' if alerts else 'none')}".rstrip())
                for alert in alerts if len(alerts) > 1 else ():
                    click.echo(f"      {alert}")
    return FAILED if failed else 0


@rules.command()
def schema() -> None:
    """Print the JSON Schema of a rule file, for editors.

    `latelabel rules schema > rules.schema.json`, then this as the first line of the file:
    `# yaml-language-server: $schema=rules.schema.json`
    """
    click.echo(json.dumps(rule_file_schema(), indent=2, ensure_ascii=False))
