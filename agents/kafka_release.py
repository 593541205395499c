"""Which release of Kafka a broker runs: no request tells it, but the highest metadata version that it knows does.

Brokers say which features they support, each with the levels that they know, in an optional field of their answer to
ApiVersions from version 3 of it on. The library knows the request up to version 2.
"""

from __future__ import annotations

import bisect
import io
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

__all__ = ["AskFeatures", "release_of"]

_SUPPORTED_FEATURES = 0
"""The tag of the optional field."""
_FEATURES = CompactArray(
    ("name", CompactString("utf-8")), ("lowest", Int16), ("highest", Int16), ("tags", TaggedFields)
)
_RELEASES = {
    1: "3.0", 2: "3.1", 3: "3.2", 4: "3.3", 8: "3.4", 9: "3.5", 12: "3.6", 15: "3.7", 20: "3.8", 21: "3.9",
    22: "4.0", 26: "4.1", 28: "4.2", 30: "4.3", 31: "4.4",
}  # fmt: skip
"""By the first level of `metadata.version` that came with it. Source: `MetadataVersion` of Kafka 4.3.1."""


class _Features(Response):  # type: ignore[misc]  # the library has no types
    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_versions", CompactArray(("key", Int16), ("lowest", Int16), ("highest", Int16), ("tags", TaggedFields))),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class _AskFeatures(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 18
    API_VERSION = 3
    RESPONSE_TYPE = _Features
    SCHEMA = Schema(("name", CompactString("utf-8")), ("version", CompactString("utf-8")), ("tags", TaggedFields))

    def parse_response_header(self, read_buffer: io.BytesIO | bytes) -> Any:
        """The old header, whose answer a client can read that does not know yet what the broker speaks."""
        return ResponseHeader_v0.decode(read_buffer)


class AskFeatures(Request[_AskFeatures]):  # type: ignore[misc]
    """The request. A broker before 2.4 does not take it: sending raises NotImplementedError."""

    API_KEY = 18

    def build(self, request_struct_class: type[_AskFeatures]) -> _AskFeatures:
        """As brokers want it: they log the names of programs."""
        return request_struct_class("latelabel", "0", {})


def release_of(features: Any) -> str | None:
    """The release that a broker's answer to `AskFeatures` tells, as "4.3"; None if it tells none.

    Brokers before 3.0, some with ZooKeeper, and programs that only speak as Kafka does tell none.
    """
    told = features.tags.get(_SUPPORTED_FEATURES)
    levels = {name: highest for name, _, highest, _ in _FEATURES.decode(io.BytesIO(told))} if told else {}
    level = levels.get("metadata.version", 0)
    if level > max(_RELEASES):
        return f"{_RELEASES[max(_RELEASES)]} or newer"
    at = bisect.bisect_right(list(_RELEASES), level)
    return list(_RELEASES.values())[at - 1] if at else None
