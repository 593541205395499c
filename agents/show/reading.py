"""The newest reports of model versions, as the report store keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from agents.terminal_text import printable
from schemas.attribution_report import AttributionReport
from schemas.signals_report import SignalsReport
from schemas.stability_report import StabilityReport
from schemas.window_report import WindowReport
from streams.errors import PermanentFailure
from streams.ports import ReportStore, Shape, WindowQuery

__all__ = [
    "KeptReport",
    "attribution_reports",
    "model_versions",
    "newest_reports",
    "signals_reports",
    "stability_reports",
]


Kind = TypeVar("Kind", WindowReport, StabilityReport, SignalsReport, AttributionReport)


class KeptReport(msgspec.Struct, Generic[Kind], frozen=True):
    """A report, and its bytes as they were published."""

    report: Kind
    value: bytes


async def model_versions(store: ReportStore, *, model: str | None = None) -> Mapping[bytes, tuple[str, str]]:
    """Model and version of everything that has reports, by hash, in order; of one model if it is named."""
    named = {key: tuple(json.loads(name)) for key, name in (await store.model_versions()).items()}
    ordered = sorted(named.items(), key=lambda item: item[1])
    return {key: (name, version) for key, (name, version) in ordered if model in (None, name)}


async def newest_reports(
    store: ReportStore, model_version: bytes, *, most: int, size_seconds: int | None = None
) -> Sequence[KeptReport[WindowReport]]:
    """The reports on the quality of all predictions of one model version, newest window first.

    Args:
        most: how many windows.
        size_seconds: of the windows; None for the largest.

    Raises: PermanentFailure for one that this version of the program cannot read.
    """
    shapes = (await store.shapes([model_version]))[0]
    sizes = [shape.size_seconds for shape in shapes if shape.kind == "quality"]
    if size_seconds is None:
        # The largest windows have the most labels.
        size_seconds = max(sizes, default=0)
    query = WindowQuery(model_version=model_version, shape=Shape("quality", size_seconds), most=most)
    return await _find(store, query, WindowReport)


async def stability_reports(
    store: ReportStore, model_version: bytes, *, most: int, size_seconds: int
) -> Sequence[KeptReport[StabilityReport]]:
    """The reports on the stability of all predictions; as `newest_reports`."""
    query = WindowQuery(model_version=model_version, shape=Shape("stability", size_seconds), most=most)
    return await _find(store, query, StabilityReport)


async def signals_reports(
    store: ReportStore, model_version: bytes, *, most: int, size_seconds: int
) -> Sequence[KeptReport[SignalsReport]]:
    """The reports on the signals of all predictions; as `newest_reports`."""
    query = WindowQuery(model_version=model_version, shape=Shape("signals", size_seconds), most=most)
    return await _find(store, query, SignalsReport)


async def attribution_reports(
    store: ReportStore, model_version: bytes, *, most: int, size_seconds: int
) -> Sequence[KeptReport[AttributionReport]]:
    """The reports on what decided; as `newest_reports`."""
    query = WindowQuery(model_version=model_version, shape=Shape("attribution", size_seconds), most=most)
    return await _find(store, query, AttributionReport)


async def _find(store: ReportStore, query: WindowQuery, kind: type[Kind]) -> Sequence[KeptReport[Kind]]:
    keys = (await store.find([query]))[0]
    last = await store.last({query.model_version: keys})
    # What was forgotten since the keys were read is left out.
    return [_read(key, last[key].value, kind) for key in keys if key in last]


def _read(key: bytes, value: bytes, kind: type[Kind]) -> KeptReport[Kind]:
    try:
        return KeptReport(msgspec.json.decode(value, type=kind), value)
    except msgspec.DecodeError as error:
        raise PermanentFailure(
            f"the report {printable(key.decode())} cannot be read ({error}); another version of Latelabel wrote it, so"
            " show it with that one, or wait until it is revised"
        ) from error
