"""Generated histories: logs of records, and a world that reads them badly.

`History` draws a few ids with predictions and labels around each other's limits, spread over partitions with
some disorder. `World` drives a ledger through them in small steps: any order across partitions, any split into parts,
crashes between shards, zombies that send old parts again, lost replies, rollbacks of single shards.
"""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Mapping

from streams.identity import ABSENT, class_hash, model_hash, registry_group, request_key, segment_hash, shard_of
from streams.ledger.parts import (
    NEVER_MS,
    Definitions,
    LabelRow,
    NameList,
    Part,
    PredictionRow,
    Role,
    Source,
    pack_labels,
    pack_predictions,
)
from streams.ledger.terms import Terms
from streams.monitored_model import LabelPolicy, MonitoredModel

__all__ = [
    "LABEL_HOLD_MS",
    "LATENESS_MS",
    "Label",
    "Log",
    "Prediction",
    "draw_history",
    "draw_models",
    "expected_cells",
]

START_MS = 1_700_000_000_000 // 60_000 * 60_000
UNIT_MS = 20_000
"""Histories are drawn in units that make minutes, horizons and lateness a handful of steps."""

LATENESS_MS = 5 * UNIT_MS
LABEL_HOLD_MS = 6 * UNIT_MS
WINDOW_MS = 9 * UNIT_MS
CLASSES = ("x", "y", "z")


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction as a test writes it."""

    request_id: str
    model: str
    time_ms: int
    predicted: str
    failed: bool = False
    country: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """A label as a test writes it."""

    request_id: str
    time_ms: int
    label: str
    model: str | None = None


Record = Prediction | Label | None
"""None is a record that is dead-lettered."""

Log = Mapping[Source, list[Record]]


def draw_models(rng: random.Random) -> dict[str, MonitoredModel]:
    """Two models whose horizons, skews and policies differ."""
    policies = list(LabelPolicy)
    return {
        "A": MonitoredModel(
            name="A",
            base_window_ms=WINDOW_MS,
            report_windows_ms=(WINDOW_MS,),
            label_horizon_ms=30 * UNIT_MS,
            allowed_skew_ms=4 * UNIT_MS,
            label_policy=rng.choice(policies),
            segments=("country",),
        ),
        "B": MonitoredModel(
            name="B",
            base_window_ms=WINDOW_MS,
            report_windows_ms=(WINDOW_MS,),
            label_horizon_ms=20 * UNIT_MS,
            allowed_skew_ms=6 * UNIT_MS,
            label_policy=rng.choice(policies),
            class_aliases={"y": "why"} if rng.random() < 0.5 else {},
        ),
    }


def draw_history(rng: random.Random, models: Mapping[str, MonitoredModel], *, ids: int, disorder_ms: int) -> Log:
    """Logs of two partitions for each topic. Without conflicts: one id, model and status has one time and class."""
    records: list[tuple[float, Record]] = []

    def put(record: Prediction | Label) -> None:
        for _ in range(rng.choice([1, 1, 1, 2])):
            records.append((record.time_ms + rng.uniform(0, disorder_ms), record))

    for number in range(ids):
        for model in models.values():
            if rng.random() < 0.35:
                continue
            time_ms = START_MS + rng.randrange(60) * UNIT_MS + rng.choice([0, 0, 1])
            country = rng.choice(["DE", "FR"])
            put(Prediction(f"id-{number}", model.name, time_ms, rng.choice(CLASSES), country=country))
            if rng.random() < 0.2:
                put(Prediction(f"id-{number}", model.name, time_ms - rng.randrange(3), "", failed=True))
            for _ in range(rng.choice([0, 1, 1, 2, 3])):
                low, high = -model.allowed_skew_ms // UNIT_MS - 2, model.label_horizon_ms // UNIT_MS + 3
                label_ms = time_ms + rng.randint(low, high) * UNIT_MS + rng.choice([0, 0, -1, 1])
                put(Label(f"id-{number}", label_ms, rng.choice(CLASSES), rng.choice([None, None, "A", "B"])))
    records += [(START_MS + rng.randrange(60) * UNIT_MS, None) for _ in range(rng.randrange(3))]
    records.sort(key=lambda item: item[0])
    log: dict[Source, list[Record]] = {Source(role, p): [] for role in Role for p in range(2)}
    for _, record in records:
        if record is None:
            role = rng.choice(list(Role))
        else:
            role = Role.PREDICTIONS if isinstance(record, Prediction) else Role.LABELS
        log[Source(role, rng.randrange(2))].append(record)
    return log


def highs(records: list[Record]) -> list[int]:
    """The largest event time before each offset, and after the last."""
    running = [NEVER_MS]
    for record in records:
        running.append(max(running[-1], record.time_ms if record else NEVER_MS))
    return running


def watermark_ms(high_ms: int) -> int:
    """A partition's watermark from the log alone."""
    return max(high_ms - LATENESS_MS, NEVER_MS)


