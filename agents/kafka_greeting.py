"""Asks the brokers whether they let us in, because aiokafka's clients keep to themselves why they were refused.

A client that finds no broker says that it found none, whether the password is wrong, a certificate has ended or the
machine is off. So one connection is made before the first client, and thrown away.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator, collect_hosts
from aiokafka.errors import IllegalSaslStateError, KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError
from aiokafka.protocol.metadata import MetadataRequest

from agents.kafka_tokens import NoToken
from streams.errors import LatelabelError, PermanentFailure, TemporaryFailure

__all__ = ["greet"]

GREETING_SECONDS = 10.0
"""Of one broker: connecting, the handshake of TLS, the proof of a password, one answer."""
GOODBYE_SECONDS = 1.0

_EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 10, 62, 64
"""Why OpenSSL does not trust a certificate, by `verify_code`."""
_TLS_ALERT = 0x1503
"""How a broker that speaks TLS begins its answer to whoever does not; to Kafka's clients, the length of an answer."""


async def greet(connection: Mapping[str, Any]) -> None:
    """Return once one of the brokers has let us in and answered.

    Args:
        connection: from `connection_options`.

    Raises:
        PermanentFailure: credentials, certificates or the protocol are wrong; says which, and what to correct.
        TemporaryFailure: no broker answers.
    """
    security = {name: value for name, value in connection.items() if name != "bootstrap_servers"}
    failures: list[LatelabelError] = []
    for host, port, _ in collect_hosts(connection["bootstrap_servers"]):
        try:
            async with asyncio.timeout(GREETING_SECONDS):
                await _greet(host, port, security)
        except (KafkaError, OSError, EOFError, TimeoutError) as error:
            failures.append(_failure(error, f"Kafka at {host}:{port}", security))
        else:
            return
    raise next((failure for failure in failures if isinstance(failure, PermanentFailure)), failures[-1])


class _TokenShown(OAuthAuthenticator):  # type: ignore[misc]
    """Shows a token, and has the broker say what is wrong with it: its complaint is a challenge, which aiokafka takes
    for a welcome, and whoever goes on to ask is hung up on."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload:
            return b"\x01", True
        shown: tuple[bytes, bool] | None = await super().step(payload)
        return shown


class _Connection(AIOKafkaConnection):  # type: ignore[misc]
    def authenticator_oauth(self) -> OAuthAuthenticator:
        return _TokenShown(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


async def _greet(host: str, port: int, security: Mapping[str, Any]) -> None:
    broker = _Connection(host, port, **security)
    try:
        await broker.connect()
        # Before the first request of any use a broker does not say that it wanted a password.
        await broker.send(MetadataRequest([]))
    finally:
        closed = broker.close()
        if broker._protocol is not None:  # noqa: SLF001  (there was a connection; else nothing would ever be closed)
            await asyncio.wait([closed], timeout=GOODBYE_SECONDS)


def _failure(error: BaseException, broker: str, security: Mapping[str, Any]) -> LatelabelError:
    if isinstance(error, NoToken):
        return TemporaryFailure(f"{error}") if error.may_pass else PermanentFailure(f"{error}")
    causes = list(_causes(error))
    for cause in causes:
        if needs := _needs(cause, security):
            return PermanentFailure(f"{broker} {needs}")
    if isinstance(error, ConnectionRefusedError):
        return TemporaryFailure(f"{broker} does not answer: nothing listens there")
    if isinstance(error, TimeoutError):
        return TemporaryFailure(f"{broker} does not answer within {GREETING_SECONDS:g} s")
    if any(isinstance(cause, EOFError | ConnectionResetError) for cause in causes):
        return TemporaryFailure(
            f"{broker} ends the connection; if it goes on, the port is not one for kafka.security.protocol"
            f" {security['security_protocol']}"
        )
    return TemporaryFailure(f"{broker} does not answer: {str(error) or type(error).__name__}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _needs(cause: BaseException, security: Mapping[str, Any]) -> str | None:
    """What only somebody else can put right; None if the cause may pass."""
    if isinstance(cause, SaslAuthenticationFailed):
        if "sasl_oauth_token_provider" in security:
            return f"refuses the token: {cause}; correct kafka.security.token_file or token_url"
        user = security["sasl_plain_username"]
        return f"refuses the credentials of {user}; correct kafka.security.username or kafka.security.password_file"
    if isinstance(cause, UnsupportedSaslMechanismError):
        mechanism = security["sasl_mechanism"]
        return f"does not take {mechanism}; set kafka.security.mechanism to one of its sasl.enabled.mechanisms"
    if isinstance(cause, IllegalSaslStateError):
        return "asks for no user at this port; correct the port in kafka.brokers, or kafka.security.protocol"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not trusted: {cause.verify_message}; {_trust_remedy(cause.verify_code)}"
    if isinstance(cause, ssl.SSLError) and "CERTIFICATE" in (cause.reason or ""):
        return (
            f"does not take our certificate, or asks for one ({cause.reason}); correct kafka.security.certificate_file"
            " and key_file, or let the brokers trust its authority"
        )
    if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
        return "does not speak TLS at this port; correct the port in kafka.brokers, or kafka.security.protocol"
    if isinstance(cause, asyncio.IncompleteReadError) and (cause.expected or 0) >> 16 == _TLS_ALERT:
        return "speaks TLS at this port; set kafka.security.protocol to SSL or SASL_SSL"
    return None


def _trust_remedy(code: int) -> str:
    if code == _EXPIRED:
        return "renew the broker's certificate, or correct the clock of this machine"
    if code in (_OTHER_HOST, _OTHER_ADDRESS):
        return "name the brokers in kafka.brokers as their certificates do"
    return "name the authority that signed it in kafka.security.ca_file"
