"""How the readers of the page ask for kept reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from agents.web.documents import AnyReport
from agents.web.remembered import ReportReading
from streams.ports import Shape, WindowQuery

__all__ = ["QUALITY", "WINDOWS_OF_FLEET", "References", "decode_report", "largest_size", "read_reports"]

QUALITY = "quality"
WINDOWS_OF_FLEET = 24
"""Newest windows that a sparkline shows, and among which the one is looked for that a version is judged by."""

References = Callable[[], Mapping[str, Mapping[str, float]]]
"""Tells the figures by metric that the configuration names for models."""

decode_report = msgspec.json.Decoder(AnyReport).decode


async def read_reports(store: ReportReading, queries: Mapping[bytes, WindowQuery]) -> dict[bytes, list[AnyReport]]:
    """The reports that answer each query, newest first; what was forgotten meanwhile is left out."""
    keys = dict(zip(queries, await store.find(list(queries.values())), strict=True))
    last = await store.last(keys)
    return {
        version: [decode_report(last[key].value) for key in found if key in last] for version, found in keys.items()
    }


def largest_size(shapes: Iterable[Shape]) -> int | None:
    """The largest window that quality is reported of, seconds."""
    return max((shape.size_seconds for shape in shapes if shape.kind == QUALITY), default=None)
