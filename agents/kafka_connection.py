"""How aiokafka is told where Kafka is and who we are, and what its errors mean to those who look or read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.helpers import create_ssl_context

from agents.kafka_tokens import token_provider
from agents.settings import KafkaSettings, SecuritySettings
from streams.errors import LatelabelError, PermanentFailure, TemporaryFailure

__all__ = ["connection_options", "kafka_failure", "kafka_failures", "start_consumer"]

_REFUSED = (AuthenticationFailedError, SaslAuthenticationFailed, UnsupportedSaslMechanismError)
_RIGHTS = {
    ClusterAuthorizationFailedError: ("the operation", "the cluster"),
    GroupAuthorizationFailedError: ("Read", "the group"),
    TopicAuthorizationFailedError: ("Read or Write", "the topic"),
}

ANSWER_SECONDS = 15.0
"""Of one call, connecting included: long for a broker that lives, short for somebody at a prompt."""


def connection_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that `AIOKafkaConsumer`, `AIOKafkaProducer` and `AIOKafkaAdminClient` share.

    Reads the files that the settings name, so call it once per connection: what was renewed is then used.

    Raises: PermanentFailure if one of the files cannot be used.
    """
    security = kafka.security
    options: dict[str, Any] = {"bootstrap_servers": list(kafka.brokers), "security_protocol": security.protocol}
    if security.mechanism == "OAUTHBEARER":
        options |= {"sasl_mechanism": security.mechanism, "sasl_oauth_token_provider": token_provider(security)}
    elif security.protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": _password(security),
        }
    if security.protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(security)
    return options


@contextlib.asynccontextmanager
async def kafka_failures(address: str) -> AsyncIterator[None]:
    """Give calls to Kafka a deadline, and turn what the client raises into the core's errors, naming the address.

    Raises:
        PermanentFailure: credentials or rights are missing.
        TemporaryFailure: no broker answers, or one refuses for now.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except TimeoutError as error:
        raise TemporaryFailure(f"Kafka at {address} does not answer within {ANSWER_SECONDS:g} s") from error
    except (KafkaError, OSError) as error:
        raise kafka_failure(error, address) from error


async def start_consumer(consumer: AIOKafkaConsumer, address: str) -> None:
    """Start a consumer; one that cannot start leaves nothing running.

    Raises: as `kafka_failures`.
    """
    try:
        async with kafka_failures(address):
            await consumer.start()
    except BaseException:
        await consumer.stop()
        raise


def kafka_failure(error: BaseException, address: str) -> LatelabelError:
    """What an error of the client means: somebody has to let us do more, or it may pass."""
    if isinstance(error, _REFUSED):
        return PermanentFailure(f"Kafka at {address} refuses the credentials; correct kafka.security")
    for kind, (right, resource) in _RIGHTS.items():
        if isinstance(error, kind):
            return PermanentFailure(
                f"Kafka at {address} does not allow this user enough: {_said(error)}; grant {right} on {resource}"
            )
    return TemporaryFailure(f"Kafka at {address} does not answer: {_said(error)}")


def _said(error: BaseException) -> str:
    # Kafka's errors say their own name; some others have only that.
    return str(error) or type(error).__name__


def _password(security: SecuritySettings) -> str | None:
    if security.password_file is None:
        return security.password
    try:
        return security.password_file.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentFailure(
            f"the password file {security.password_file} cannot be read ({error}); "
            "correct kafka.security.password_file or its permissions"
        ) from error


def _ssl_context(security: SecuritySettings) -> Any:
    files = (security.ca_file, security.certificate_file, security.key_file)
    ca_file, certificate_file, key_file = (None if file is None else str(file) for file in files)
    try:
        return create_ssl_context(cafile=ca_file, certfile=certificate_file, keyfile=key_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        named = ", ".join(file for file in (ca_file, certificate_file, key_file) if file)
        raise PermanentFailure(
            f"the certificates for Kafka cannot be used ({error}); check {named}, named in kafka.security"
        ) from error
