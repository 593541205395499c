"""Posts each alert to a URL, in the body that Alertmanager's webhooks have, version 4.

Every alert is a group of its own, as with Alertmanager's `group_by: ['...']`: receivers that close an incident when its
group is resolved then never close it while a part of it still burns. Who wants groups puts Alertmanager in between.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.alert_receivers.http_post import HttpPost
from agents.alert_receivers.receiver import PublishedAlert
from agents.receiver_settings import WebhookSettings, is_url
from schemas.alert import Alert
from schemas.codec import encode
from streams.errors import PermanentFailure

__all__ = ["Webhook", "webhook_body"]

VERSION = "4"
RECEIVER = "latelabel"
STILL_ON = "0001-01-01T00:00:00Z"
"""How Alertmanager writes the end of what has not ended."""


class Webhook:
    """A receiver that is told of news alone.

    Raises: PermanentFailure if no URL is configured, or its file cannot be read.
    """

    name = "webhook"
    most_at_once = 1

    def __init__(self, settings: WebhookSettings) -> None:
        self._post = HttpPost(_url(settings), settings)

    async def close(self) -> None:
        """See `Receiver`."""
        await self._post.close()

    async def deliver(self, alerts: Sequence[PublishedAlert]) -> None:
        """See `Receiver`."""
        for published in alerts:
            await self._post.send(encode(webhook_body(published.alert)))


def webhook_body(alert: Alert) -> dict[str, Any]:
    """Alertmanager's body for a group that holds one alert."""
    pairs = ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(alert.labels.items()))
    return {
        "receiver": RECEIVER,
        "status": alert.status,
        "alerts": [
            {
                "status": alert.status,
                "labels": alert.labels,
                "annotations": alert.annotations,
                "startsAt": alert.starts_at,
                "endsAt": STILL_ON if alert.status == "firing" else alert.ends_at,
                "generatorURL": alert.generator_url,
                "fingerprint": alert.fingerprint,
            }
        ],
        "groupLabels": alert.labels,
        "commonLabels": alert.labels,
        "commonAnnotations": alert.annotations,
        "externalURL": alert.generator_url,
        "version": VERSION,
        "groupKey": f"{{}}:{{{pairs}}}",
        "truncatedAlerts": 0,
    }


def _url(settings: WebhookSettings) -> str:
    if settings.url is not None:
        return settings.url
    if settings.url_file is None:
        raise PermanentFailure("no webhook is configured; give receivers.webhook.url, or url_file if it is secret")
    return _read(settings.url_file)


def _read(file: Path) -> str:
    try:
        url = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentFailure(f"the file {file} of receivers.webhook.url_file cannot be read ({error})") from error
    if not is_url(url):
        raise PermanentFailure(f"the file {file} of receivers.webhook.url_file holds no URL such as https://host/path")
    return url
