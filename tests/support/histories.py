"""Generated histories: logs of records, and what must become of them.

`draw_history` draws a few ids with predictions and labels around each other's limits, spread over partitions with
some disorder. `expected_outcome` says what must become of them, from the logs alone. `Packer` turns stretches of
a log into parts. `tests.support.world` reads them badly.

Every prediction also counts in a slice of its own request id, so that single ids can be compared or left out.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import math
import random
from collections.abc import Collection, Mapping

import numpy as np

from streams.identity import ABSENT, class_hash, model_hash, request_key, segment_hash, shard_of
from streams.ledger.parts import (
    NEVER_MS,
    Definitions,
    LabelRow,
    Part,
    PredictionRow,
    Role,
    Source,
    pack_labels,
    pack_predictions,
)
from streams.ledger.terms import Terms
from streams.monitored_model import LabelPolicy, MonitoredModel
from streams.pair_sums.delay import delay_name
from streams.stability.latency_sums import LatencyTotals
from streams.stability.latency_words import NOTHING, latency_words

__all__ = [
    "CLASSES",
    "LABEL_HOLD_MS",
    "LATENESS_MS",
    "START_MS",
    "UNIT_MS",
    "Cells",
    "Delays",
    "Expected",
    "Label",
    "Latencies",
    "Log",
    "Packer",
    "Prediction",
    "beyond_limits",
    "draw_history",
    "draw_models",
    "expected_outcome",
    "order_matters",
    "request_slice",
]

START_MS = 1_700_000_000_000 // 60_000 * 60_000
UNIT_MS = 20_000
"""Histories are drawn in units that make minutes, horizons and lateness a handful of steps."""

LATENESS_MS = 5 * UNIT_MS
LABEL_HOLD_MS = 6 * UNIT_MS
WINDOW_MS = 9 * UNIT_MS
CLASSES = ("x", "y", "z")
ALIAS = "why"
"""What some models call `y`."""
SLICES = 2
"""Room in each prediction row: its request id, and for some its country."""
KEPT_LABELS = 8
"""Beyond so many labels of one id, what counts depends on the order of reading."""


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


Cells = collections.Counter[tuple[str, ...]]
"""Model, window start, label or "", prediction -> count; failed predictions have the label "failed"."""

Delays = collections.Counter[tuple[str, str, str]]
"""Model, window start, name of the bucket -> labels."""

Latencies = collections.Counter[tuple[str, str, str]]
"""Model, window start, name of the sum -> sum."""


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
            class_aliases={"y": ALIAS} if rng.random() < 0.5 else {},
        ),
    }


def draw_history(
    rng: random.Random, models: Mapping[str, MonitoredModel], *, ids: int, disorder_ms: int, contested: bool = False
) -> Log:
    """Logs of two partitions for each topic.

    Args:
        contested: some ids come with predictions that differ, or with more labels than are kept; see
            `order_matters`. Otherwise one id, model and status has one time and class.
    """
    records: list[tuple[float, Record]] = []

    def put(record: Prediction | Label) -> None:
        delays = [rng.uniform(0, disorder_ms) for _ in range(rng.choice([1, 1, 2]))]
        records.extend((record.time_ms + delay_ms, record) for delay_ms in delays)

    for number in range(ids):
        is_contested = contested and rng.random() < 0.15
        for model in models.values():
            if rng.random() < 0.35:
                continue
            time_ms = START_MS + rng.randrange(60) * UNIT_MS + rng.choice([0, 0, 1])
            country = rng.choice(["DE", "FR"])
            put(Prediction(f"id-{number}", model.name, time_ms, rng.choice(CLASSES), country=country))
            if is_contested:
                later_ms = time_ms + rng.choice([0, 1, 10, 40]) * UNIT_MS
                put(Prediction(f"id-{number}", model.name, later_ms, rng.choice(CLASSES), country=country))
            if rng.random() < 0.2:
                put(Prediction(f"id-{number}", model.name, time_ms - rng.randrange(3), "", failed=True))
            for _ in range(rng.choice([5, 7]) if is_contested else rng.choice([0, 1, 1, 2, 3])):
                low, high = -model.allowed_skew_ms // UNIT_MS - 2, model.label_horizon_ms // UNIT_MS + 3
                delay = rng.choice([rng.randint(low, high), rng.randint(low, low + 8), rng.randint(high - 6, high)])
                label_ms = time_ms + delay * UNIT_MS + rng.choice([0, 0, -1, 1])
                put(Label(f"id-{number}", label_ms, rng.choice(CLASSES), rng.choice([None, None, "A", "B"])))
    records += [(START_MS + rng.randrange(60) * UNIT_MS, None) for _ in range(rng.randrange(3))]
    records += [_passer_by(rng, number) for number in range(rng.randrange(6))]
    records.sort(key=lambda item: item[0])
    log: dict[Source, list[Record]] = {Source(role, p): [] for role in Role for p in range(2)}
    for _, record in records:
        if record is None:
            role = rng.choice(list(Role))
        else:
            role = Role.PREDICTIONS if isinstance(record, Prediction) else Role.LABELS
        log[Source(role, rng.randrange(2))].append(record)
    return log


def _passer_by(rng: random.Random, number: int) -> tuple[float, Record]:
    """A record of an id of its own, which moves a watermark."""
    time_ms = START_MS + rng.randrange(120) * UNIT_MS
    if rng.random() < 0.5:
        return time_ms, Label(f"passer-by-{number}", time_ms, "x")
    return time_ms, Prediction(f"passer-by-{number}", "A", time_ms, "x")


def highs(records: list[Record]) -> list[int]:
    """The largest event time before each offset, and after the last."""
    running = [NEVER_MS]
    for record in records:
        running.append(max(running[-1], record.time_ms if record else NEVER_MS))
    return running


def watermark_ms(high_ms: int) -> int:
    """A partition's watermark from the log alone."""
    return max(high_ms - LATENESS_MS, NEVER_MS)


