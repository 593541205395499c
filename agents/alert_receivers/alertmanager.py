"""Sends alerts to one Alertmanager, or to each one of a cluster, as Prometheus does.

The objects of the topic are what Alertmanager's API version 2 takes, so they are handed on byte for byte.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from agents.alert_receivers.http_post import HttpPost
from agents.alert_receivers.receiver import NotTaken, PublishedAlert, Refused
from agents.receiver_settings import AlertmanagerSettings

__all__ = ["Alertmanager"]

_log = logging.getLogger(__name__)

PATH = "/api/v2/alerts"


class Alertmanager:
    """The members of a cluster tell each other what they notified and not what fires, so each one is told.

    Alerts are delivered when one of them has taken them; the others get them with the next repetition.
    """

    name = "alertmanager"
    most_at_once = 64

    def __init__(self, settings: AlertmanagerSettings) -> None:
        self._members = [HttpPost(url.rstrip("/") + PATH, settings) for url in settings.urls]
        self._failing: frozenset[str] = frozenset()

    async def close(self) -> None:
        """See `Receiver`."""
        for member in self._members:
            await member.close()

    async def deliver(self, alerts: Sequence[PublishedAlert]) -> None:
        """See `Receiver`."""
        body = b"[" + b",".join(alert.value for alert in alerts) + b"]"
        outcomes = await asyncio.gather(*(_outcome(member, body) for member in self._members))
        failures = [failure for failure in outcomes if failure is not None]
        if len(failures) == len(self._members):
            raise next((failure for failure in failures if isinstance(failure, NotTaken)), failures[0])
        self._tell_of(failures)

    def _tell_of(self, failures: Sequence[NotTaken | Refused]) -> None:
        failing = frozenset(str(failure) for failure in failures)
        for failure in sorted(failing - self._failing):
            _log.warning("%s; another Alertmanager has taken the alerts", failure)
        self._failing = failing


async def _outcome(member: HttpPost, body: bytes) -> NotTaken | Refused | None:
    try:
        await member.send(body)
    except (NotTaken, Refused) as failure:
        return failure
    return None
