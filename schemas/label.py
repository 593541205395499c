"""A label: the outcome of one request, learned later.

It says what was true, not which prediction was right: it is addressed to one model, or to all that
answered the request. `event_time` is when the truth became known.
"""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.prediction import Answer, Instance, Name, RequestId

__all__ = ["Label", "SentLabel"]


class SentLabel(msgspec.Struct, frozen=True, gc=False):
    """The fields of a label on the wire."""

    request_id: RequestId
    label: Answer
    instance: Instance | None = None
    event_time: str | None = None
    model: Name | None = None
    source: str | None = None


class Label(msgspec.Struct, frozen=True, gc=False):
    """One label for a request id and instance; `model` is None when it is meant for every model.

    `label` is the value as it was sent; its class is `schemas.codec.class_name`.
    """

    request_id: str
    label: str | bool | int | float | list[Any]
    event_time_ms: int
    instance: int = 0
    model: str | None = None
    source: str | None = None
