"""Who may read, how often, and what browsers are told not to do with it.

    request ──> known host? ──> token? ──> not too many? ──> the route ──> security headers

Health is asked by supervisors that hold no token and must not be refused, so nothing but headers applies to it. A
token comes as `Authorization: Bearer`, or, from browsers, in a cookie that `/login` sets; wrong ones are all compared
in constant time. Without a token only names of this machine are answered, so that a page elsewhere that has its own
name point here cannot read along.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from agents.settings import WebSettings
from streams.errors import PermanentFailure
from streams.ports import Clock

__all__ = ["Access", "log_in", "read_token", "show_login"]

COOKIE: Final = "latelabel"
HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz"})
LOGIN_PATH: Final = "/login"
REQUESTS_PER_SECOND: Final = 100.0
BURST_REQUESTS: Final = 300.0
"""Of one address. The page asks for a handful when a report changes."""
ADDRESSES_REMEMBERED: Final = 1000
FORM_SECONDS: Final = 5.0

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclasses.dataclass(slots=True)
class _Bucket:
    """What one address may still ask for."""

    requests: float
    filled_seconds: float


class Access:
    """Decides about every request before its route is asked.

    Args:
        settings: of the server.
        token: what callers have to show; None asks for nothing.
        clock: for the rate.
    """

    def __init__(self, settings: WebSettings, token: str | None, clock: Clock) -> None:
        self._token = token
        self._clock = clock
        self._is_local = is_loopback(settings.host)
        self._is_open = token is not None or settings.open or self._is_local
        self._checks_host = token is None and self._is_local
        self._buckets: dict[str, _Bucket] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse, or let the route answer, and add the headers."""
        refused = None if request.path in HEALTH_PATHS else self._refusal(request)
        if refused is not None:
            refused.headers.update(HEADERS)
            return refused
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def is_shown(self, text: str) -> bool:
        """Whether this is the token; takes the same time for every wrong one of one length."""
        return self._token is None or hmac.compare_digest(text.encode(), self._token.encode())

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self._checks_host and not is_loopback(_host_name(request)):
            return _plain(421, "this worker answers to names of its own machine alone; set web.token_file and web.host")
        if not self._may_ask(request.remote or ""):
            return _plain(429, "too many requests from this address", {"Retry-After": "1"})
        if request.path == "/metrics" and self._token is None:
            return None
        if not self._is_open:
            return _plain(
                403,
                "page and API are off: web.host is not local and no token is set. Set web.token_file, or web.open: true"
                " for whoever reaches this port to read everything",
            )
        if request.path == LOGIN_PATH or self._shows_token(request):
            return None
        return _login_page(401) if _wants_page(request) else _unauthorized()

    def _shows_token(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_shown(given.strip()):
            return True
        return self.is_shown(request.cookies.get(COOKIE, ""))

    def _may_ask(self, address: str) -> bool:
        now = self._clock.monotonic_seconds()
        bucket = self._buckets.pop(address, None) or _Bucket(BURST_REQUESTS, now)
        gained = (now - bucket.filled_seconds) * REQUESTS_PER_SECOND
        bucket.requests = min(bucket.requests + gained, BURST_REQUESTS)
        bucket.filled_seconds = now
        # Put back as the newest; the one that asked longest ago is forgotten first.
        self._buckets[address] = bucket
        if len(self._buckets) > ADDRESSES_REMEMBERED:
            del self._buckets[next(iter(self._buckets))]
        if bucket.requests < 1:
            return False
        bucket.requests -= 1
        return True


async def show_login(_: web.Request) -> web.Response:
    """The form, for people."""
    return _login_page(200)


def log_in(access: Access) -> Handler:
    """What `POST /login` does: set the cookie if the token is right."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(FORM_SECONDS):
                given = str((await request.post()).get("token", "")).strip()
        except TimeoutError:
            return _plain(408, "the form did not come in time")
        if not access.is_shown(given):
            return _login_page(401, wrong=True)
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(COOKIE, given, httponly=True, samesite="Strict", path="/", secure=request.secure)
        return response

    return answer


def read_token(path: Path | None) -> str | None:
    """The token that callers must show; None if no file is named.

    Raises: PermanentFailure if the file cannot be read or is empty.
    """
    if path is None:
        return None
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentFailure(f"cannot read the token in {path} (web.token_file): {error}") from error
    if not token:
        raise PermanentFailure(f"{path} (web.token_file) holds no token; remove the setting to ask for none")
    return token


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host_name(request: web.Request) -> str:
    name = request.host
    return name[: name.rindex("]") + 1] if name.startswith("[") and "]" in name else name.partition(":")[0]


def _wants_page(request: web.Request) -> bool:
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "")


def _unauthorized() -> web.Response:
    return _plain(401, "show the token of web.token_file: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=headers)


def _login_page(status: int, *, wrong: bool = False) -> web.Response:
    complaint = '<p role="alert">This is not the token.</p>' if wrong else ""
    return web.Response(
        status=status,
        content_type="text/html",
        text=(
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            "<title>Latelabel</title><style>:root{color-scheme:light dark}body{font:1rem system-ui;margin:15vh auto;"
            "max-width:22rem;padding:1rem}input,button{font:inherit;width:100%;padding:.5rem;margin:.5rem 0;"
            "box-sizing:border-box}</style><main><h1>Latelabel</h1>"
            f'{complaint}<form method="post" action="/login"><label for="token">Token of this installation</label>'
            '<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>'
            "<button>Open</button></form></main></html>"
        ),
    )
