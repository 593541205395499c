"""The JSON API under `/api/v1`: what is asked becomes a question to the reader, its answer JSON with an ETag.

An answer holds until the store changes, so that a hundred open pages cost little more than one. The document that
describes all routes is made from the same table that serves them.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from agents.web.alerts import AlertReader
from agents.web.documents import Alerts, Fleet, ModelPage, Segments, SystemPage, WindowReports, Windows
from agents.web.fleet import FleetReader
from agents.web.problems import Unanswerable, problem_response
from agents.web.queries import LONGEST_TEXT, Query, time_ms
from agents.web.reading import ReportReader, SegmentsAsked, SignalsAsked, WindowsAsked
from agents.web.remembered import ReportReading
from agents.web.signal_documents import Signals
from agents.web.stored import QUALITY
from streams.alerting.life_cycle import Phase
from streams.errors import LatelabelError, TemporaryFailure
from streams.ports import Clock

__all__ = ["ROOT", "Api", "Parameter", "Route"]

_log = logging.getLogger(__name__)

ROOT = "/api/v1"
ANSWERS_KEPT = 128
LARGEST_KEPT_BYTES = 1_000_000
ANSWER_SECONDS = 5.0
"""How long an answer is kept although nothing changed: what has fallen silent shows by the clock alone."""
MOST_WINDOWS = 1000
MOST_SEGMENTS = 48
MOST_SIGNALS = 200
LARGEST_WINDOW_SECONDS = 366 * 86_400
COMPRESSED_FROM_BYTES = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a route, as the API's description says it."""

    name: str
    meaning: str
    schema: Mapping[str, Any]
    is_in_path: bool = False
    is_json: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """One thing that can be asked."""

    path: str
    name: str
    summary: str
    answer: type
    ask: Callable[[web.Request], Awaitable[Any]]
    parameters: tuple[Parameter, ...] = ()
    asks_kafka: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    etag: str
    change: int
    until_seconds: float


TEXT: Mapping[str, Any] = {"type": "string", "maxLength": LONGEST_TEXT}
SEGMENT: Mapping[str, Any] = {
    "type": "object",
    "maxProperties": 8,
    "propertyNames": {"maxLength": 128},
    "additionalProperties": {"type": "string", "maxLength": 128},
}
TIME: Mapping[str, Any] = {"type": "string", "format": "date-time", "example": "2026-11-23T12:00:00Z"}
MODEL = Parameter("model", "Name of the model.", {"type": "string", "minLength": 1}, is_in_path=True)
VERSION = Parameter("version", "Version of the model; without it the one with the newest window.", TEXT)
SLICE = Parameter("segment", 'A slice, {"country":"DE"}; without it all predictions.', SEGMENT, is_json=True)
SINCE = Parameter("since", "Windows that start at or after this time.", TIME)
UNTIL = Parameter("until", "Windows that start before this time.", TIME)
LIMIT = Parameter(
    "limit",
    "At most so many windows, the newest ones; without it 300.",
    {"type": "integer", "minimum": 1, "maximum": MOST_WINDOWS},
)
SIZE = Parameter(
    "size",
    "Size of windows in seconds; without it the largest that is reported.",
    {"type": "integer", "minimum": 1, "maximum": LARGEST_WINDOW_SECONDS},
)


