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
from typing import Any

import numpy as np

from streams.identity import (
    ABSENT,
    OTHER,
    class_hash,
    items_hash,
    model_hash,
    request_key,
    segment_hash,
    shard_of,
    signal_hash,
)
from streams.ledger.item_lists import compared_sets, ranks_of, set_of
from streams.ledger.join import MAX_LABELS, MAX_LABELS_OF_RANKINGS
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
from streams.monitored_model import LabelPolicy, MonitoredModel, Task
from streams.pair_sums.delay import delay_name
from streams.pair_sums.lists import multilabel_contribution, ranking_contribution
from streams.signals.buckets import kept_values
from streams.signals.sums import SignalTotals
from streams.signals.words import pack_signals, word_type
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
    "draw_list_models",
    "draw_models",
    "expected_outcome",
    "expected_sums",
    "kept_labels",
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
SIGNALS = {"A": ("norm", "margin"), "B": ("margin",)}
"""What predictions of each model report of their state."""
ALIAS = "why"
"""What some models call `y`."""
SLICES = 2
"""Room in each prediction row: its request id, and for some its country."""
LIST_WORDS = 5
"""Room in each row for a list, where there are any: how many, and the names."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction as a test writes it."""

    request_id: str
    model: str
    time_ms: int
    predicted: str | tuple[str, ...]
    failed: bool = False
    country: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """A label as a test writes it."""

    request_id: str
    time_ms: int
    label: str | tuple[str, ...]
    model: str | None = None


Record = Prediction | Label | None
"""None is a record that is dead-lettered."""

Log = Mapping[Source, list[Record]]


Cells = collections.Counter[tuple[str, ...]]
"""Model, window start, label or "", prediction -> count; failed predictions have the label "failed"."""

Delays = collections.Counter[tuple[str, str, str]]
"""Model, window start, name of the bucket -> labels."""

Latencies = collections.Counter[tuple[str, str, str]]
"""Model, window start, name of the sum -> sum; of signals likewise."""


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


def draw_list_models(rng: random.Random) -> dict[str, MonitoredModel]:
    """As `draw_models`, at least one of them with lists for answers."""
    tasks = rng.choice(
        [
            (Task.MULTILABEL, Task.MULTICLASS),
            (Task.MULTILABEL, Task.MULTILABEL),
            (Task.RANKING, Task.RANKING),
            (Task.RANKING, Task.MULTILABEL),
            (Task.MULTICLASS, Task.RANKING),
        ]
    )
    return {
        name: dataclasses.replace(model, task=task)
        for (name, model), task in zip(draw_models(rng).items(), tasks, strict=True)
    }


def kept_labels(models: Mapping[str, MonitoredModel]) -> int:
    """How many labels of one id are kept; beyond them, what counts depends on the order of reading."""
    has_rankings = any(model.task is Task.RANKING for model in models.values())
    return MAX_LABELS_OF_RANKINGS if has_rankings else MAX_LABELS


def _answer(rng: random.Random, model: MonitoredModel) -> str | tuple[str, ...]:
    return drawn_list(rng, model.task) if model.task.takes_lists else rng.choice(CLASSES)


def _outcomes(rng: random.Random, *, takes_lists: bool) -> list[tuple[str | tuple[str, ...], str | None]]:
    """What is true, and for which model. Lists differ in so many ways that two of one time have to be asked for."""
    outcomes = []
    for _ in range(2 if takes_lists and rng.random() < 0.2 else 1):
        is_list = takes_lists and rng.random() < 0.6
        label = drawn_list(rng, Task.MULTILABEL) if is_list else rng.choice(CLASSES)
        outcomes.append((label, rng.choice([None, None, "A", "B"])))
    return outcomes


def drawn_list(rng: random.Random, task: Task) -> tuple[str, ...]:
    """A set of classes, or a ranking in which an item may stand twice."""
    if task is Task.RANKING:
        return tuple(rng.choices(CLASSES, k=rng.randrange(4)))
    return tuple(rng.sample(CLASSES, rng.randrange(4)))


