"""Why a request has no answer, as the API says it: RFC 9457, `application/problem+json`."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from aiohttp import web

from agents.web.documents import Problem

__all__ = ["BadRequest", "NotFound", "NotShown", "Unanswerable", "problem_response"]


class Unanswerable(Exception):
    """The request cannot be answered; `field` is the parameter at fault."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class BadRequest(Unanswerable):
    """A parameter is not what it may be."""

    status = HTTPStatus.BAD_REQUEST


class NotShown(Unanswerable):
    """The configuration keeps it to itself."""

    status = HTTPStatus.FORBIDDEN


class NotFound(Unanswerable):
    """Nothing is known of what was asked for."""

    status = HTTPStatus.NOT_FOUND


def problem_response(status: HTTPStatus, detail: str, *, field: str | None = None) -> web.Response:
    """Say what is wrong."""
    problem = Problem(title=status.phrase, status=status, detail=detail, field=field)
    return web.Response(
        status=status,
        body=msgspec.json.encode(problem),
        headers={"Content-Type": "application/problem+json", "Cache-Control": "no-store"},
    )