class Api:
    """Serves documents about reports and the monitor.

    Args:
        fleet: answers what there is.
        reader: answers questions about the reports on a model.
        alerts: answers questions about alerts.
        store: tells whether anything has changed.
        system: answers about the monitor itself.
        clock: how old an answer is.
        further: routes that are answered by others.
    """

    def __init__(
        self,
        fleet: FleetReader,
        reader: ReportReader,
        alerts: AlertReader,
        store: ReportReading,
        system: Callable[[], Awaitable[SystemPage]],
        clock: Clock,
        further: Sequence[Route] = (),
    ) -> None:
        self._fleet_reader = fleet
        self._reader = reader
        self._alerts = alerts
        self._store = store
        self._system = system
        self._clock = clock
        self._kept: collections.OrderedDict[str, _Kept] = collections.OrderedDict()
        self._building = asyncio.Lock()
        self._reading_kafka = asyncio.Lock()
        self.routes = (
            Route("/fleet", "fleet", "All model versions, worst first.", Fleet, self._fleet),
            Route(
                "/models/{model}", "model", "What there is of a model version.", ModelPage, self._model,
                (MODEL, VERSION, SIZE),
            ),
            Route(
                "/models/{model}/windows", "windows", "Figures of its windows, oldest first.", Windows, self._windows,
                (
                    MODEL,
                    VERSION,
                    SIZE,
                    Parameter("kind", "Kind of report; without it quality.", TEXT),
                    Parameter("metrics", "Names of metrics that commas divide; without it none.", TEXT),
                    SLICE,
                    SINCE,
                    UNTIL,
                    LIMIT,
                ),
            ),
            Route(
                "/models/{model}/segments", "segments", "One metric of the worst segments over time, worst first.",
                Segments, self._segments,
                (
                    MODEL,
                    VERSION,
                    SIZE,
                    Parameter("metric", "Name of the metric; without it the main one.", TEXT),
                    SINCE,
                    UNTIL,
                    LIMIT,
                    Parameter(
                        "most", "At most so many segments, the worst ones; without it 12.",
                        {"type": "integer", "minimum": 1, "maximum": MOST_SEGMENTS},
                    ),
                ),
            ),
            Route(
                "/models/{model}/signals", "signals", "What it said of its own state over time, what moved most first.",
                Signals, self._signals,
                (
                    MODEL,
                    VERSION,
                    SIZE,
                    SLICE,
                    SINCE,
                    UNTIL,
                    LIMIT,
                    Parameter(
                        "most", "At most so many signals, those that moved most; without it 12.",
                        {"type": "integer", "minimum": 1, "maximum": MOST_SIGNALS},
                    ),
                ),
            ),
            Route(
                "/models/{model}/windows/{start}", "window", "All reports on one window, as they were published.",
                WindowReports, self._window,
                (MODEL, Parameter("start", "When the window starts.", TIME, is_in_path=True), VERSION, SIZE),
            ),
            Route(
                "/alerts", "alerts", "All alerts, firing first.", Alerts, self._alerts_page,
                (
                    Parameter("model", "Those about this model.", TEXT),
                    Parameter("phase", "Those in this phase.", {"enum": [str(phase) for phase in Phase]}),
                ),
            ),
            Route("/system", "system", "The monitor itself.", SystemPage, self._system_page),
            *further,
        )  # fmt: skip

    def add_to(self, app: web.Application) -> None:
        """Serve all routes."""
        for route in self.routes:
            app.router.add_get(ROOT + route.path, self._serve(route))
        app.router.add_route("*", ROOT + "/{rest:.*}", _unknown)

    def _serve(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            try:
                kept = await self._answer(request, route)
            except Unanswerable as error:
                return problem_response(HTTPStatus(error.status), error.detail, field=error.field)
            except TemporaryFailure as error:
                return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            except LatelabelError as error:
                if route.asks_kafka:
                    return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
                _log.warning("Cannot answer %s: %s", request.path, error)
                return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            if kept.etag in request.headers.get("If-None-Match", ""):
                return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": kept.etag})
            response = web.Response(
                body=kept.body,
                content_type="application/json",
                headers={"ETag": kept.etag, "Cache-Control": "no-cache"},
            )
            if len(kept.body) > COMPRESSED_FROM_BYTES:
                response.enable_compression()
            return response

        return serve

    async def _answer(self, request: web.Request, route: Route) -> _Kept:
        # One at a time: pages that were told of the same change ask for the same, and a crowd needs no more connections
        # to the store than one. What stands in Kafka does not change with it, and must not hold up what is read there.
        async with self._reading_kafka if route.asks_kafka else self._building:
            change = 0 if route.asks_kafka else await self._store.changes()
            now = self._clock.monotonic_seconds()
            kept = self._kept.get(request.path_qs)
            if kept is not None and kept.change == change and now < kept.until_seconds:
                return kept
            body = msgspec.json.encode(await route.ask(request))
            digest = hashlib.blake2b(body, digest_size=12).hexdigest()
            kept = _Kept(body, f'"{digest}"', change, now + ANSWER_SECONDS)
            if len(body) <= LARGEST_KEPT_BYTES:
                self._kept[request.path_qs] = kept
                self._kept.move_to_end(request.path_qs)
                if len(self._kept) > ANSWERS_KEPT:
                    self._kept.popitem(last=False)
            return kept

    async def _fleet(self, request: web.Request) -> Fleet:
        Query(request)
        return await self._fleet_reader.fleet()

    async def _model(self, request: web.Request) -> ModelPage:
        query = Query(request, "version", "size")
        return await self._reader.model(
            request.match_info["model"], version=query.text("version"), size_seconds=_size(query)
        )

    async def _windows(self, request: web.Request) -> Windows:
        query = Query(request, "version", "size", "kind", "metrics", "segment", "since", "until", "limit")
        asked = WindowsAsked(
            **_stretch(query),
            kind=query.text("kind") or QUALITY,
            metrics=query.words("metrics"),
            segment=query.segment("segment"),
        )
        return await self._reader.windows(request.match_info["model"], asked)

    async def _segments(self, request: web.Request) -> Segments:
        query = Query(request, "version", "size", "metric", "since", "until", "limit", "most")
        asked = SegmentsAsked(
            **_stretch(query),
            metric=query.text("metric"),
            most=query.number("most", least=1, most=MOST_SEGMENTS) or 12,
        )
        return await self._reader.segments(request.match_info["model"], asked)

    async def _signals(self, request: web.Request) -> Signals:
        query = Query(request, "version", "size", "segment", "since", "until", "limit", "most")
        asked = SignalsAsked(
            **_stretch(query),
            segment=query.segment("segment"),
            most=query.number("most", least=1, most=MOST_SIGNALS) or 12,
        )
        return await self._reader.signals(request.match_info["model"], asked)

    async def _window(self, request: web.Request) -> WindowReports:
        query = Query(request, "version", "size")
        start_ms = time_ms("start", request.match_info["start"])
        return await self._reader.window(
            request.match_info["model"], start_ms, version=query.text("version"), size_seconds=_size(query)
        )

    async def _alerts_page(self, request: web.Request) -> Alerts:
        query = Query(request, "model", "phase")
        return await self._alerts.alerts(model=query.text("model"), phase=query.choice("phase", [*Phase]))

    async def _system_page(self, request: web.Request) -> SystemPage:
        Query(request)
        return await self._system()


async def _unknown(request: web.Request) -> web.Response:
    if request.method not in ("GET", "HEAD"):
        refused = problem_response(HTTPStatus.METHOD_NOT_ALLOWED, "the API only answers GET and HEAD")
        refused.headers["Allow"] = "GET, HEAD"
        return refused
    return problem_response(
        HTTPStatus.NOT_FOUND, f"nothing is served at {request.path[:200]}; {ROOT}/openapi.json lists all"
    )


def _stretch(query: Query) -> dict[str, Any]:
    """The fields of `Asked`."""
    return {
        "version": query.text("version"),
        "size_seconds": _size(query),
        "since_ms": query.time_ms("since"),
        "until_ms": query.time_ms("until"),
        "windows": query.number("limit", least=1, most=MOST_WINDOWS) or 300,
    }


def _size(query: Query) -> int | None:
    return query.number("size", least=1, most=LARGEST_WINDOW_SECONDS)