def expected_cells(models: Mapping[str, MonitoredModel], log: Log) -> collections.Counter[tuple[str, ...]]:
    """The cells as a function of the logs, written from the promises and not from the code.

    Keys: model, window start, label or "", prediction; failed predictions have the label "failed".
    """
    predictions: dict[tuple[str, str, bool], list[tuple[int, str, int]]] = collections.defaultdict(list)
    labels: dict[str, list[tuple[int, str, str | None, int]]] = collections.defaultdict(list)
    for records in log.values():
        for record, high_ms in zip(records, highs(records), strict=False):
            if record is None:
                continue
            arrival_ms = max(record.time_ms, watermark_ms(high_ms))
            if isinstance(record, Label):
                labels[record.request_id].append((record.time_ms, record.label, record.model, arrival_ms))
            elif arrival_ms <= record.time_ms + models[record.model].label_horizon_ms:
                key = (record.request_id, record.model, record.failed)
                predictions[key].append((record.time_ms, record.predicted, arrival_ms))
    cells: collections.Counter[tuple[str, ...]] = collections.Counter()
    for (request_id, name, failed), copies in predictions.items():
        model, (time_ms, predicted, _) = models[name], copies[0]
        window = str(time_ms // model.base_window_ms * model.base_window_ms)
        if failed:
            cells[name, window, "failed", ""] += 1
            continue
        arrival_ms = min(copy[2] for copy in copies)
        matching = [
            (label_ms, model.class_aliases.get(label, label))
            for label_ms, label, addressed, label_arrival_ms in labels[request_id]
            if addressed in (None, name)
            and time_ms - model.allowed_skew_ms <= label_ms <= time_ms + model.label_horizon_ms
            and label_arrival_ms <= time_ms + model.label_horizon_ms
            and arrival_ms <= label_ms + model.allowed_skew_ms
        ]
        best = max if model.label_policy is LabelPolicy.LAST else min
        cells[name, window, best(matching)[1] if matching else "", model.class_aliases.get(predicted, predicted)] += 1
    return cells


@dataclasses.dataclass(slots=True)
class Packer:
    """Turns runs of a log into parts and the definitions that go with them."""

    models: Mapping[str, MonitoredModel]
    log: Log
    shards: int

    def definitions(self) -> Definitions:
        """Everything that any row of the log refers to, except which classes get cells."""
        terms = [Terms.of(model, "1") for model in self.models.values()]
        texts = {name for model in self.models.values() for name in (*CLASSES, "", *model.class_aliases.values())}
        return Definitions(
            names={class_hash(text): text for text in texts}, terms={each.hash: each.pack() for each in terms}
        )

    def name_lists(self) -> dict[bytes, NameList]:
        """All classes of all models, admitted."""
        hashes = tuple(class_hash(text) for text in (*CLASSES, "why", ""))
        return {registry_group("classes", name): NameList(hashes) for name in self.models}

    def part(self, shard: int, source: Source, *, expected: int, next_offset: int) -> Part:
        """The rows of one shard in `[expected, next_offset)`."""
        records, running = self.log[source], highs(self.log[source])
        predictions, labels, rejected = [], [], 0
        for offset in range(expected, next_offset):
            record = records[offset]
            if record is None:
                rejected += offset % self.shards == shard
                continue
            key = request_key(record.request_id)
            if shard_of(key, shards=self.shards) != shard:
                continue
            arrival_ms = max(record.time_ms, watermark_ms(running[offset]))
            if isinstance(record, Label):
                addressed = ABSENT if record.model is None else model_hash(record.model)
                labels.append(LabelRow(key, record.time_ms, arrival_ms, class_hash(record.label), addressed))
            else:
                predictions.append(self._prediction(key, record, arrival_ms))
        return Part(
            source=source,
            expected=expected,
            next=next_offset,
            high_ms=running[next_offset],
            watermark_ms=watermark_ms(running[next_offset]),
            rejected=rejected,
            slices=0 if source.role is Role.LABELS else 1,
            rows=pack_labels(labels) if source.role is Role.LABELS else pack_predictions(predictions, slices=1),
        )

    def _prediction(self, key: bytes, record: Prediction, arrival_ms: int) -> PredictionRow:
        model = self.models[record.model]
        predicted = class_hash(model.class_aliases.get(record.predicted, record.predicted))
        slices = (segment_hash({"country": record.country}),) if model.segments and record.country else ()
        terms = Terms.of(model, "1").hash
        return PredictionRow(key, terms, record.time_ms, arrival_ms, predicted, record.failed, slices)
