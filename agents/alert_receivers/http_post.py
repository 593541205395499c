"""Posts JSON to one address and says what its answer means. Nothing secret gets into a message.

Secrets are read from their files for each request, so that a renewed one is used at once. Redirects are not followed:
they would carry the alert, and perhaps the token, to a place that nobody configured.
"""

from __future__ import annotations

import base64
import os
import ssl
from http import HTTPStatus
from pathlib import Path

import aiohttp
from aiohttp import ClientError, ClientSession, ClientTimeout
from yarl import URL

from agents.alert_receivers.receiver import NotTaken, Refused, Trouble
from agents.receiver_settings import HttpAccess
from agents.terminal_text import printable
from streams.errors import PermanentFailure

__all__ = ["HttpPost", "read_secret"]

SHOWN_CHARACTERS = 300
READ_BYTES = 4096
LONGEST_RETRY_AFTER_SECONDS = 600.0

_NOT_ADMITTED = {
    HTTPStatus.UNAUTHORIZED: "correct the credentials",
    HTTPStatus.FORBIDDEN: "correct the credentials, or what they may do",
    HTTPStatus.NOT_FOUND: "correct the URL",
    HTTPStatus.METHOD_NOT_ALLOWED: "correct the URL",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "let this machine reach it",
}
"""Answers about us and not about the alert: it must not be lost because a token has run out."""
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


def read_secret(file: Path, *, what: str) -> str:
    """The text of a secret's file without the line end that editors add.

    Raises: NotTaken if it cannot be read; mounted secrets are replaced while we run.
    """
    try:
        secret = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotTaken(f"the {what} file {file} cannot be read ({error})", Trouble.NOT_ADMITTED) from error
    if not secret or not secret.isprintable():
        raise NotTaken(f"the {what} file {file} does not hold one line of text", Trouble.NOT_ADMITTED)
    return secret


class HttpPost:
    """One address to post to, with connections kept open between posts.

    Args:
        url: its path and query may be secret; only scheme, host and port are ever told.
        access: credentials, authority, time limit.

    Raises: PermanentFailure if `ca_file` cannot be used.
    """

    def __init__(self, url: str, access: HttpAccess) -> None:
        self._url = URL(url)
        self._access = access
        self._tls = _tls(access.ca_file)
        self._session: ClientSession | None = None
        self.place = str(self._url.origin())

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def send(self, body: bytes) -> None:
        """Post one body; return once it was answered with success.

        Raises:
            NotTaken: no answer, or one that may become another.
            Refused: the body will never be taken.
        """
        if self._session is None:
            self._session = ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), timeout=ClientTimeout(total=self._access.timeout_ms / 1000)
            )
        secrets, headers = self._credentials()
        try:
            async with self._session.post(
                self._url,
                data=body,
                headers={"Content-Type": "application/json", "User-Agent": "latelabel", **headers},
                ssl=self._tls,
                allow_redirects=False,
            ) as answer:
                if answer.status // 100 == 2:
                    return
                said = (await answer.content.read(READ_BYTES)).decode(errors="replace")
                raise self._refusal(answer, _without(said, [*secrets, self._url.raw_path_qs]))
        except TimeoutError as error:
            limit = f"{self._access.timeout_ms / 1000:g} s"
            raise NotTaken(f"{self.place} does not answer within {limit}", Trouble.TIMEOUT) from error
        except (ClientError, OSError) as error:
            raise self._failure(error) from error

    def _credentials(self) -> tuple[list[str], dict[str, str]]:
        access = self._access
        if access.token_file is not None:
            token = read_secret(access.token_file, what="token")
            return [token], {"Authorization": f"Bearer {token}"}
        if access.username is not None and access.password_file is not None:
            password = read_secret(access.password_file, what="password")
            encoded = base64.b64encode(f"{access.username}:{password}".encode()).decode()
            return [password, encoded], {"Authorization": f"Basic {encoded}"}
        return [], {}

    def _refusal(self, answer: aiohttp.ClientResponse, said: str) -> NotTaken | Refused:
        status = answer.status
        what = f"{self.place} answers {status}{f': {said}' if said else ''}"
        if status in _BUSY:
            after = _retry_after_seconds(answer.headers.get("Retry-After", ""))
            return NotTaken(what, Trouble.BUSY, retry_after_seconds=after)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            after = _retry_after_seconds(answer.headers.get("Retry-After", ""))
            return NotTaken(what, Trouble.SERVER_ERROR, concerns_all=False, retry_after_seconds=after)
        if status < HTTPStatus.BAD_REQUEST:
            return NotTaken(f"{what}; redirects are not followed: correct the URL", Trouble.NOT_ADMITTED)
        if status in _NOT_ADMITTED:
            return NotTaken(f"{what}; {_NOT_ADMITTED[HTTPStatus(status)]}", Trouble.NOT_ADMITTED)
        return Refused(what)

    def _failure(self, error: ClientError | OSError) -> NotTaken:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            cause = error.certificate_error
            why = getattr(cause, "verify_message", "") or type(cause).__name__
            return NotTaken(
                f"{self.place} shows a certificate that is not trusted: {why}; name its authority in ca_file, or the"
                " host as its certificate does",
                Trouble.CERTIFICATE,
            )
        if isinstance(error, aiohttp.ClientConnectorSSLError):
            why = getattr(error.os_error, "reason", None) or type(error.os_error).__name__
            return NotTaken(f"{self.place} does not agree on TLS ({why}); correct the URL", Trouble.CERTIFICATE)
        if isinstance(error, aiohttp.ClientConnectorError):
            number, text = error.os_error.errno, error.os_error.strerror
            why = os.strerror(number) if number is not None and number > 0 else text
            return NotTaken(f"{self.place} cannot be reached ({why})", Trouble.CONNECTION)
        # Other texts of the library may hold the whole URL.
        return NotTaken(f"{self.place} gives no answer ({type(error).__name__})", Trouble.CONNECTION)


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise PermanentFailure(
            f"the certificates in {ca_file} cannot be used ({error}); correct ca_file of the receiver"
        ) from error


def _without(said: str, secrets: list[str]) -> str:
    """What a receiver said, shortened, on one line, and without what it may have repeated of ours."""
    for secret in secrets:
        if len(secret) > 1:
            said = said.replace(secret, "***")
    line = printable(" ".join(said.split()))
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"


def _retry_after_seconds(text: str) -> float:
    """Of the header; its other form, a date, is left to our own pauses."""
    return min(float(text), LONGEST_RETRY_AFTER_SECONDS) if text.isdecimal() else 0.0
