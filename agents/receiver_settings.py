"""The `receivers` section of the configuration: where `latelabel alerts forward` sends alerts, and who it is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from agents.settings_fields import Conflict, reads, section, setting
from agents.settings_file import Found, Unreadable
from agents.settings_readers import duration, each, file_name, optional, text
from streams.monitored_model import DAY_MS, HOUR_MS

__all__ = ["AlertmanagerSettings", "AppriseSettings", "HttpAccess", "ReceiverSettings", "WebhookSettings", "is_url"]

SECOND_MS = 1000
EXPECTED = "http:// or https://, a host and perhaps a path, without a user or password"


def is_url(value: str) -> bool:
    """Whether something can be posted there; a URL that holds a user or password cannot."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and value.isprintable()
    )


@reads({"type": "string", "minLength": 1})
def _url(found: Found) -> str:
    value = found.text
    if not value or not is_url(value):
        # Not quoted: what is wrong with it may be the password in it.
        found.complain("a URL that cannot be used", f"expected {EXPECTED}")
        raise Unreadable
    return value


_repeat = duration(60 * SECOND_MS, 366 * DAY_MS)
REPEAT_HELP = "After so long it is told again that an alert still fires."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpAccess:
    """How a receiver is spoken to over HTTP."""

    username: str | None = setting(None, optional(text("a user's name")), "User of basic authentication.")
    password_file: Path | None = setting(
        None, optional(file_name), "A file that holds the user's password; read for each request."
    )
    token_file: Path | None = setting(
        None, optional(file_name), "A file that holds a bearer token; read for each request."
    )
    ca_file: Path | None = setting(
        None, optional(file_name), "Certificates (PEM) that sign the receiver's. None: those of the system."
    )
    timeout_ms: int = setting(
        10 * SECOND_MS, duration(100, HOUR_MS), "How long one request may take, connecting included."
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Credentials that need, or exclude, each other."""
        if (self.username is None) != (self.password_file is None):
            yield Conflict(("username", "password_file"), "username and password_file together")
        if self.token_file is not None and self.username is not None:
            yield Conflict(("token_file",), "only one of token_file and username")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AlertmanagerSettings(HttpAccess):
    """`--to alertmanager`."""

    urls: tuple[str, ...] = setting(
        ("http://localhost:9093",),
        each(_url, 'a list of URLs such as ["http://localhost:9093"]', least=1, most=100),
        "Of one Alertmanager, or of each member of a cluster: all are told, as Prometheus tells them.",
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings(HttpAccess):
    """`--to webhook`."""

    url: str | None = setting(None, optional(_url), "Where each alert is posted to.", secret=True)
    url_file: Path | None = setting(
        None, optional(file_name), "A file that holds the URL, where the URL itself is the secret."
    )
    repeat_interval_ms: int = setting(4 * HOUR_MS, _repeat, REPEAT_HELP)

    def conflicts(self) -> Iterator[Conflict]:
        """Two URLs, or what credentials exclude."""
        yield from HttpAccess.conflicts(self)
        if self.url is not None and self.url_file is not None:
            yield Conflict(("url_file",), "only one of url and url_file")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AppriseSettings:
    """`--to apprise`."""

    urls_file: Path | None = setting(
        None, optional(file_name), "A file with Apprise's URLs, one a line. They are secrets; it is read at the start."
    )
    timeout_ms: int = setting(30 * SECOND_MS, duration(SECOND_MS, HOUR_MS), "How long one message may take.")
    repeat_interval_ms: int = setting(4 * HOUR_MS, _repeat, REPEAT_HELP)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverSettings:
    """What `latelabel alerts forward --to` can name."""

    alertmanager: AlertmanagerSettings = section(AlertmanagerSettings, "Alertmanager, by its API version 2.")
    webhook: WebhookSettings = section(WebhookSettings, "Any URL that takes the body of Alertmanager's webhooks.")
    apprise: AppriseSettings = section(AppriseSettings, "Slack, Teams, e-mail and others; needs the extra `notify`.")
