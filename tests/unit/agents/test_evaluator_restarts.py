"""Evaluators that are killed at random moments: whoever keeps the highest revision of each key ends exact."""

from __future__ import annotations

import dataclasses
import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from agents.evaluator import Evaluator
from schemas.times import format_time
from streams.errors import TemporaryFailure
from streams.monitored_model import HOUR_MS, MINUTE_MS
from streams.ports import OutgoingMessage
from tests.support.evaluation import CLASSES, FRAUD, NOON_MS, EvaluatedWorld

pytestmark = pytest.mark.no_cover

RUNS = 100
STEPS = 40
LONGEST_LIFE_CALLS = 60
"""Of the ports; a round that has something to publish takes about fifteen."""
COUNTRIES = (None, "DE", "FR")
NOT_CONTENT = frozenset({"revision", "event_id", "produced_at"})
SETTLED_MS = NOON_MS + 48 * HOUR_MS + FRAUD.label_horizon_ms


class Killed(Exception):
    """The process ends here."""


@dataclasses.dataclass
class Life:
    """Ends within some call of a port, before or after it is done; now and then a service is away."""

    rng: random.Random
    calls: int

    def step(self) -> None:
        """Go on, or end."""
        self.calls -= 1
        if self.calls <= 0:
            raise Killed
        if self.rng.random() < 0.01:
            raise TemporaryFailure("it does not answer")


class Mortal:
    """Any port of an evaluator that will die."""

    def __init__(self, port: Any, life: Life) -> None:
        self._port = port
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            self._life.step()
            result = await found(*arguments, **named)
            self._life.step()
            return result

        return call

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        """When the end comes meanwhile, any of them may have been written."""
        try:
            self._life.step()
        except (Killed, TemporaryFailure):
            await self._port.send([message for message in messages if self._life.rng.random() < 0.5])
            raise
        await self._port.send(messages)
        self._life.step()


class Place(NamedTuple):
    """What a report is about."""

    size_seconds: int
    country: str | None
    start: str


@dataclasses.dataclass
class History:
    """Predictions and the labels that count, by request id, to be counted a second time."""

    predicted: dict[str, tuple[int, str | None, str]] = dataclasses.field(default_factory=dict)
    labels: dict[str, str] = dataclasses.field(default_factory=dict)

    def counts(self) -> dict[Place, Counter[tuple[str | None, str]]]:
        """By (label, prediction) of each slice of each window."""
        found: dict[Place, Counter[tuple[str | None, str]]] = defaultdict(Counter)
        for request_id, (at_ms, country, predicted) in self.predicted.items():
            for size_ms in FRAUD.report_windows_ms:
                start = format_time(at_ms - at_ms % size_ms)
                for slice_ in {None, country}:
                    found[Place(size_ms // 1000, slice_, start)][self.labels.get(request_id), predicted] += 1
        return found


async def draw_and_evaluate(rng: random.Random) -> tuple[EvaluatedWorld, History, int]:
    """Predictions, labels and corrections, and one evaluator after another; returns how many were killed."""
    world, history, killed = await EvaluatedWorld().start(), History(), 0
    watermark_ms = label_ms = NOON_MS
    evaluator = mortal_evaluator(world, rng)
    for _ in range(STEPS):
        match rng.choice(("predict", "predict", "label", "label", "label", "read on", "wait")):
            case "predict":
                at_ms, country, predicted = (
                    watermark_ms + rng.randrange(20 * MINUTE_MS),
                    rng.choice(COUNTRIES),
                    rng.choice(CLASSES),
                )
                request_id = await world.predict(predicted, at_ms=at_ms, country=country)
                history.predicted[request_id] = at_ms, country, predicted
            case "label" if history.predicted:
                request_id, label = rng.choice(list(history.predicted)), rng.choice(CLASSES)
                at_ms = history.predicted[request_id][0]
                # Later than every label before it, so it is the one that counts.
                label_ms = max(label_ms + 1, at_ms, watermark_ms)
                await world.label(request_id, label, at_ms=label_ms)
                if label_ms <= at_ms + FRAUD.label_horizon_ms:
                    history.labels[request_id] = label
            case "read on":
                watermark_ms += rng.randrange(30 * MINUTE_MS)
                await world.advance(watermark_ms)
            case "wait":
                world.clock.wall_ms += rng.choice((1, 5_000, MINUTE_MS, HOUR_MS))
        try:
            await evaluator.evaluate(everything=rng.random() < 0.3)
        except Killed:
            killed += 1
            evaluator = mortal_evaluator(world, rng)
    await world.advance(SETTLED_MS)
    survivor = world.evaluator()
    assert 0 == (await survivor.evaluate(everything=True)).pending
    return world, history, killed


def mortal_evaluator(world: EvaluatedWorld, rng: random.Random) -> Evaluator:
    """The next one, which remembers nothing."""
    life = Life(rng, rng.randrange(LONGEST_LIFE_CALLS))
    return world.evaluator(
        ledger=Mortal(world.ledger, life),
        store=Mortal(world.store, life),
        publisher=Mortal(world.publisher, life),
    )


def said_by(report: dict[str, Any]) -> dict[str, object]:
    """The figures of a report, as `expected_of` has them."""
    confusion = report["confusion"]
    cells = {
        (label, predicted): count
        for label, row in zip(confusion["classes"], confusion["counts"], strict=True)
        for predicted, count in zip(confusion["classes"], row, strict=True)
        if count
    }
    return {
        "cells": cells,
        "accuracy": report["metrics"]["accuracy"]["value"],
        **{name: report[name] for name in ("status", "predictions", "labelled", "never_labelled")},
    }


def expected_of(counts: Counter[tuple[str | None, str]]) -> dict[str, object]:
    """The figures of the final report on a slice."""
    cells = {pair: count for pair, count in counts.items() if pair[0] is not None}
    labelled = sum(cells.values())
    right = sum(count for (label, predicted), count in cells.items() if label == predicted)
    return {
        "cells": cells,
        "accuracy": right / labelled if labelled else None,
        "status": "final",
        "predictions": counts.total(),
        "labelled": labelled,
        "never_labelled": counts.total() - labelled,
    }


@pytest.fixture(scope="module")
def contents() -> dict[str, tuple[bytes | None, dict[str, Any]]]:
    """Key and content by event id, over all runs."""
    return {}


@pytest.mark.parametrize("seed", range(RUNS))
async def test_highest_revisions_are_exact_and_one_event_id_is_one_content_however_often_evaluators_are_killed(
    seed: int, contents: dict[str, tuple[bytes | None, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Counts that are kept between evaluations, and counts that have to be read again.
    monkeypatch.setattr("agents.window_counts.KEPT_CELLS", (10, 60, 500_000)[seed % 3])
    world, history, killed = await draw_and_evaluate(random.Random(seed))
    last: dict[Place, dict[str, Any]] = {}
    for message in world.publisher.sent:
        report = json.loads(message.value or b"")
        content = message.key, {name: value for name, value in report.items() if name not in NOT_CONTENT}
        assert contents.setdefault(report["event_id"], content) == content
        if report["kind"] != "quality":
            continue
        window = report["window"]
        place = Place(window["size_seconds"], report["segment"].get("country"), window["start"])
        if place not in last or report["revision"] >= last[place]["revision"]:
            last[place] = report
    print(f"seed {seed}: {killed} killed, {len(world.publisher.sent)} reports under {len(last)} keys")
    expected = {place: expected_of(counts) for place, counts in history.counts().items()}
    assert expected == {place: said_by(report) for place, report in last.items()}
