"""`latelabel alerts`: what fires, what became of it, and sending it to those who have to know."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import sys

import click

from agents.alert_forwarding import RECEIVERS, forward_alerts
from agents.commands.command_line import FAILED, INTERRUPTED, Invocation
from agents.receiver_settings import is_url
from agents.settings import Settings
from streams.errors import LatelabelError

__all__ = ["alerts"]

_log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""Leaving the group takes one request; a broker that is away must not hold the process up."""


@click.group()
def alerts() -> None:
    """See what fires, and send it to those who have to know."""


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
    code = asyncio.run(_forward(settings, to, group))
    logging.shutdown()
    sys.stdout.flush()
    # A thread of Apprise that waits for an answer must not hold the process back.
    os._exit(code)


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


async def _forward(settings: Settings, to: str, group: str | None) -> int:
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(forward_alerts(settings, to=to, group=group))
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
        _log.exception("Forwarding stops because of an error that it does not expect")
        return FAILED
    return 0
