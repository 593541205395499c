"""The OpenAPI 3.1 document of the API, made from the routes that serve it and the structs they answer with."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from agents.web.api import ROOT, Parameter, Route
from agents.web.documents import Problem

__all__ = ["openapi_document"]

_PROBLEMS = {
    "400": "A parameter is unknown or malformed; `field` names it.",
    "401": "The token is missing or wrong.",
    "403": "The configuration does not let it out.",
    "404": "Nothing is known of what was asked for; `field` names the parameter.",
    "429": "Too many requests from this address.",
    "503": "Redis, or Kafka where that is asked, does not answer.",
}


def openapi_document(routes: Sequence[Route]) -> dict[str, Any]:
    """The document, as plain JSON types."""
    types = [*dict.fromkeys(route.answer for route in routes), Problem]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    answers = dict(zip(types, schemas, strict=True))
    paths: dict[str, Any] = {
        ROOT + route.path: {"get": _operation(route, answers[route.answer], answers[Problem])} for route in routes
    }
    paths[f"{ROOT}/events"] = {"get": _events()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Latelabel",
            "version": version("latelabel"),
            "description": "How good each model is, as far as its labels tell. Reads Redis alone; changes nothing.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(route: Route, answer: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": {
            "200": {
                "description": route.summary,
                "headers": {"ETag": {"schema": {"type": "string"}, "description": "Of this answer."}},
                "content": {"application/json": {"schema": answer}},
            },
            "304": {"description": "The same as the answer whose ETag was sent."},
            **{
                status: {"description": meaning, "content": {_kind(status): {"schema": _shape(status, problem)}}}
                for status, meaning in _PROBLEMS.items()
            },
        },
    }


def _kind(status: str) -> str:
    return "text/plain" if status in ("401", "429") else "application/problem+json"


def _shape(status: str, problem: dict[str, Any]) -> dict[str, Any]:
    return {"type": "string"} if _kind(status) == "text/plain" else problem


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = {"schema": dict(parameter.schema)}
    return {
        "name": parameter.name,
        "in": "path" if parameter.is_in_path else "query",
        "required": parameter.is_in_path,
        "description": parameter.meaning,
        **({"content": {"application/json": schema}} if parameter.is_json else schema),
    }


def _events() -> dict[str, Any]:
    return {
        "operationId": "events",
        "summary": "Server-sent events: `changed` when an answer may have changed, `alive` every five seconds.",
        "parameters": [
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "description": "The last event that was seen; nothing is sent while it is still the newest.",
                "schema": {"type": "string"},
            }
        ],
        "responses": {
            "200": {"description": "The stream.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            "503": {
                "description": "Too many pages are open.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
        },
    }
