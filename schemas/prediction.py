"""A prediction: what a model answered to one request, or that it failed to.

`SentPrediction` is the JSON object as producers may send it, checked while it is parsed.
`Prediction` is what the rest of the program sees: defaults filled in, time as a number.
A producer that writes `null` for what it does not know is understood: `null` means absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas.limits import LIST_ENTRIES, MAX_INSTANCE, NAME_BYTES, REQUEST_ID_BYTES

__all__ = ["Answer", "Instance", "Name", "Prediction", "RequestId", "SentPrediction", "Text"]

# Lengths here are in characters, the rule is in bytes. They are an upper bound that costs nothing;
# the codec measures the bytes of the texts in which a character may take more than one.
RequestId = Annotated[str, Meta(min_length=1, max_length=REQUEST_ID_BYTES)]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_BYTES)]
Text = Annotated[str, Meta(max_length=NAME_BYTES)]
Instance = Annotated[int, Meta(ge=0, le=MAX_INSTANCE)]
Answer = Text | bool | int | float | Annotated[list[Text | bool | int | float], Meta(max_length=LIST_ENTRIES)]
_Probability = Annotated[float, Meta(ge=0, le=1)]
_NotNegative = Annotated[float, Meta(ge=0)]


class SentPrediction(msgspec.Struct, frozen=True, gc=False):
    """The fields of a prediction on the wire."""

    request_id: RequestId
    model: Name
    instance: Instance | None = None
    model_version: Text | None = None
    event_time: str | None = None
    prediction: Answer | None = None
    score: _Probability | None = None
    probabilities: dict[str, _Probability | None] | None = None
    features: msgspec.Raw = msgspec.Raw()
    segment: dict[str, Text | None] | None = None
    signals: dict[str, float | None] | None = None
    latency_ms: _NotNegative | None = None
    status: Literal["ok", "error", "timeout"] | None = None
    error: str | None = None


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """One prediction, identified by request id and instance.

    `prediction` is the answer as it was sent; its class is `schemas.codec.class_name`. It is None only
    if `status` is not `ok`. `features` is still JSON text, because counting never needs it and parsing
    it would cost more than everything else: see `schemas.codec.read_features`.
    """

    request_id: str
    model: str
    event_time_ms: int
    instance: int = 0
    model_version: str = ""
    prediction: str | bool | int | float | list[Any] | None = None
    score: float | None = None
    probabilities: dict[str, float] | None = None
    features: msgspec.Raw | None = None
    segment: dict[str, str] = {}
    signals: dict[str, float] = {}
    latency_ms: float | None = None
    status: str = "ok"
    error: str | None = None
