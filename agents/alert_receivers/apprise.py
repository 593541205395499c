"""Sends alerts through Apprise: Slack, Teams, e-mail, PagerDuty and a hundred more, each named by a URL.

The URLs are secrets and stand in a file, one a line. Each is a receiver of its own: one that has taken an alert is not
given it again because another has not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agents.alert_receivers.receiver import NotTaken, PublishedAlert, Trouble
from agents.receiver_settings import AppriseSettings
from schemas.alert import Alert
from streams.errors import PermanentFailure

if TYPE_CHECKING:
    from apprise import NotifyBase

__all__ = ["Apprise", "alert_text"]


class Apprise:
    """Receivers that Apprise knows how to talk to.

    Raises: PermanentFailure if Apprise is not installed, or a URL is none of its.
    """

    name = "apprise"
    most_at_once = 1

    def __init__(self, settings: AppriseSettings) -> None:
        self._services = _services(settings.urls_file)
        self._timeout_seconds = settings.timeout_ms / 1000
        self._taken: set[tuple[str, str, int]] = set()

    async def close(self) -> None:
        """See `Receiver`."""

    async def deliver(self, alerts: Sequence[PublishedAlert]) -> None:
        """See `Receiver`."""
        for published in alerts:
            alert = published.alert
            failed = [line for line in self._services if not await self._is_taken(alert, line)]
            if failed:
                named = ", ".join(f"line {line} ({self._services[line].service_name})" for line in failed)
                raise NotTaken(f"not taken: {named} of urls_file", Trouble.SERVER_ERROR, concerns_all=False)
            self._taken = {taken for taken in self._taken if taken[0] != alert.fingerprint}

    async def _is_taken(self, alert: Alert, line: int) -> bool:
        key = (alert.fingerprint, alert.status, line)
        if key in self._taken:
            return True
        title, body = alert_text(alert)
        kind = "success" if alert.status == "resolved" else "failure" if alert.severity == "critical" else "warning"
        try:
            async with asyncio.timeout(self._timeout_seconds):
                taken = await asyncio.to_thread(self._services[line].notify, body=body, title=title, notify_type=kind)
        except TimeoutError:
            return False
        if taken:
            self._taken.add(key)
        return bool(taken)


def alert_text(alert: Alert) -> tuple[str, str]:
    """Title and text of a message to people."""
    notes = alert.annotations
    title = f"[{alert.status.upper()}] {alert.name}: {notes.get('summary') or ', '.join(alert.labels.values())}"
    lines = [notes.get("description", "")]
    if alert.reason:
        lines.append(f"Reason: {alert.reason}")
    lines += [f"{name}: {value}" for name, value in sorted(alert.labels.items()) if name != "alertname"]
    if url := notes.get("runbook_url"):
        lines.append(f"Runbook: {url}")
    return title, "\n".join(line for line in lines if line)


def _services(file: Path | None) -> dict[int, NotifyBase]:
    """By the number of its line."""
    try:
        import apprise
    except ImportError:
        raise PermanentFailure("Apprise is not installed; run `pip install apprise`") from None
    if file is None:
        raise PermanentFailure("no service is configured; give receivers.apprise.urls_file, a file with one URL a line")
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentFailure(f"the file {file} of receivers.apprise.urls_file cannot be read ({error})") from error
    services = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        service = apprise.Apprise.instantiate(line.strip())
        if service is None:
            raise PermanentFailure(f"{file}, line {number}: not a URL that Apprise knows; see its list of services")
        services[number] = service
    if not services:
        raise PermanentFailure(f"{file} of receivers.apprise.urls_file names no service; give one URL a line")
    return services
