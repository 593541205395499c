"""The report on the internal state that a model version told of in one window: the signals of its predictions.

Its head is that of the report on quality (`schemas.window_report`), and its key differs from that one's in the kind
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from schemas.window_report import Metric, Window

__all__ = ["ComparedWith", "SignalsReport"]


class ComparedWith(msgspec.Struct, frozen=True, kw_only=True):
    """The reference of `psi`: which predictions it is made of, how many of their values by signal, and their quartiles
    (lower, median, upper).

    Without values the reference is not there yet, or the window begins before its end. `moved` names the signals of
    which the whole interval of `psi` lies above 0.25.
    """

    start: str
    end: str
    model_version: str
    values: Mapping[str, int]
    quartiles: Mapping[str, tuple[float, float, float]] = {}
    moved: tuple[str, ...] = ()


class SignalsReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the signals of one window are distributed, from open until final.

    `predictions` leaves out `failed`, whose signals are not looked at. `values` counts the finite values of each
    signal, `left_out` those of signals beyond `limits.signals`. `metrics` are called `signal.<name>.<figure>`.
    `reference` is there where the model is configured with one. Labels change nothing in it. `undefined` names the
    reason for each metric whose value is None.
    """

    kind: Literal["signals"] = "signals"
    model: str
    model_version: str
    segment: Mapping[str, str]
    window: Window
    status: Literal["open", "provisional", "final", "incomplete"]
    missing: tuple[str, ...] | UnsetType = UNSET
    revision: int
    event_id: str
    predictions: int
    failed: int
    values: Mapping[str, int]
    left_out: int
    reference: ComparedWith | UnsetType = UNSET
    metrics: Mapping[str, Metric]
    undefined: Mapping[str, str]
    config_hash: str
    produced_at: str
