"""What the JSON API answers with about the signals of a model."""

from __future__ import annotations

import msgspec

from agents.web.documents import Status

__all__ = ["SignalLevel", "SignalPoint", "SignalSeries", "Signals"]


class SignalLevel(msgspec.Struct, frozen=True):
    """What the windows of a signal are compared with: the span, whose version it is, and its lower quartile, median and
    upper quartile."""

    start: str
    end: str
    version: str
    quartiles: tuple[float, float, float]


class SignalPoint(msgspec.Struct, frozen=True, array_like=True):
    """One window of one signal, an array: start, status, how many values, the share of predictions that do not tell it,
    quantiles of 5, 25, 50, 75 and 95 %, `psi` with its interval, and whether the report says that it has moved."""

    start: str
    status: Status
    n: int
    undefined_share: float | None
    p05: float | None
    p25: float | None
    p50: float | None
    p75: float | None
    p95: float | None
    psi: float | None
    psi_low: float | None
    psi_high: float | None
    has_moved: bool


class SignalSeries(msgspec.Struct, frozen=True):
    """The windows of one signal, oldest first; `level` is null while nothing is compared with a reference."""

    signal: str
    level: SignalLevel | None
    points: tuple[SignalPoint, ...]


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """Signals of one slice of a model version, those furthest from their reference first by their newest windows.

    `known` is how many there are.
    """

    model: str
    version: str
    size_seconds: int
    known: int
    series: tuple[SignalSeries, ...]
