"""Predictions and labels that flow while a test does something else, and what reports have to say about them.

Each portion is an hour of event time, so windows become final meanwhile, are revised, and are forgotten.
"""

from __future__ import annotations

import collections
import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from schemas.times import format_time, parse_time_ms
from tests.support.topics import read_topic
from tests.support.traffic import Cell, Traffic, draw_traffic, produce
from tests.support.workers import Installation

__all__ = ["HOUR_MS", "MODELS", "Flow", "cells_by_hour", "differences"]

HOUR_MS = 3_600_000
MODELS = """\
models:
  - {name: fraud, base_window: 1h, report_windows: [1h]}
  - {name: shop, base_window: 1h, report_windows: [1h]}
"""
"""The configuration by which windows are told here."""
HOURS = 600
"""That may flow: windows are kept for thirty days."""
RECORDS = 20
"""Predictions in an hour."""
PAUSE_SECONDS = 0.8
REST_SECONDS = 60.0
KINDS = ("quality", "stability", "signals")


class Flow(threading.Thread):
    """Sends while it is asked to, and remembers what.

    Every prediction tells its latency and, as the signal `margin`, the same number.
    """

    def __init__(self, installation: Installation) -> None:
        super().__init__(daemon=True)
        self._installation = installation
        self._begin_ms = int(time.time() * 1000) // HOUR_MS * HOUR_MS - (HOURS + 1) * HOUR_MS
        self._may_flow, self._rests = threading.Event(), threading.Event()
        self._has_ended = False
        self.records = 0
        self.cells: collections.Counter[Cell] = collections.Counter()
        self.margins: dict[str, tuple[str, int, float]] = {}
        """By request id the model, the event time and the number."""

    def run(self) -> None:
        try:
            for hour in range(1, HOURS):
                if not self._may_flow.is_set():
                    self._rests.set()
                    self._may_flow.wait()
                if self._has_ended:
                    return
                self._send(draw_traffic(hour, count=RECORDS, until_ms=self._begin_ms + hour * HOUR_MS))
                time.sleep(PAUSE_SECONDS)
        finally:
            self._rests.set()

    def _send(self, traffic: Traffic) -> None:
        predictions = [self._with_margin(record) for record in traffic.predictions]
        for role, records in (("predictions", predictions), ("labels", traffic.labels)):
            topic = self._installation.topics[role]
            produce(self._installation.brokers, topic, records, partitions=self._installation.partitions)
            self.records += len(records)
        self.cells.update(traffic.cells)

    def _with_margin(self, record: bytes | None) -> bytes | None:
        if not record or not record.startswith(b'{"request_id": "'):
            return record
        event = json.loads(record)
        margin = int(event["request_id"][:4], 16) / 64
        self.margins[event["request_id"]] = (event["model"], parse_time_ms(event["event_time"]), margin)
        return json.dumps({**event, "latency_ms": margin, "signals": {"margin": margin}}).encode()

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """Send meanwhile; when it is over, all that was sent is acknowledged."""
        self._rests.clear()
        self._may_flow.set()
        try:
            yield
        finally:
            self._may_flow.clear()
            assert self._rests.wait(REST_SECONDS), "the last portion is not acknowledged"
            assert self.is_alive(), f"sending has failed, or {HOURS} hours were not enough"

    def end(self) -> None:
        """Nothing more is sent."""
        self._has_ended = True
        self._may_flow.set()
        self.join()


def cells_by_hour(flow: Flow) -> dict[Cell, int]:
    """The cells that must have been counted."""
    hours: collections.Counter[Cell] = collections.Counter()
    for (model, start, label, prediction), count in flow.cells.items():
        hours[model, _hour(parse_time_ms(start)), label, prediction] += count
    return dict(hours)


def differences(installation: Installation, flow: Flow, *, kinds: tuple[str, ...] = KINDS) -> list[str]:
    """Where the reports with the highest revisions do not say what was sent; one that is missing is such a place."""
    told = _newest_figures(installation, kinds)
    due = {key: figures for key, figures in _due_figures(flow).items() if key[0] in kinds}
    return [
        f"{key}: {told.get(key)} instead of {due.get(key)}"
        for key in sorted({*told, *due})
        if told.get(key) != pytest.approx(due.get(key))
    ]


Key = tuple[str, str, str]
"""Kind, model, start of the hour."""
Figures = Mapping[str, float]


def _due_figures(flow: Flow) -> dict[Key, Figures]:
    due: dict[Key, Figures] = {}
    margins: dict[tuple[str, str], list[float]] = collections.defaultdict(list)
    for model, at_ms, margin in flow.margins.values():
        margins[model, _hour(at_ms)].append(margin)
    for at, values in margins.items():
        answered, mean = len(values), sum(values) / len(values)
        due["quality", *at] = {"predictions": answered}
        due["stability", *at] = {"predictions": answered, "timed": answered, "mean": mean}
        due["signals", *at] = {"predictions": answered, "told": answered, "mean": mean}
    for (model, hour, label, prediction), count in cells_by_hour(flow).items():
        if label is not None:
            due["quality", model, hour] = {**due["quality", model, hour], f"{label} as {prediction}": count}
    return due


def _newest_figures(installation: Installation, kinds: tuple[str, ...]) -> dict[Key, Figures]:
    newest: dict[bytes | None, dict[str, Any]] = {}
    for key, value in read_topic(installation.brokers, installation.topics["metrics"]):
        report = json.loads(value or b"{}")
        if report["kind"] in kinds and report["revision"] >= newest.get(key, report)["revision"]:
            newest[key] = report
    return {(each["kind"], each["model"], each["window"]["start"]): _figures(each) for each in newest.values()}


def _figures(report: Mapping[str, Any]) -> Figures:
    figures = {"predictions": report["predictions"]}
    if report["kind"] == "stability":
        return figures | {"timed": report["with_latency"], "mean": report["metrics"]["latency_mean_ms"]["value"]}
    if report["kind"] == "signals":
        mean = report["metrics"]["signal.margin.mean"]["value"]
        return figures | {"told": report["values"]["margin"], "mean": mean}
    classes, rows = report["confusion"]["classes"], report["confusion"]["counts"]
    return figures | {
        f"{label} as {prediction}": count
        for label, row in zip(classes, rows, strict=True)
        for prediction, count in zip(classes, row, strict=True)
        if count
    }


def _hour(at_ms: int) -> str:
    return format_time(at_ms // HOUR_MS * HOUR_MS)