def order_matters(log: Log) -> frozenset[str]:
    """Request ids for which the order of reading may decide: differing predictions, or more labels than are kept."""
    predictions: dict[tuple[str, str, bool], set[tuple[int, str]]] = collections.defaultdict(set)
    labels: dict[str, set[Label]] = collections.defaultdict(set)
    for records in log.values():
        for record in records:
            if isinstance(record, Label):
                labels[record.request_id].add(record)
            elif record is not None:
                key = (record.request_id, record.model, record.failed)
                predictions[key].add((record.time_ms, record.predicted))
    differing = {key[0] for key, answers in predictions.items() if len(answers) > 1}
    return frozenset(differing | {request_id for request_id, each in labels.items() if len(each) > KEPT_LABELS})


@dataclasses.dataclass(slots=True)
class Expected:
    """What must become of a log: cells, delays and latencies of each request id, and the fates of all predictions."""

    cells: dict[str, Cells] = dataclasses.field(default_factory=lambda: collections.defaultdict(collections.Counter))
    delays: dict[str, Delays] = dataclasses.field(default_factory=lambda: collections.defaultdict(collections.Counter))
    latencies: dict[str, Latencies] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(collections.Counter)
    )
    fates: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def all_cells(self) -> Cells:
        """The cells of all ids together."""
        return sum(self.cells.values(), collections.Counter())


