"""Tokens for a broker that asks for no signature, and an endpoint of OAuth 2.0 that gives them."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.test_utils import TestServer

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "TokenEndpoint", "make_token", "token_endpoint"]

CLIENT_ID, CLIENT_SECRET = "latelabel", "s3cret: of the client"
_WHO = "Basic " + base64.b64encode(b"latelabel:s3cret%3A+of+the+client").decode()


def make_token(user: str, *, lasts_seconds: float = 600) -> str:
    """A JWT without a signature; expired if it lasts less than nothing."""
    now = time.time()
    claims = {"sub": user, "iat": min(now, now + lasts_seconds) - 60, "exp": now + lasts_seconds}
    return ".".join((_encoded({"alg": "none"}), _encoded(claims), ""))


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


class TokenEndpoint:
    """Gives `token` to `CLIENT_ID`, and counts how often it did."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.lasts_seconds = 600
        self.given = 0
        self.scopes: list[object] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """The client credentials grant, as RFC 6749 has it."""
        form = await request.post()
        if request.headers.get("Authorization") != _WHO:
            return web.json_response({"error": "invalid_client"}, status=401)
        if form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        self.given += 1
        self.scopes.append(form.get("scope"))
        return web.json_response({"access_token": self.token, "expires_in": self.lasts_seconds})


@contextlib.asynccontextmanager
async def token_endpoint(token: str) -> AsyncIterator[TokenEndpoint]:
    """Serve until the block is left."""
    endpoint = TokenEndpoint(token)
    app = web.Application()
    app.router.add_post("/token", endpoint.answer)
    app.router.add_post("/broken", _broken)
    async with TestServer(app) as server:
        endpoint.url = str(server.make_url("/token"))
        yield endpoint


async def _broken(_: web.Request) -> web.Response:
    return web.Response(text="<html>", status=503)
