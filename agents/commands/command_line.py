"""What all commands share: the configuration they were given, and being loaded only when they are called.

A group's commands stand in a table of names and one-line descriptions, so that help imports none of them. The command
`dead-letters` is the object `dead_letters` of the module `agents.commands.dead_letters`.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from streams.errors import LatelabelError, TemporaryFailure

if TYPE_CHECKING:
    from agents.settings import Settings

__all__ = ["FAILED", "INTERRUPTED", "MISUSED", "Invocation", "LazyGroup", "Program"]

FAILED = 1
MISUSED = 2
INTERRUPTED = 130

SERVICE_REMEDY = """\
Check that it runs and that the address is right: kafka.brokers and redis.url of the configuration, or
LATELABEL_KAFKA__BROKERS and LATELABEL_REDIS__URL. `latelabel config show` prints what is used."""


@dataclasses.dataclass(slots=True)
class Invocation:
    """One call of the program; commands get it by `@click.pass_obj`."""

    config: Path | None = None
    """The file given by `--config`, if any."""

    def settings(self) -> Settings:
        """The configuration.

        Raises: ConfigurationError with all mistakes, which ends the program with exit code 2.
        """
        from agents.settings import environment, load_settings

        return load_settings(self.config, environment())

    def log_by(self, settings: Settings, *, is_member: bool = False) -> None:
        """Log as configured from now on; `is_member` as in `set_up_logging`."""
        from agents.settings import environment
        from agents.telemetry import set_up_logging

        as_json = settings.log.is_json(environment(), on_terminal=sys.stderr.isatty())
        set_up_logging(settings.log.level_number, is_member=is_member, as_json=as_json)

    def configuration_file(self) -> Path | None:
        """The file that `settings` reads; None if it reads none."""
        from agents.settings import configuration_file, environment

        return configuration_file(self.config, environment())


def _remember_config(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).config = value


def config_option() -> click.Option:
    """`--config FILE`, as every command has it."""
    return click.Option(
        ["--config"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_remember_config,
        help="Configuration (default: LATELABEL_CONFIG, else ./latelabel.yaml, else all defaults).",
    )


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called.

    Args:
        commands: one line of description by name.
    """

    def __init__(self, *args: Any, table: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._table = table
        self.params.append(config_option())

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self._table:
            return super().get_command(ctx, cmd_name)
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"agents.commands.{name}"), name)
        _offer_config(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Describe the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._table.items()))


def _offer_config(command: click.Command) -> None:
    """Accept `--config` after the command too, and after the commands inside it."""
    if not any("--config" in parameter.opts for parameter in command.params):
        command.params.append(config_option())
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _offer_config(inner)


class Program(LazyGroup):
    """The whole program: turns whatever its commands raise into a message and an exit code."""

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and exit unless `standalone_mode` is off."""
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        try:
            result = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(INTERRUPTED)
        except LatelabelError as error:
            sys.exit(_explain(error))
        sys.exit(result if isinstance(result, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named; a reader that has seen enough is no failure."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _discard(sys.stdout)
            return 0
        return result


def _explain(error: LatelabelError) -> int:
    from agents.settings_file import ConfigurationError

    if isinstance(error, ConfigurationError):
        click.echo(str(error), err=True)
        return MISUSED
    click.echo(f"Error: {error}", err=True)
    if isinstance(error, TemporaryFailure):
        click.echo(SERVICE_REMEDY, err=True)
    return FAILED


def _discard(stream: TextIO) -> None:
    """Let the interpreter's last flush have nowhere to fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
