"""The `kafka` section of the configuration: brokers, credentials, and what our topics are called there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from agents.settings_fields import Applies, Conflict, reads, section, setting
from agents.settings_file import Found, Unreadable
from agents.settings_readers import choice, each, file_name, optional, text, whole_number
from schemas.topics import TOPICS

__all__ = ["KafkaSettings", "SecuritySettings", "TopicSettings"]

_topic_name = text("letters, digits, dots, dashes and underscores, at most 249", pattern=r"(?!\.{1,2}$)[\w.-]{1,249}")
_broker = text("host:port", pattern=r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


@reads({"type": "string", "minLength": 1})
def _password(found: Found) -> str:
    if not found.text:
        # Not quoted, whatever it is.
        found.complain("no text", "expected a password; put it in quotes")
        raise Unreadable
    return found.text


_token_url = text(
    "an https URL such as https://idp.example/oauth2/token; http only on this machine",
    pattern=r"https://[^\s@]+|http://(?:localhost|127\.0\.0\.1)(?::[0-9]+)?/[^\s@]*",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecuritySettings:
    """How Kafka is spoken to: encrypted or not, as whom."""

    protocol: str = setting(
        "PLAINTEXT",
        choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
        "Kafka's `security.protocol`.",
    )
    mechanism: str | None = setting(
        None,
        optional(choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")),
        "Kafka's `sasl.mechanism`; needed with a SASL protocol.",
    )
    username: str | None = setting(None, optional(text("a user's name")), "The SASL user.")
    password: str | None = setting(
        None, optional(_password), "The SASL password; `password_file` keeps it out of this file.", secret=True
    )
    password_file: Path | None = setting(
        None, optional(file_name), "A file that holds the SASL password; read at each connection's start."
    )
    token_file: Path | None = setting(
        None, optional(file_name), "With OAUTHBEARER: a file that holds the token; read anew for each connection."
    )
    token_url: str | None = setting(
        None,
        optional(_token_url),
        "With OAUTHBEARER: where OAuth 2.0 gives tokens for client credentials, such as"
        " `https://idp.example/oauth2/token`. In place of `token_file`.",
    )
    client_id: str | None = setting(None, optional(text("the client's id")), "Shown at `token_url`.")
    client_secret_file: Path | None = setting(
        None, optional(file_name), "A file that holds the secret of `client_id`; read for each token."
    )
    scope: str | None = setting(None, optional(text("one or more scopes")), "Asked for at `token_url`. None: its own.")
    ca_file: Path | None = setting(
        None, optional(file_name), "Certificates (PEM) that sign the brokers'. None: those of the system."
    )
    certificate_file: Path | None = setting(
        None, optional(file_name), "Our own certificate (PEM), where brokers ask for one. None: we show none."
    )
    key_file: Path | None = setting(None, optional(file_name), "The private key (PEM) of `certificate_file`.")

    def conflicts(self) -> Iterator[Conflict]:
        """Settings that need, or exclude, each other."""
        is_sasl, is_tls = self.protocol.startswith("SASL"), self.protocol.endswith("SSL")
        if is_sasl and self.mechanism is None:
            yield Conflict(("mechanism", "protocol"), "mechanism to be given, such as SCRAM-SHA-512")
        has_password = self.password is not None or self.password_file is not None
        has_token = self.token_file is not None or self.token_url is not None
        if not is_sasl and (self.username or self.mechanism or has_password or has_token):
            yield Conflict(("protocol", "username", "mechanism"), "SASL_SSL or SASL_PLAINTEXT, since a user is given")
        elif is_sasl and self.mechanism == "OAUTHBEARER":
            yield from self._token_conflicts(has_token=has_token, has_password=has_password)
        elif is_sasl:
            yield from self._password_conflicts(has_token=has_token, has_password=has_password)
        if self.password is not None and self.password_file is not None:
            yield Conflict(("password_file",), "only one of password and password_file")
        if not is_tls and (self.ca_file or self.certificate_file):
            yield Conflict(("protocol", "ca_file", "certificate_file"), "SSL or SASL_SSL, since certificates are given")
        if (self.key_file is None) != (self.certificate_file is None):
            yield Conflict(("key_file", "certificate_file"), "certificate_file and key_file together")

    def _password_conflicts(self, *, has_token: bool, has_password: bool) -> Iterator[Conflict]:
        if self.username is None:
            yield Conflict(("username", "protocol"), "username to be given")
        if not has_password:
            yield Conflict(("password_file", "protocol"), "password_file (or password) to be given")
        if has_token:
            yield Conflict(("mechanism", "token_file", "token_url"), "OAUTHBEARER, since a token is given")

    def _token_conflicts(self, *, has_token: bool, has_password: bool) -> Iterator[Conflict]:
        if not has_token:
            yield Conflict(("token_file", "mechanism"), "token_file or token_url to be given with OAUTHBEARER")
        if self.token_file is not None and self.token_url is not None:
            yield Conflict(("token_url",), "only one of token_file and token_url")
        if self.token_url is not None and (self.client_id is None or self.client_secret_file is None):
            yield Conflict(("client_id", "client_secret_file", "token_url"), "client_id and client_secret_file with it")
        if self.token_url is None and (self.client_id or self.client_secret_file or self.scope):
            yield Conflict(("client_id", "client_secret_file", "scope"), "token_url with it")
        if self.username is not None or has_password:
            yield Conflict(
                ("username", "password_file"), "neither user nor password with OAUTHBEARER: the token says who"
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TopicSettings:
    """The name on the wire of each role."""

    predictions: str = setting(TOPICS["predictions"].default_name, _topic_name, "Input.", Applies.NEW_LEDGER)
    labels: str = setting(TOPICS["labels"].default_name, _topic_name, "Input.", Applies.NEW_LEDGER)
    resource_samples: str = setting(TOPICS["resource_samples"].default_name, _topic_name, "Input of probes.")
    metrics: str = setting(TOPICS["metrics"].default_name, _topic_name, "Reports.")
    alerts: str = setting(TOPICS["alerts"].default_name, _topic_name, "Alerts.")
    explain_requests: str = setting(TOPICS["explain_requests"].default_name, _topic_name, "Work for explainers.")
    explanations: str = setting(TOPICS["explanations"].default_name, _topic_name, "What explainers answer.")
    dead_letters: str = setting(TOPICS["dead_letters"].default_name, _topic_name, "Records that were refused.")

    def conflicts(self) -> Iterator[Conflict]:
        """A name that two roles share."""
        roles: dict[str, str] = {}
        for role in TOPICS:
            name: str = getattr(self, role)
            if (other := roles.setdefault(name, role)) != role:
                yield Conflict((role, other), "a topic of its own for each role", f'"{name}" for {other} and {role}')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """Where Kafka is and what our topics are called there."""

    brokers: tuple[str, ...] = setting(
        ("localhost:9092",),
        each(_broker, 'a list of brokers such as ["localhost:9092"]', least=1, most=100),
        "Brokers to ask first; they name the others. Two or more survive the loss of one.",
    )
    group: str = setting(
        "latelabel",
        text("the name of a consumer group", longest_bytes=249),
        "Consumer group of the workers. Its commits serve lag tools only: Redis holds what was applied.",
    )
    topics: TopicSettings = section(TopicSettings, "Names on the wire, by role.")
    partitions: int = setting(
        12, whole_number(1, 10_000), "Of topics that `topics create` makes: at most so many workers share the work.",
        Applies.NEW_TOPICS,
    )  # fmt: skip
    replication_factor: int = setting(
        1, whole_number(1, 100), "Of topics that `topics create` makes; 3 where the brokers are three or more.",
        Applies.NEW_TOPICS,
    )  # fmt: skip
    security: SecuritySettings = section(SecuritySettings, "Encryption and credentials.")

    def topic(self, role: str) -> str:
        """The name on the wire of a role of `schemas.topics`."""
        name: str = getattr(self.topics, role)
        return name

    @property
    def topic_names(self) -> dict[str, str]:
        """The name on the wire of every role."""
        return {role: self.topic(role) for role in TOPICS}

    @property
    def address(self) -> str:
        """The brokers as messages name them."""
        return ",".join(self.brokers)
