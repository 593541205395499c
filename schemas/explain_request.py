"""A request to explain one prediction: which record it is, where it stands, and why it was chosen.

It points at the record and does not repeat it: the explainer reads it back from Kafka by its offset.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.prediction import Instance, Name, RequestId, Text

__all__ = ["WHY_ASKED", "ExplainRequest", "WhyAsked", "read_explain_request"]


class WhyAsked(enum.StrEnum):
    """Why a prediction was chosen to be explained."""

    WRONG = "wrong"
    LOW_MARGIN = "low_margin"
    BASE = "base"
    ASKED = "asked"


WHY_ASKED: Mapping[WhyAsked, str] = MappingProxyType(
    {
        WhyAsked.WRONG: "Its label says otherwise.",
        WhyAsked.LOW_MARGIN: "The model was hardly sure.",
        WhyAsked.BASE: "For comparison: drawn from all predictions, each predicted class apart.",
        WhyAsked.ASKED: "Somebody asked.",
    }
)

_Share = Annotated[float, Meta(gt=0, le=1)]
_NotNegative = Annotated[int, Meta(ge=0)]


class ExplainRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One prediction that is to be explained."""

    request_id: RequestId
    instance: Instance = 0
    model: Name
    model_version: Text = ""
    topic: str
    partition: _NotNegative
    offset: _NotNegative
    reason: WhyAsked
    rate: _Share = 1.0
    predicted: str | None = None
    label: str | None = None


_decode = msgspec.json.Decoder(ExplainRequest).decode


def read_explain_request(value: bytes | None) -> ExplainRequest | None:
    """Read a record of the topic; None if it is none of ours."""
    try:
        return _decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
