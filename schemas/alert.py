"""An alert as it stands on the alerts topic: Alertmanager's own object, and what others want to know beside it.

`labels`, `annotations`, `startsAt`, `endsAt` and `generatorURL` are a `postableAlert` of Alertmanager's API version 2,
which takes the whole object as it is and ignores the rest. Labels identify the alert and never change while it is on;
annotations describe it. The record's key is the fingerprint, so a compacted topic keeps the last word on each alert.

A firing alert is sent again and again, each time with an `endsAt` a little ahead: should the monitor die, the alert
ends there by itself.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.errors import Reason, Rejected, shown
from schemas.times import parse_time_ms

__all__ = ["LABEL_NAME", "Alert", "read_alert"]

LABEL_NAME = "^[a-zA-Z_][a-zA-Z0-9_]*$"
"""Of labels and annotations: what every version of Alertmanager takes."""

_Name = Annotated[str, Meta(pattern=LABEL_NAME)]
_Value = Annotated[str, Meta(min_length=1)]
_Time = Annotated[str, Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$")]
_Fingerprint = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]


class Alert(msgspec.Struct, frozen=True, kw_only=True, rename={
    "starts_at": "startsAt", "ends_at": "endsAt", "generator_url": "generatorURL",
}):  # fmt: skip
    """One alert, firing or resolved.

    A label without a value is no label to Alertmanager, so it must not be there; an annotation may be empty. `name` and
    `severity` repeat the labels `alertname` and `severity`.
    """

    labels: Annotated[dict[_Name, _Value], Meta(min_length=1)]
    annotations: dict[_Name, str]
    starts_at: _Time
    ends_at: _Time
    generator_url: str
    status: Literal["firing", "resolved"]
    fingerprint: _Fingerprint
    name: str
    severity: str
    reason: str


_decode = msgspec.json.Decoder(Alert).decode


def read_alert(value: bytes | None) -> Alert:
    """Read one record of the alerts topic.

    Raises: Rejected with what no receiver would take; trying again cannot help.
    """
    if value is None:
        raise Rejected(Reason.TOMBSTONE, "the value is null; an alert is a JSON object")
    try:
        alert = _decode(value)
    except msgspec.ValidationError as error:
        reason = Reason.MISSING_FIELD if "missing required" in str(error) else Reason.WRONG_TYPE
        raise Rejected(reason, f"{shown(value)} is no alert: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED_JSON, f"{shown(value)} is not JSON ({error})") from None
    if parse_time_ms(alert.ends_at) < parse_time_ms(alert.starts_at):
        raise Rejected(Reason.BAD_TIME, f"endsAt {alert.ends_at} is before startsAt {alert.starts_at}")
    return alert