def draw_history(
    rng: random.Random, models: Mapping[str, MonitoredModel], *, ids: int, disorder_ms: int, contested: bool = False
) -> Log:
    """Logs of two partitions for each topic.

    Args:
        contested: some ids come with predictions that differ, or with more labels than are kept; see
            `order_matters`. Otherwise one id, model and status has one time and class.
    """
    records: list[tuple[float, Record]] = []
    takes_lists = any(model.task.takes_lists for model in models.values())

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
            put(Prediction(f"id-{number}", model.name, time_ms, _answer(rng, model), country=country))
            if is_contested:
                later_ms = time_ms + rng.choice([0, 1, 10, 40]) * UNIT_MS
                put(Prediction(f"id-{number}", model.name, later_ms, _answer(rng, model), country=country))
            if rng.random() < 0.2:
                put(Prediction(f"id-{number}", model.name, time_ms - rng.randrange(3), "", failed=True))
            for _ in range(rng.choice([5, 7]) if is_contested else rng.choice([0, 1, 1, 2, 3])):
                low, high = -model.allowed_skew_ms // UNIT_MS - 2, model.label_horizon_ms // UNIT_MS + 3
                delay = rng.choice([rng.randint(low, high), rng.randint(low, low + 8), rng.randint(high - 6, high)])
                label_ms = time_ms + delay * UNIT_MS + rng.choice([0, 0, -1, 1])
                for label, addressed in _outcomes(rng, takes_lists=takes_lists):
                    put(Label(f"id-{number}", label_ms, label, addressed))
    records += [(START_MS + rng.randrange(60) * UNIT_MS, None) for _ in range(rng.randrange(3))]
    answer_of_a = drawn_list(rng, models["A"].task) if models["A"].task.takes_lists else "x"
    records += [_passer_by(rng, number, answer_of_a) for number in range(rng.randrange(6))]
    records.sort(key=lambda item: item[0])
    log: dict[Source, list[Record]] = {Source(role, p): [] for role in Role for p in range(2)}
    for _, record in records:
        if record is None:
            role = rng.choice(list(Role))
        else:
            role = Role.PREDICTIONS if isinstance(record, Prediction) else Role.LABELS
        log[Source(role, rng.randrange(2))].append(record)
    return log


def _passer_by(rng: random.Random, number: int, answer: str | tuple[str, ...]) -> tuple[float, Record]:
    """A record of an id of its own, which moves a watermark."""
    time_ms = START_MS + rng.randrange(120) * UNIT_MS
    if rng.random() < 0.5:
        return time_ms, Label(f"passer-by-{number}", time_ms, "x")
    return time_ms, Prediction(f"passer-by-{number}", "A", time_ms, answer)


def highs(records: list[Record]) -> list[int]:
    """The largest event time before each offset, and after the last."""
    running = [NEVER_MS]
    for record in records:
        running.append(max(running[-1], record.time_ms if record else NEVER_MS))
    return running


def watermark_ms(high_ms: int) -> int:
    """A partition's watermark from the log alone."""
    return max(high_ms - LATENESS_MS, NEVER_MS)


def order_matters(log: Log, *, kept: int = MAX_LABELS) -> frozenset[str]:
    """Request ids for which the order of reading may decide: differing predictions, or more labels than are kept."""
    predictions: dict[tuple[str, str, bool], set[tuple[int, str | tuple[str, ...]]]] = collections.defaultdict(set)
    labels: dict[str, set[Label]] = collections.defaultdict(set)
    for records in log.values():
        for record in records:
            if isinstance(record, Label):
                labels[record.request_id].add(record)
            elif record is not None:
                key = (record.request_id, record.model, record.failed)
                predictions[key].add((record.time_ms, record.predicted))
    differing = {key[0] for key, answers in predictions.items() if len(answers) > 1}
    return frozenset(differing | {request_id for request_id, each in labels.items() if len(each) > kept})


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledList:
    """A list that was predicted, and the set of names that its labels come to."""

    model: MonitoredModel
    window: str
    predicted: tuple[str, ...]
    label: frozenset[str]


