"""Packed batches, row by row, against the same records read and packed one by one."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agents.name_registry import NameLimits, NameRegistry, signals_group
from agents.outages import Outages
from agents.packing import PackedRun, Packer, PackingSettings, Stretch
from agents.record_batch import Envelope, RecordBatch
from schemas.codec import class_name, class_names, read_label, read_prediction, regression_value
from schemas.errors import Reason, Rejected
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
from streams.ledger.parts import LabelRow, NameList, Part, PredictionRow, Role, Source, pack_labels, pack_predictions
from streams.ledger.reference import ReferenceLedger
from streams.ledger.terms import Terms
from streams.monitored_model import DAY_MS, MINUTE_MS, MonitoredModel, Task
from streams.signals.reference import SignalTerms
from streams.signals.words import signals_of
from streams.stability.latency_words import latency_words
from tests.support.publishing import FakeClock

SHARDS = 4
LATENESS_MS = 10 * MINUTE_MS
SKEW_MS = 5 * MINUTE_MS
NOW_MS = 1_795_435_200_000
BASE = 1_000
MODELS = {
    model.name: model
    for model in (
        MonitoredModel(
            name="fraud",
            task=Task.BINARY,
            positive_class="fraud",
            class_aliases={"1": "fraud", "0": "ok", "fraud": "never"},
            segments=("country", "plan"),
            cross=(("country", "plan"),),
        ),
        MonitoredModel(name="topic", segments=("country",)),
        MonitoredModel(name="plain"),
        MonitoredModel(name="price", task=Task.REGRESSION),
        MonitoredModel(name="tags", task=Task.MULTILABEL, class_aliases={"1": "fraud"}, segments=("country",)),
        MonitoredModel(name="shop", task=Task.RANKING),
    )
}
SETTINGS = PackingSettings(
    shards=SHARDS,
    lateness_ms=LATENESS_MS,
    max_future_skew_ms=SKEW_MS,
    dead_letters="dead-letters",
    predicts_numbers=True,
    takes_lists=True,
    model=lambda name: MODELS.get(name) or MonitoredModel(name=name),
)


def drawn_id(rng: random.Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return rng.choice([uuid, uuid, uuid, uuid.upper(), digits, "order-7", "é" * 36, uuid[:-1], "a" + uuid])


def drawn_time(rng: random.Random) -> str | None:
    at = f"2026-11-2{rng.randrange(1, 3)}T{rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}"
    return rng.choice([f"{at}.{rng.randrange(1000):03d}Z", f"{at}.123Z", f"{at}Z", f"{at}.5+01:00", None, "yesterday"])


def drawn(rng: random.Random, role: Role) -> bytes | None:
    answer: Any = rng.choice(["fraud", "ok", "1", 1, 0, 1.0, True, False, -0.0, 2.5, "é", [1], None, 1e13])
    if rng.random() < 0.4:
        names: list[Any] = ["fraud", "ok", 1, "1", True, 2.5, "é"]
        answer = rng.choices(names, k=rng.randrange(5))
    record: dict[str, Any] = {"request_id": drawn_id(rng), "event_time": drawn_time(rng)}
    if rng.random() < 0.2:
        record["instance"] = rng.choice([0, 1, None])
    if role is Role.LABELS:
        record |= {"label": answer, "model": rng.choice([None, None, *MODELS])}
    else:
        record |= {
            "model": rng.choice([*MODELS, "other"]),
            "prediction": answer,
            "model_version": rng.choice([None, "2"]),
        }
        record["status"] = rng.choice([None, None, "ok", "error", "timeout"])
        record["latency_ms"] = rng.choice([None, 0, 12.3, 1e300])
        record["score"] = rng.choice([None, 0.25, 0, 1])
        record["probabilities"] = rng.choice([None, {}, {"1": 0.75, "0": 0.25}, {"ok": 0.5}])
        record["segment"] = rng.choice([None, {}, {"country": "DE"}, {"country": None, "plan": "x", "else": "y"}])
        record["features"] = rng.choice([None, {"a": 1}, []])
    value = json.dumps({name: each for name, each in record.items() if each is not None}).encode()
    return rng.choice([value] * 20 + [None, b"{", b"\xff"])


def drawn_as_usual(rng: random.Random, role: Role, models: list[str]) -> bytes:
    """As nearly all senders write: there are shorter ways for batches that hold nothing else."""
    digits = f"{rng.getrandbits(128):032x}"
    record: dict[str, Any] = {
        "request_id": "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])),
        "event_time": f"2026-11-22T{rng.randrange(24):02d}:{rng.randrange(60):02d}:59.{rng.randrange(1000):03d}Z",
        "label" if role is Role.LABELS else "prediction": rng.choice(["fraud", "ok", "1"]),
    }
    if role is Role.PREDICTIONS:
        record |= {"model": rng.choice(models), "segment": {"country": rng.choice(["DE", "FR"])}}
        record |= rng.choice([{}, {"score": 0.25}, {"score": 1}, {"probabilities": {"ok": 0.5}}, {"status": "error"}])
    return json.dumps(record).encode()


def slices_of(model: MonitoredModel, segment: dict[str, str]) -> tuple[bytes, ...]:
    crosses = (*((name,) for name in model.segments), *model.cross)
    return tuple(segment_hash({name: segment.get(name, "__missing__") for name in cross}) for cross in crosses)


def value_of(prediction: Any, model: MonitoredModel) -> float | None:
    if prediction.status != "ok":
        return None
    if model.task is Task.REGRESSION:
        return regression_value(prediction.prediction)
    if model.task.takes_lists:
        return None
    if prediction.score is not None or not prediction.probabilities:
        return None if prediction.score is None else float(prediction.score)
    if sum(prediction.probabilities.values()) != 1:
        return math.nan
    named = {model.class_aliases.get(name, name): share for name, share in prediction.probabilities.items()}
    return float(named.get(model.positive_class or class_name(prediction.prediction, model.class_aliases), 0.0))


def latency_word(value: bytes | None, times: dict[str, int]) -> bytes:
    prediction = read_prediction(value, **times)
    latency_ms = math.nan
    if prediction.status == "ok" and prediction.latency_ms is not None:
        latency_ms = prediction.latency_ms
    return latency_words(np.array([latency_ms]), np.array([prediction.status == "timeout"])).tobytes()


def one_by_one(values: list[bytes | None], timestamps_ms: list[int], role: Role) -> tuple[list[Any], list[Any]]:
    """Rows with offsets, and offsets with reasons, by the plainest way there is."""
    rows: list[Any] = []
    refused = []
    high_ms = 0
    for number, (value, timestamp_ms) in enumerate(zip(values, timestamps_ms, strict=True)):
        times = {"timestamp_ms": timestamp_ms, "now_ms": NOW_MS, "max_future_skew_ms": SKEW_MS}
        try:
            row, at_ms = (prediction_row if role is Role.PREDICTIONS else label_row)(value, times, high_ms)
        except Rejected as rejected:
            refused.append((BASE + number, rejected.reason))
            continue
        high_ms = max(high_ms, at_ms)
        rows.append((BASE + number, row))
    return rows, refused


def prediction_row(value: bytes | None, times: dict[str, int], high_ms: int) -> tuple[PredictionRow, int]:
    prediction = read_prediction(value, **times)
    model = SETTINGS.model(prediction.model)
    items = None
    if prediction.prediction is None:
        predicted = class_hash("")
    elif model.task.takes_lists:
        names = [model.class_aliases.get(name, name) for name in class_names(prediction.prediction)]
        items = tuple(map(class_hash, names))
        items = tuple(sorted(set(items))) if model.task is Task.MULTILABEL else items
        predicted = items_hash(items)
    else:
        predicted = class_hash(class_name(prediction.prediction, model.class_aliases))
    if model.task is Task.REGRESSION and prediction.prediction is not None:
        regression_value(prediction.prediction)
    row = PredictionRow(
        key=request_key(prediction.request_id, prediction.instance),
        time_ms=prediction.event_time_ms,
        arrival_ms=max(prediction.event_time_ms, high_ms - LATENESS_MS),
        terms=Terms.of(model, prediction.model_version).hash,
        predicted=predicted,
        failed=prediction.status != "ok",
        slices=slices_of(model, prediction.segment),
        value=value_of(prediction, model),
        items=items if prediction.status == "ok" else None,
    )
    return row, prediction.event_time_ms


def label_row(value: bytes | None, times: dict[str, int], high_ms: int) -> tuple[LabelRow, int]:
    label = read_label(value, **times)
    model = None if label.model is None else SETTINGS.model(label.model)
    if model is not None and model.task is Task.REGRESSION:
        regression_value(label.label)
    may_be_list = model is None or model.task.takes_lists
    aliases = {} if model is None else model.class_aliases
    named = class_names(label.label) if may_be_list and isinstance(label.label, list) else (class_name(label.label),)
    items = tuple(sorted({class_hash(aliases.get(name, name)) for name in named}))
    try:
        number = regression_value(label.label)
    except Rejected:
        number = math.nan
    row = LabelRow(
        key=request_key(label.request_id, label.instance),
        time_ms=label.event_time_ms,
        arrival_ms=max(label.event_time_ms, high_ms - LATENESS_MS),
        label=items[0] if len(items) == 1 else items_hash(items),
        model=ABSENT if label.model is None else model_hash(label.model),
        value=number,
        items=None if len(items) == 1 else items,
    )
    return row, label.event_time_ms


def new_packer(settings: PackingSettings | None = None, limits: NameLimits | None = None) -> Packer:
    ledger = ReferenceLedger(shards=SHARDS, label_hold_ms=5 * MINUTE_MS, keep_windows_ms=30 * DAY_MS)
    registry = NameRegistry(ledger, Outages(FakeClock(NOW_MS)), limits=limits or NameLimits())
    return Packer(registry, settings or SETTINGS)


async def packed(
    values: Sequence[bytes | None],
    timestamps_ms: list[int],
    role: Role,
    *,
    start: int = BASE,
    settings: PackingSettings | None = None,
    limits: NameLimits | None = None,
) -> PackedRun:
    packer = new_packer(settings, limits)
    batch = RecordBatch(
        topic="t",
        partition=0,
        base=BASE,
        next=BASE + len(values),
        values=values,
        timestamps_ms=timestamps_ms,
        offsets=None,
        envelope=lambda _: Envelope(None, ()),
    )
    (run,) = await packer.pack([Stretch(batch, Source(role, 0), start, 0)], now_ms=NOW_MS)
    return run


@pytest.mark.parametrize("role", [Role.PREDICTIONS, Role.LABELS])
@pytest.mark.parametrize("seed", range(20))
async def test_batch_is_packed_as_its_records_are_one_by_one(role: Role, seed: int) -> None:
    rng = random.Random(seed)
    values = [drawn(rng, role) for _ in range(rng.choice([0, 1, 30, 200]))]
    await compare_with_one_by_one(values, rng, role)


@pytest.mark.parametrize("role", [Role.PREDICTIONS, Role.LABELS])
@pytest.mark.parametrize("models", [["fraud"], ["topic"], ["plain"], ["fraud", "topic", "plain"]])
async def test_batch_of_usual_records_is_packed_as_they_are_one_by_one(role: Role, models: list[str]) -> None:
    rng = random.Random(0)
    await compare_with_one_by_one([drawn_as_usual(rng, role, models) for _ in range(300)], rng, role)


async def compare_with_one_by_one(values: list[bytes | None], rng: random.Random, role: Role) -> None:
    timestamps_ms = [NOW_MS - rng.randrange(DAY_MS) for _ in values]
    run = await packed(values, timestamps_ms, role)
    rows, refused = one_by_one(values, timestamps_ms, role)
    for shard in range(SHARDS):
        mine = [row for _, row in rows if shard_of(row.key, shards=SHARDS) == shard]
        [part] = run.parts(shard, start=BASE, max_rows=1_000)
        is_prediction = role is Role.PREDICTIONS
        expected = pack_predictions(mine, words=part.words) if is_prediction else pack_labels(mine, words=part.words)
        assert expected == part.rows
    assert [offset for offset, _ in rows] == run.run.offsets.tolist()
    letters = [(offset, dict(letter.headers)["latelabel-reason"].decode()) for offset, letter in run.dead_letters]
    assert [(offset, str(reason)) for offset, reason in refused] == letters


@pytest.mark.parametrize("role", [Role.PREDICTIONS, Role.LABELS])
@pytest.mark.parametrize("seed", range(10))
async def test_stretches_packed_together_are_what_each_is_alone(role: Role, seed: int) -> None:
    rng = random.Random(seed)
    stretches = [drawn_stretch(rng, role, partition) for partition in range(rng.choice([2, 5]))]
    together = await new_packer().pack(stretches, now_ms=NOW_MS)
    for stretch, run in zip(stretches, together, strict=True):
        (alone,) = await new_packer().pack([stretch], now_ms=NOW_MS)
        assert (stretch.source, stretch.start, stretch.batch.next) == (run.source, run.run.base, run.run.next)
        assert alone.run.offsets.tolist() == run.run.offsets.tolist()
        assert alone.run.highs_ms.tolist() == run.run.highs_ms.tolist()
        assert alone.run.rejected.tolist() == run.run.rejected.tolist()
        assert (alone.dead_letters, alone.next_ms) == (run.dead_letters, run.next_ms)
        assert alone.definitions.names.items() <= run.definitions.names.items()
        assert alone.definitions.terms.items() <= run.definitions.terms.items()
        for shard in range(SHARDS):
            [mine], [theirs] = (each.parts(shard, start=stretch.start, max_rows=1_000) for each in (alone, run))
            assert rows_of(mine) == rows_of(theirs)
            assert (mine.expected, mine.next, mine.rejected) == (theirs.expected, theirs.next, theirs.rejected)
            assert told_by(mine) == told_by(theirs)


def drawn_stretch(rng: random.Random, role: Role, partition: int) -> Stretch:
    """Of a batch with holes between its records, from somewhere inside it."""
    values = [drawn(rng, role) for _ in range(rng.choice([0, 1, 20]))]
    offsets = sorted(rng.sample(range(BASE, BASE + 40), len(values)))
    batch = RecordBatch(
        topic="t",
        partition=partition,
        base=BASE,
        next=BASE + 40,
        values=values,
        timestamps_ms=[NOW_MS - rng.randrange(DAY_MS) for _ in values],
        offsets=rng.choice([None, offsets]),
        envelope=lambda _: Envelope(None, ()),
    )
    high_ms = NOW_MS - rng.randrange(DAY_MS)
    return Stretch(batch, Source(role, partition), BASE + rng.choice([0, 0, 10]), high_ms)


def rows_of(part: Part) -> list[object]:
    is_prediction = part.source.role is Role.PREDICTIONS
    # A number that is none is unlike itself.
    return list(map(repr, part.unpack_predictions() if is_prediction else part.unpack_labels()))


def told_by(part: Part) -> list[object]:
    """What rows tell of latencies and signals."""
    rows = range(len(part.rows) // part.row_bytes)
    return [[part.latency_word(row) for row in rows], [signals_of(part.signals, row) for row in rows]]


@pytest.mark.parametrize("seed", range(5))
async def test_latencies_and_time_outs_stand_beside_the_rows_of_each_shard(seed: int) -> None:
    rng = random.Random(seed)
    values = [drawn(rng, Role.PREDICTIONS) for _ in range(200)]
    run = await packed(values, [NOW_MS] * len(values), Role.PREDICTIONS)
    times = {"timestamp_ms": NOW_MS, "now_ms": NOW_MS, "max_future_skew_ms": SKEW_MS}
    words = [latency_word(values[offset - BASE], times) for offset in run.run.offsets.tolist()]
    for until in (BASE + len(values), BASE + 100):
        shortened = run.until(until)
        for shard in range(SHARDS):
            parts = list(shortened.parts(shard, start=BASE, max_rows=7))
            places = np.flatnonzero(shortened.run.shards == shard).tolist()
            assert b"".join(words[at] for at in places) == b"".join(part.latencies for part in parts)
            assert [part.latency_word(0) for part in parts] == [words[at] for at in places[::7]]


async def test_batch_of_which_nothing_tells_a_latency_has_no_words() -> None:
    values = [
        json.dumps({"request_id": "r", "model": "plain", "prediction": "ok", "status": status, "latency_ms": latency})
        for status, latency in (("ok", None), (None, None), ("error", 12.3))
    ]
    run = await packed([value.encode() for value in values], [NOW_MS] * 3, Role.PREDICTIONS)
    assert run.latencies is None
    assert {b""} == {part.latencies for shard in range(SHARDS) for part in run.parts(shard, start=BASE, max_rows=2)}


async def test_what_stands_before_the_wanted_offset_is_left_out() -> None:
    values = [json.dumps({"request_id": f"r{number}", "label": "ok"}).encode() for number in range(5)]
    values[3] = b"nonsense"
    run = await packed([*values], [NOW_MS] * 5, Role.LABELS, start=BASE + 2)
    assert [BASE + 2, BASE + 4] == run.run.offsets.tolist()
    assert [BASE + 3] == [offset for offset, _ in run.dead_letters]
    [(_, letter)] = run.dead_letters
    assert (b"nonsense", Reason.MALFORMED_JSON.encode()) == (letter.value, dict(letter.headers)["latelabel-reason"])


def signals_told(value: bytes | None, times: dict[str, int]) -> dict[bytes, float]:
    prediction = read_prediction(value, **times)
    if prediction.status != "ok":
        return {}
    told = {name: float(np.float32(each)) for name, each in prediction.signals.items() if abs(each) < 3.5e38}
    return {signal_hash(name): each for name, each in told.items()}


@pytest.mark.parametrize("seed", range(5))
async def test_signals_stand_beside_the_rows_of_each_shard(seed: int) -> None:
    rng = random.Random(seed)
    values = [with_signals(drawn(rng, Role.PREDICTIONS), rng) for _ in range(200)]
    run = await packed(values, [NOW_MS] * len(values), Role.PREDICTIONS)
    times = {"timestamp_ms": NOW_MS, "now_ms": NOW_MS, "max_future_skew_ms": SKEW_MS}
    told = [signals_told(values[offset - BASE], times) for offset in run.run.offsets.tolist()]
    assert any(told)
    assert {signal_hash("norm"): "norm", signal_hash("é"): "é"}.items() <= run.definitions.names.items()
    for until in (BASE + len(values), BASE + 100):
        shortened = run.until(until)
        for shard in range(SHARDS):
            places = np.flatnonzero(shortened.run.shards == shard).tolist()
            found = [
                dict(signals_of(part.signals, row))
                for part in shortened.parts(shard, start=BASE, max_rows=7)
                for row in range(len(part.rows) // part.row_bytes)
            ]
            assert [told[at] for at in places] == found


def with_signals(value: bytes | None, rng: random.Random) -> bytes | None:
    """A record with signals of one, two or no name, if it is one."""
    if value is None or not value.startswith(b"{") or value == b"{":
        return value
    signals = {name: rng.choice([None, 0, -1.5, 0.1, 1e300]) for name in rng.sample(["norm", "margin", "é"], 2)}
    return json.dumps(json.loads(value) | {"signals": rng.choice([signals, signals, {}, None])}).encode()


async def test_names_of_signals_beyond_the_limit_are_counted_and_declared_ones_come_first() -> None:
    models = {"m": MonitoredModel(name="m", signals=SignalTerms(("late",)))}
    settings = dataclasses.replace(SETTINGS, model=models.__getitem__)
    told = [
        {"early": 1.0, "second": 2.0, "__own__": 3.0, "": 4.0, "x" * 129: 5.0, "n": None},
        {"late": 6.0},
        {"second": 7.0},
        None,
    ]
    values = [
        json.dumps({"request_id": f"r{number}", "model": "m", "prediction": "ok", "signals": signals}).encode()
        for number, signals in enumerate(told)
    ]
    limits = NameLimits(signals=2)
    run = await packed(values, [NOW_MS] * 4, Role.PREDICTIONS, settings=settings, limits=limits)
    late, early = signal_hash("late"), signal_hash("early")
    assert {late: "late", early: "early"}.items() <= run.definitions.names.items()
    assert NameList((late, early), full=True) == run.definitions.name_lists[signals_group("m")]
    found = {
        offset - BASE: dict(signals_of(part.signals, row))
        for shard in range(SHARDS)
        for part in run.parts(shard, start=BASE, max_rows=10)
        for row, offset in enumerate(run.run.offsets[run.run.shards == shard].tolist())
    }
    assert {0: {early: 1.0, OTHER: 4.0}, 1: {late: 6.0}, 2: {OTHER: 1.0}, 3: {}} == found


async def test_batch_of_which_nothing_tells_a_signal_has_no_words_and_asks_nothing() -> None:
    values = [
        json.dumps({"request_id": "r", "model": "plain", "prediction": "ok", "status": status, "signals": signals})
        for status, signals in (("ok", None), (None, {}), ("error", {"margin": 0.5}))
    ]
    run = await packed([value.encode() for value in values], [NOW_MS] * 3, Role.PREDICTIONS)
    assert run.signals is None
    assert signals_group("plain") not in run.definitions.name_lists
    assert {b""} == {part.signals for shard in range(SHARDS) for part in run.parts(shard, start=BASE, max_rows=2)}