def expected_outcome(models: Mapping[str, MonitoredModel], log: Log) -> Expected:
    """The outcome as a function of the logs, written from the promises and not from the code."""
    expected = Expected()
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
            else:
                expected.fates["late_prediction"] += 1
    for (request_id, name, failed), copies in predictions.items():
        model, (time_ms, predicted, _) = models[name], copies[0]
        expected.fates["duplicate_prediction"] += len(copies) - 1
        window = str(time_ms // model.base_window_ms * model.base_window_ms)
        word = drawn_latency(request_id, failed=failed)
        if word != NOTHING:
            for sum_name, total in LatencyTotals.of_words(word).sums().items():
                expected.latencies[request_id][name, window, sum_name] += total
        if failed:
            expected.fates["failed"] += 1
            expected.cells[request_id][name, window, "failed", ""] += 1
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
        expected.fates["matched" if matching else "never_labelled"] += 1
        label_ms, label = best(matching) if matching else (time_ms, "")
        if matching:
            expected.delays[request_id][name, window, delay_name(label_ms - time_ms)] += 1
        expected.cells[request_id][name, window, label, model.class_aliases.get(predicted, predicted)] += 1
    return expected


def beyond_limits(cells: Cells, admitted: Mapping[str, Collection[str]]) -> Cells:
    """The cells when only the admitted classes of each model have some of their own."""
    folded: Cells = collections.Counter()
    for (name, window, label, predicted), count in cells.items():
        known = admitted[name]
        if label == "failed":
            pair = (label, predicted)
        elif label == "":
            pair = (label, predicted if predicted in known else "__other__")
        elif label in known and predicted in known:
            pair = (label, predicted)
        else:
            pair = ("__other__", "__other__" if label == predicted else "__other_wrong__")
        folded[name, window, *pair] += count
    return folded


def request_slice(request_id: str) -> bytes:
    """The slice that holds one request id alone."""
    return segment_hash({"request": request_id})


def drawn_score(key: bytes) -> float | None:
    """A score for two of three request ids, a function of the id so that repeats agree; a few are none at all."""
    kind, share = key[0] % 3, key[1] / 255
    return None if kind == 0 else math.nan if key[1] == 7 else share if kind == 1 else round(share, 2)


def drawn_latency(request_id: str, *, failed: bool) -> bytes:
    """What predictions of two of three request ids tell of their latency; repeats agree."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
    if digest[0] % 3 == 0:
        return NOTHING
    latencies_ms = np.array([math.nan if failed else int.from_bytes(digest[1:4], "big") / 1000])
    return latency_words(latencies_ms, np.array([failed])).tobytes()


class Packer:
    """Turns runs of a log into parts and the definitions that go with them."""

    def __init__(self, models: Mapping[str, MonitoredModel], log: Log, shards: int) -> None:
        self.models = models
        self.log = log
        self.shards = shards
        self._highs = {source: highs(records) for source, records in log.items()}

    def definitions(self) -> Definitions:
        """Everything that any row of the log refers to, except which classes get cells."""
        terms = [Terms.of(model, "1") for model in self.models.values()]
        return Definitions(
            names={class_hash(text): text for text in (*CLASSES, ALIAS, "")},
            terms={each.hash: each.pack() for each in terms},
        )

    def part(self, shard: int, source: Source, *, expected: int, next_offset: int, register: bool = False) -> Part:
        """The rows of one shard in `[expected, next_offset)`."""
        records, running = self.log[source], self._highs[source]
        predictions, latencies, labels, rejected = [], b"", [], 0
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
                latencies += drawn_latency(record.request_id, failed=record.failed)
        is_labels = source.role is Role.LABELS
        return Part(
            source=source,
            expected=expected,
            next=next_offset,
            high_ms=running[next_offset],
            watermark_ms=watermark_ms(running[next_offset]),
            rejected=rejected,
            words=0 if is_labels else SLICES + 1,
            rows=pack_labels(labels) if is_labels else pack_predictions(predictions, words=SLICES + 1),
            latencies=b"" if set(latencies) <= set(NOTHING) else latencies,
            register=register,
        )

    def _prediction(self, key: bytes, record: Prediction, arrival_ms: int) -> PredictionRow:
        model = self.models[record.model]
        predicted = class_hash(model.class_aliases.get(record.predicted, record.predicted))
        slices = [request_slice(record.request_id)]
        if model.segments and record.country:
            slices.append(segment_hash({"country": record.country}))
        terms = Terms.of(model, "1").hash
        score = None if record.failed else drawn_score(key)
        return PredictionRow(key, terms, record.time_ms, arrival_ms, predicted, record.failed, tuple(slices), score)
