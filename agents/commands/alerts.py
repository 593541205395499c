"""`latelabel alerts`: what fires, what became of it, and sending it to those who have to know."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence

import click
from rich.console import Console

from agents.alert_forwarding import RECEIVERS, forward_alerts
from agents.clock import SystemClock
from agents.commands.command_line import Invocation
from agents.commands.output import OutputFormat, format_option, print_lines, print_records
from agents.commands.serving import serve
from agents.receiver_settings import is_url
from agents.redis_alerts import RedisAlerts
from agents.redis_connection import connect
from agents.redis_reports import RedisReports
from agents.settings import Settings
from agents.show.alerts import LOUD, alert_screen, alert_value, alerts_screen, worst_alerts_first
from agents.show.drawing import age
from agents.show.system import SystemReports, silent_for_ms, system_reports
from agents.terminal_text import printable
from streams.alerting.fingerprint import fingerprint
from streams.alerting.record import AlertRecord
from streams.errors import PermanentFailure

__all__ = ["alerts"]

STOP_SECONDS = 5.0
"""Leaving the group takes one request; a broker that is away must not hold the process up."""


@click.group()
def alerts() -> None:
    """See what fires, and send it to those who have to know."""


@alerts.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those about which there is nothing to say.")
@click.option("--model", metavar="NAME", help="Of this model alone.")
@format_option
@click.pass_obj
def list_alerts(invocation: Invocation, everything: bool, model: str | None, output: str) -> None:
    """List alerts, what fires first: firing, pending, stale, and resolved within a quarter of an hour.

    JSON Lines have one object for each, with its history.
    """
    settings = invocation.settings()
    records = [record for record in asyncio.run(_every_alert(settings)) if model in (None, record.labels.get("model"))]
    ordered = worst_alerts_first(records)
    shown = ordered if everything else [record for record in ordered if record.state.phase in LOUD]
    if output == OutputFormat.JSONL:
        print_records(map(alert_value, shown), output, columns=())
    elif not records:
        click.echo(_nothing(settings, model))
    else:
        console = Console(highlight=False, soft_wrap=True)
        now_ms = SystemClock().now_ms()
        print_lines(console, alerts_screen(shown, every=records, now_ms=now_ms, width=console.width))
        reports = asyncio.run(_system_reports(settings))
        silent_ms = silent_for_ms(reports, now_ms=now_ms, interval_ms=settings.evaluation_interval_ms)
        if silent_ms is not None:
            click.echo(
                f"\nNo worker has reported for {age(silent_ms).removesuffix(' ago')}: this is how alerts stood then."
            )


@alerts.command("show")
@click.argument("name", metavar="FINGERPRINT|NAME")
@format_option
@click.pass_obj
def show_alert(invocation: Invocation, name: str, output: str) -> None:
    """Show alerts with state, reason and history: by the beginning of a fingerprint, or all of a name."""
    records = asyncio.run(_every_alert(invocation.settings()))
    found = [
        record for record in records if name == record.alert or fingerprint(record.labels).startswith(name.lower())
    ]
    if not found:
        raise PermanentFailure(f'there is no alert "{printable(name)}"; `latelabel alerts list --all` lists all')
    if output == OutputFormat.JSONL:
        print_records(map(alert_value, found), output, columns=())
        return
    console = Console(highlight=False, soft_wrap=True)
    for at, record in enumerate(worst_alerts_first(found)):
        if at:
            console.print()
        print_lines(console, alert_screen(record, now_ms=SystemClock().now_ms(), width=console.width))


async def _every_alert(settings: Settings) -> Sequence[AlertRecord]:
    async with RedisAlerts.opened(settings.redis) as store:
        return await store.every_alert()


async def _system_reports(settings: Settings) -> SystemReports:
    redis = settings.redis
    async with contextlib.aclosing(connect(redis.url)) as client:
        return await system_reports(RedisReports(client, address=redis.address, prefix=redis.prefix), size_seconds=None)


def _nothing(settings: Settings, model: str | None) -> str:
    if model is not None:
        return f'No rule has looked at model "{printable(model)}" yet; `latelabel show` lists the models.'
    if not settings.rule_files:
        return "There are no rules: name files with alert rules under `rule_files` in the configuration."
    return "No rule has looked at anything yet: `latelabel worker` does so as soon as a model has a report."


@alerts.command()
@click.option(
    "--to",
    type=click.Choice(RECEIVERS),
    required=True,
    help="Alertmanager, any URL that takes its webhooks' body, or what Apprise reaches.",
)
@click.option(
    "--url", metavar="URL", help="Of Alertmanager or the webhook, in place of `receivers` in the configuration."
)
@click.option("--group", metavar="NAME", help="Consumer group (default: that of the workers, then -alerts-RECEIVER).")
@click.pass_obj
def forward(invocation: Invocation, to: str, url: str | None, group: str | None) -> None:
    """Send alerts to a receiver as they are published, until stopped.

    Goes on where it stopped: what was delivered is noted in Kafka. While the receiver is away the latest of each alert
    waits. Start one for each receiver; a second one for the same receiver shares the work.
    """
    settings = invocation.settings()
    if url is not None:
        settings = _with_url(settings, to, url)
    invocation.log_by(settings, is_member=True)
    serve(forward_alerts(settings, to=to, group=group), what="Forwarding", stop_seconds=STOP_SECONDS)


def _with_url(settings: Settings, to: str, url: str) -> Settings:
    if to == "apprise":
        raise click.UsageError(
            "--url is not for apprise: its URLs are secrets, and stand in receivers.apprise.urls_file"
        )
    if not is_url(url):
        raise click.UsageError("--url is not a URL such as http://localhost:9093, without a user or password")
    given = settings.receivers
    if to == "alertmanager":
        alertmanager = dataclasses.replace(given.alertmanager, urls=(url,))
        receivers = dataclasses.replace(given, alertmanager=alertmanager)
    else:
        receivers = dataclasses.replace(given, webhook=dataclasses.replace(given.webhook, url=url, url_file=None))
    return dataclasses.replace(settings, receivers=receivers)
