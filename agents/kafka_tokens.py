"""Tokens for Kafka's OAUTHBEARER: read from a file that somebody renews, or asked for with a client's secret.

A token is got for each connection, so one that is renewed is used from the next connection on. One that can be read as
a JWT and has expired is not shown to the broker: aiokafka keeps to itself what brokers say of it.
"""

from __future__ import annotations

import base64
import binascii
import json
import urllib.parse
from pathlib import Path

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from agents.clock import SystemClock
from agents.settings import SecuritySettings
from schemas.times import format_time

__all__ = ["NoToken", "TokenFile", "TokenUrl", "token_provider"]

ANSWER_SECONDS = 8.0
"""Of the token's endpoint; less than what is given to one broker."""
SPARE_MS = 30_000
"""A token that ends so soon is asked for again: it has to last until the broker has looked at it."""


class NoToken(KafkaConnectionError):  # type: ignore[misc]
    """There is no token to show. `may_pass` says whether it may come by itself."""

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


def token_provider(security: SecuritySettings) -> AbstractTokenProvider:
    """What the settings name as the source of tokens."""
    if security.token_file is not None:
        return TokenFile(security.token_file)
    return TokenUrl(security)


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]
    """A file that holds nothing but a token, as Kubernetes and agents of identity providers keep it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clock = SystemClock()

    async def token(self) -> str:
        """Raises: NoToken if the file holds none, or one that has expired."""
        named = f"the token in {self._path} (kafka.security.token_file)"
        try:
            token = self._path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NoToken(f"{named} cannot be read: {error}") from error
        if not token or token.split() != [token]:
            raise NoToken(f"{named} is none: the file has to hold one, and nothing else")
        ends_ms = _ends_ms(token)
        if ends_ms is not None and ends_ms <= self._clock.now_ms():
            raise NoToken(f"{named} expired at {format_time(ends_ms)}; have it renewed")
        return token


class TokenUrl(AbstractTokenProvider):  # type: ignore[misc]
    """OAuth 2.0's client credentials grant (RFC 6749, section 4.4); a token is kept until shortly before its end."""

    def __init__(self, security: SecuritySettings) -> None:
        self._security = security
        self._clock = SystemClock()
        self._token: str | None = None
        self._until_ms = 0

    async def token(self) -> str:
        """Raises: NoToken if none is given."""
        if self._token is None or self._until_ms <= self._clock.now_ms():
            self._token, lasts_ms = await self._ask()
            self._until_ms = self._clock.now_ms() + lasts_ms - SPARE_MS
        return self._token

    async def _ask(self) -> tuple[str, int]:
        url = str(self._security.token_url)
        form = {"grant_type": "client_credentials"} | ({"scope": self._security.scope} if self._security.scope else {})
        # Each part as in a form, which is how the standard lets a colon be in it.
        client = ":".join(map(urllib.parse.quote_plus, (str(self._security.client_id), self._secret())))
        headers = {"Authorization": f"Basic {base64.b64encode(client.encode()).decode()}"}
        # Here, because it takes 20 MB, and a probe that asks for no token does without.
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(url, data=form, headers=headers, allow_redirects=False) as answer,
            ):
                status, body = answer.status, await answer.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NoToken(f"{url} does not answer: {str(error) or type(error).__name__}", may_pass=True) from error
        return _granted(url, status, body)

    def _secret(self) -> str:
        path = self._security.client_secret_file
        try:
            return path.read_text().strip() if path else ""
        except (OSError, UnicodeDecodeError) as error:
            raise NoToken(
                f"the secret in {path} (kafka.security.client_secret_file) cannot be read: {error}"
            ) from error


def _granted(url: str, status: int, body: str) -> tuple[str, int]:
    try:
        answer = json.loads(body)
        if status == 200:
            return str(answer["access_token"]), int(float(answer.get("expires_in", 0)) * 1000)
        said = str(answer["error"])
    except (ValueError, KeyError, TypeError, AttributeError):
        said = "no OAuth 2.0 answer"
    remedy = "correct kafka.security.token_url, client_id, client_secret_file or scope"
    raise NoToken(f"{url} gives no token (HTTP {status}, {said}); {remedy}", may_pass=status >= 500)


def _ends_ms(token: str) -> int | None:
    """When a JWT expires; None for one without an end, or what is no JWT."""
    try:
        _, claims, _ = token.split(".")
        return int(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"] * 1000)
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
