"""HTTP to model servers that the configuration names, and to nothing else.

A name is resolved for each connection, and only addresses that were checked are connected to; redirects are refused;
answers are bounded in size and time. Addresses of this machine, of link-local and of metadata services are refused
unless `explainer.allowed_hosts` lists the host, so that a configuration that somebody else wrote cannot make the
explainer ask around inside.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import socket
import ssl
import urllib.parse
from collections.abc import Collection
from typing import Any

from schemas.explanation import ExplainFailure
from streams.explanation.refusal import Refused

__all__ = ["GuardedHttp", "with_version"]

SYNTHETIC = {"X-Latelabel-Synthetic": "true"}
"""Tells a model server that nobody asked this for an answer: what it answers is no prediction to publish."""
METADATA = ipaddress.ip_network("fd00:ec2::/32")
SHOWN_BYTES = 200

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class GuardedHttp:
    """One model server.

    Args:
        url: of the model; paths of requests are relative to it.
        allowed_hosts: `host` or `host:port`; if not empty, no other is asked.
        answer_seconds: how long one answer may take to begin, and each part of it to come.
        answer_bytes: how large an answer may be.
    """

    def __init__(self, url: str, *, allowed_hosts: Collection[str], answer_seconds: float, answer_bytes: int) -> None:
        self._connection: http.client.HTTPConnection | None = None
        parts = urllib.parse.urlsplit(url)
        self._url = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._host = parts.hostname or ""
        self._path = parts.path.rstrip("/")
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._netloc = parts.netloc.rpartition("@")[2]
        self._answer_seconds = answer_seconds
        self._answer_bytes = answer_bytes
        self._allowed_hosts = allowed_hosts

    def __del__(self) -> None:
        self.close()

    def get(self, path: str = "") -> Any:
        """The JSON that stands at the URL. Raises: Refused."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        """The JSON that is answered to JSON. Raises: Refused."""
        return self._ask("POST", path, json.dumps(body, separators=(",", ":")).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        headers = {"Host": self._netloc, "Content-Type": "application/json", "Accept": "application/json", **SYNTHETIC}
        try:
            status, content = self._exchange(method, self._path + path, body, headers)
        except TimeoutError as error:
            raise Refused(
                ExplainFailure.TOO_SLOW, f"{self._url} does not answer within {self._answer_seconds:g} s"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise Refused(
                ExplainFailure.UNREACHABLE,
                f"{self._url} cannot be asked: {str(error) or type(error).__name__}; see whether it runs and what it"
                " logs, or correct explain.predictor",
            ) from error
        if 300 <= status < 400:
            raise Refused(
                ExplainFailure.REDIRECTED, f"{self._url} answers with a redirect ({status}); name where it leads to"
            )
        said = content[:SHOWN_BYTES].decode("utf-8", "replace")
        if status >= 400:
            raise Refused(ExplainFailure.HTTP_ERROR, f"{self._url} answers with {status}: {said}")
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Refused(ExplainFailure.HTTP_ERROR, f"{self._url} answers with no JSON: {said}") from error

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        is_fresh = self._connection is None
        connection = self._connection = self._connection or self._connect()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read(self._answer_bytes + 1)
        except (ConnectionError, http.client.BadStatusLine):
            self.close()
            if is_fresh:
                raise
            # The server has given up a connection that was idle.
            return self._exchange(method, path, body, headers)
        except BaseException:
            self.close()
            raise
        if len(content) > self._answer_bytes:
            response.close()
            self.close()
            raise Refused(
                ExplainFailure.TOO_LARGE,
                f"{self._url} answers with more than {self._answer_bytes} bytes; lower explain.samples, or raise"
                " explainer.answer_mib",
            )
        if response.will_close:
            self.close()
        return response.status, content

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._answer_seconds)
        context = ssl.create_default_context() if self._is_tls else None
        raw = self._connected()
        connection.sock = raw if context is None else context.wrap_socket(raw, server_hostname=self._host)
        connection.auto_open = 0  # it would resolve the name again
        return connection

    def _connected(self) -> socket.socket:
        """A connection to the first address that takes one: a server need not listen on all that its name has."""
        *others, last = _checked_addresses(self._host, self._port, self._allowed_hosts)
        for address in others:
            with contextlib.suppress(OSError):
                return socket.create_connection((address, self._port), timeout=self._answer_seconds)
        return socket.create_connection((last, self._port), timeout=self._answer_seconds)

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def with_version(template: str, version: str) -> str:
    """A URL or path with `{version}` filled in; what a prediction says cannot leave its place.

    Raises: Refused with `url_not_allowed`.
    """
    if "{version}" not in template:
        return template
    if not version.strip("."):
        raise Refused(
            ExplainFailure.URL_NOT_ALLOWED, f"the version {version!r} cannot be part of {template}; publish a name"
        )
    return template.replace("{version}", urllib.parse.quote(version, safe=""))


def _checked_addresses(host: str, port: int, allowed: Collection[str]) -> list[str]:
    """At least one.

    Raises: Refused with `url_not_allowed` or `unreachable`.
    """
    is_listed = host in allowed or f"{host}:{port}" in allowed
    if allowed and not is_listed:
        raise Refused(
            ExplainFailure.URL_NOT_ALLOWED, f"{host}:{port} is not in explainer.allowed_hosts: {', '.join(allowed)}"
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Refused(ExplainFailure.UNREACHABLE, f"the host {host} has no address: {error}") from error
    addresses = [str(each[4][0]) for each in found]
    for address in addresses:
        if not is_listed and _is_internal(ipaddress.ip_address(address.partition("%")[0])):
            raise Refused(
                ExplainFailure.URL_NOT_ALLOWED,
                f"{host}:{port} is {address}, an address of this machine, of its network's services or of none;"
                " list it in explainer.allowed_hosts if it is meant",
            )
    return addresses


def _is_internal(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
        or address in METADATA
    )
