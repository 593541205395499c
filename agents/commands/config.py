"""`latelabel config`: is the configuration right, what is used, and what would a change mean."""

from __future__ import annotations

import collections
import json

import click

from agents.alert_rule_files import load_rules, patterns_of_no_file, rules_about_no_model
from agents.commands.command_line import MISUSED, Invocation
from agents.settings import ConfigurationError, Settings, environment, read_settings
from agents.settings_fields import Applies
from agents.settings_listing import resolved_yaml, settings_rows
from agents.settings_schema import file_schema

__all__ = ["config"]


@click.group()
def config() -> None:
    """Check the configuration, show what is used, or describe it to editors."""


@config.command()
@click.pass_obj
def check(invocation: Invocation) -> int:
    """Tell every mistake with its line, rule files included, or what a change of each setting needs.

    Ends with exit code 2 if there is a mistake.
    """
    file = invocation.configuration_file()
    settings, error = read_settings(file, environment())
    errors = [] if error is None else [error]
    try:
        rules = load_rules(settings)
    except ConfigurationError as rule_error:
        errors.append(rule_error)
    if errors:
        click.echo("\n".join(map(str, errors)), err=True)
        return MISUSED
    models = "1 model" if len(settings.models) == 1 else f"{len(settings.models)} models"
    click.echo(f"{file or 'No file, all defaults'}: ok, {models} listed, {len(rules)} alert rules")
    for note in (*patterns_of_no_file(settings), *rules_about_no_model(rules, settings)):
        click.echo(note)
    paths: dict[Applies, list[str]] = collections.defaultdict(list)
    for row in settings_rows():
        paths[row.meaning.applies].append(row.path)
    # What most settings need comes last, and needs no list.
    for applies in (each for each in Applies if each is not Applies.RESTART):
        click.echo(f"\nA change applies {applies}:")
        click.echo(click.wrap_text(", ".join(paths[applies]), width=100, initial_indent="  ", subsequent_indent="  "))
    click.echo(f"\nA change of any other setting applies {Applies.RESTART}.")
    return 0


@config.command()
@click.pass_obj
def show(invocation: Invocation) -> None:
    """Print the configuration that is used, all defaults written out, passwords masked."""
    settings = invocation.settings()
    click.echo(f"# {invocation.configuration_file() or 'No file, all defaults'}, and the environment")
    click.echo(resolved_yaml(settings), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors.

    `latelabel config schema > latelabel.schema.json`, then this as the first line of the file:
    `# yaml-language-server: $schema=latelabel.schema.json`
    """
    click.echo(json.dumps(file_schema(Settings), indent=2, ensure_ascii=False))