@dataclasses.dataclass(slots=True)
class Expected:
    """What must become of a log: cells, delays, latencies, signals and labelled lists of each request id, and the fates
    of all predictions."""

    cells: dict[str, Cells] = dataclasses.field(default_factory=lambda: collections.defaultdict(collections.Counter))
    delays: dict[str, Delays] = dataclasses.field(default_factory=lambda: collections.defaultdict(collections.Counter))
    latencies: dict[str, Latencies] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(collections.Counter)
    )
    signals: dict[str, Latencies] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(collections.Counter)
    )
    lists: dict[str, list[LabelledList]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    fates: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def all_cells(self) -> Cells:
        """The cells of all ids together."""
        return sum(self.cells.values(), collections.Counter())


def expected_outcome(models: Mapping[str, MonitoredModel], log: Log) -> Expected:
    """The outcome as a function of the logs, written from the promises and not from the code."""
    expected = Expected()
    predictions: dict[tuple[str, str, bool], list[tuple[int, Any, int]]] = collections.defaultdict(list)
    labels: dict[str, list[tuple[int, tuple[str, ...], str | None, int]]] = collections.defaultdict(list)
    for records in log.values():
        for record, high_ms in zip(records, highs(records), strict=False):
            if record is None:
                continue
            arrival_ms = max(record.time_ms, watermark_ms(high_ms))
            if isinstance(record, Label):
                named = (record.label,) if isinstance(record.label, str) else record.label
                labels[record.request_id].append((record.time_ms, named, record.model, arrival_ms))
            elif arrival_ms <= record.time_ms + models[record.model].label_horizon_ms:
                key = (record.request_id, record.model, record.failed)
                predictions[key].append((record.time_ms, record.predicted, arrival_ms))
            else:
                expected.fates["late_prediction"] += 1
    for (request_id, name, failed), copies in predictions.items():
        model, (time_ms, predicted, _) = models[name], copies[0]
        expected.fates["duplicate_prediction"] += len(copies) - 1
        window = str(time_ms // model.base_window_ms * model.base_window_ms)
        _expect_what_is_told(expected, request_id, name, window, failed=failed)
        if failed:
            expected.fates["failed"] += 1
            expected.cells[request_id][name, window, "failed", ""] += 1
            continue
        arrival_ms = min(copy[2] for copy in copies)
        matching = _matching(model, time_ms, arrival_ms, labels[request_id])
        expected.fates["matched" if matching else "never_labelled"] += 1
        label_ms, label = _outcome(model, matching) if matching else (time_ms, frozenset())
        if matching:
            expected.delays[request_id][name, window, delay_name(label_ms - time_ms)] += 1
        answer, outcome = _cell_of(model, predicted, label, is_labelled=bool(matching))
        expected.cells[request_id][name, window, outcome, answer] += 1
        if model.task.takes_lists and matching:
            named = tuple(model.class_aliases.get(each, each) for each in predicted)
            expected.lists[request_id].append(LabelledList(model, window, named, label))
    return expected


def _expect_what_is_told(expected: Expected, request_id: str, model: str, window: str, *, failed: bool) -> None:
    """What a prediction tells whatever its label is."""
    word = drawn_latency(request_id, failed=failed)
    if word != NOTHING:
        for name, total in LatencyTotals.of_words(word).sums().items():
            expected.latencies[request_id][model, window, name] += total
    for signal, value in drawn_signals(request_id, model, failed=failed).items():
        for name, total in SignalTotals.of_values(kept_values(np.array([value]))).sums(signal).items():
            expected.signals[request_id][model, window, name] += total


def _matching(
    model: MonitoredModel, time_ms: int, arrival_ms: int, labels: list[tuple[int, tuple[str, ...], str | None, int]]
) -> list[tuple[int, frozenset[str]]]:
    """Time and names of the labels that match a prediction."""
    return [
        (label_ms, frozenset(model.class_aliases.get(each, each) for each in named))
        for label_ms, named, addressed, label_arrival_ms in labels
        if (model.task.takes_lists or len(named) == 1)
        and addressed in (None, model.name)
        and time_ms - model.allowed_skew_ms <= label_ms <= time_ms + model.label_horizon_ms
        and label_arrival_ms <= time_ms + model.label_horizon_ms
        and arrival_ms <= label_ms + model.allowed_skew_ms
    ]


def _cell_of(model: MonitoredModel, predicted: Any, label: frozenset[str], *, is_labelled: bool) -> tuple[str, str]:
    """Prediction and label as cells have them."""
    if model.task.takes_lists:
        return "", "*" if is_labelled else ""
    (label_name,) = label or ("",)
    return model.class_aliases.get(predicted, predicted), label_name


def _outcome(model: MonitoredModel, matching: list[tuple[int, frozenset[str]]]) -> tuple[int, frozenset[str]]:
    """The label that counts, or all relevant items with the time of the first."""
    if model.task is Task.RANKING:
        return min(label_ms for label_ms, _ in matching), frozenset().union(*(label for _, label in matching))
    best = max if model.label_policy is LabelPolicy.LAST else min
    return best(matching, key=lambda each: (each[0], sorted(name.encode() for name in each[1])))


def expected_sums(lists: list[LabelledList], admitted: Mapping[str, Collection[str]]) -> Cells:
    """Model, window start, name of the sum -> what these lists come to, if the admitted classes have cells."""
    sums: Cells = collections.Counter()
    for each in lists:
        predicted, label = tuple(map(class_hash, each.predicted)), set_of(map(class_hash, each.label))
        if each.model.task is Task.RANKING:
            contribution = ranking_contribution(ranks_of(predicted, label), relevant=len(label))
        else:
            known = {class_hash(name) for name in admitted[each.model.name]}
            found, invented, missed = (
                [item if item in known else OTHER for item in some] for some in compared_sets(set_of(predicted), label)
            )
            contribution = multilabel_contribution(found=found, invented=invented, missed=missed)
        sums.update({(each.model.name, each.window, name): count for name, count in contribution.items()})
    return sums


def beyond_limits(cells: Cells, admitted: Mapping[str, Collection[str]]) -> Cells:
    """The cells when only the admitted classes of each model have some of their own."""
    folded: Cells = collections.Counter()
    for (name, window, label, predicted), count in cells.items():
        known = admitted[name]
        if label == "failed" or predicted == "":
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


def drawn_signals(request_id: str, model: str, *, failed: bool) -> Mapping[bytes, float]:
    """What predictions tell of their signals, most of them some, some of them nothing; repeats agree."""
    digest = hashlib.blake2b(f"{request_id} {model}".encode(), digest_size=8).digest()
    if failed or digest[0] % 3 == 0:
        return {}
    values = [0.0 if byte < 8 else (byte - 100) / 7 for byte in digest[1:]]
    named = zip(SIGNALS[model], values, digest[4:], strict=False)
    return {signal_hash(name): value for name, value, chance in named if chance % 4}


class Packer:
    """Turns runs of a log into parts and the definitions that go with them."""

    def __init__(self, models: Mapping[str, MonitoredModel], log: Log, shards: int) -> None:
        self.models = models
        self.log = log
        self.shards = shards
        self._highs = {source: highs(records) for source, records in log.items()}
        self._list_words = LIST_WORDS if any(model.task.takes_lists for model in models.values()) else 0

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
        signals: list[tuple[str, Mapping[bytes, float]]] = []
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
                named = (record.label,) if isinstance(record.label, str) else record.label
                items = set_of(map(class_hash, named))
                label = items[0] if len(items) == 1 else items_hash(items)
                kept = None if len(items) == 1 else items
                labels.append(LabelRow(key, record.time_ms, arrival_ms, label, addressed, None, kept))
            else:
                predictions.append(self._prediction(key, record, arrival_ms))
                latencies += drawn_latency(record.request_id, failed=record.failed)
                told = drawn_signals(record.request_id, record.model, failed=record.failed)
                signals.append((record.model, told))
        is_labels = source.role is Role.LABELS
        words = self._list_words + (self._list_words > 0 if is_labels else SLICES + 1)
        return Part(
            source=source,
            expected=expected,
            next=next_offset,
            high_ms=running[next_offset],
            watermark_ms=watermark_ms(running[next_offset]),
            rejected=rejected,
            words=words,
            rows=pack_labels(labels, words=words) if is_labels else pack_predictions(predictions, words=words),
            latencies=b"" if set(latencies) <= set(NOTHING) else latencies,
            signals=_packed_signals(signals),
            register=register,
        )

    def _prediction(self, key: bytes, record: Prediction, arrival_ms: int) -> PredictionRow:
        model = self.models[record.model]
        named = (record.predicted,) if isinstance(record.predicted, str) else record.predicted
        items = tuple(class_hash(model.class_aliases.get(each, each)) for each in named)
        if model.task is Task.MULTILABEL:
            items = set_of(items)
        is_list = model.task.takes_lists and not record.failed
        slices = [request_slice(record.request_id)]
        if model.segments and record.country:
            slices.append(segment_hash({"country": record.country}))
        terms = Terms.of(model, "1").hash
        score = None if record.failed or is_list else drawn_score(key)
        return PredictionRow(
            key,
            terms,
            record.time_ms,
            arrival_ms,
            items_hash(items) if is_list else items[0],
            record.failed,
            tuple(slices),
            score,
            items if is_list else None,
        )


def _packed_signals(told: list[tuple[str, Mapping[bytes, float]]]) -> bytes:
    """Of each prediction its model and what it tells."""
    shapes = {model: tuple(map(signal_hash, names)) for model, names in SIGNALS.items()}
    words = np.zeros(len(told), dtype=word_type(max(map(len, shapes.values()))))
    for word, (model, values) in zip(words, told, strict=True):
        if values:
            word["shape"] = 1 + list(shapes).index(model)
            word["values"][: len(shapes[model])] = [values.get(name, math.nan) for name in shapes[model]]
    return pack_signals(list(shapes.values()), words)
