"""The intake on the in-memory ledger: splits, refusals, resends and crashes change no count."""

from __future__ import annotations

import pytest

from agents.name_registry import NameLimits
from streams.identity import registry_group
from streams.ledger.parts import Role, Source
from streams.monitored_model import HOUR_MS, MINUTE_MS, MonitoredModel
from tests.support.intake_world import NOW_MS, IntakeWorld, Records, batch_of, label, prediction

PREDICTIONS = Source(Role.PREDICTIONS, 0)
LABELS = Source(Role.LABELS, 0)
START_MS = NOW_MS - HOUR_MS


def logs_of(count: int) -> dict[Source, Records]:
    """`count` predictions and the labels of three in four; every tenth record is bad."""
    predictions: list[bytes | None] = []
    labels: list[bytes | None] = []
    for number in range(count):
        if number % 10 == 5:
            predictions.append(b"not json")
            labels.append(None)
        predictions.append(prediction(f"id-{number}", "fraud" if number % 3 else "ok", at_ms=START_MS + number * 1000))
        if number % 4:
            labels.append(label(f"id-{number}", "fraud" if number % 2 else "ok", at_ms=START_MS + number * 1000 + 500))
    return {PREDICTIONS: predictions, LABELS: labels}


async def counts_of(
    world: IntakeWorld, *, batch_records: int = 1000
) -> tuple[dict[tuple[str, ...], int], dict[str, int]]:
    async with world.running() as intake:
        await world.read_all(intake, batch_records=batch_records)
    return await world.cells(), await world.fates()


async def test_predictions_and_labels_become_cells_of_their_model_version() -> None:
    logs: dict[Source, Records] = {
        PREDICTIONS: [prediction("a", "fraud", model_version="3"), prediction("b", True, model_version="3")],
        LABELS: [label("a", "ok")],
    }
    cells, fates = await counts_of(IntakeWorld(logs))
    assert {
        ('["fraud","3"]', "0000", "ok", "fraud"): 1,
        ('["fraud","3"]', "0000", "0000", "true"): 1,
    } == cells
    assert {
        "predictions:read": 2,
        "predictions:matched": 1,
        "predictions:waiting": 1,
        "labels:read": 1,
        "labels:matched": 1,
    } == fates


@pytest.mark.parametrize("batch_records", [1, 7, 64])
async def test_batch_sizes_change_nothing(batch_records: int) -> None:
    expected = await counts_of(IntakeWorld(logs_of(300)))
    assert expected == await counts_of(IntakeWorld(logs_of(300)), batch_records=batch_records)


async def test_every_shard_reaches_the_end_of_every_log() -> None:
    logs = logs_of(50)
    world = IntakeWorld(logs)
    await counts_of(world)
    ends = {source: len(log) for source, log in logs.items()}
    for shard in world.ledger.parts:
        assert ends == {source: state.next for source, state in shard.sources.items()}


async def test_more_rows_than_a_call_takes_are_committed_in_order() -> None:
    logs: dict[Source, Records] = {PREDICTIONS: [prediction("same", "ok", at_ms=START_MS) for _ in range(5000)]}
    _, fates = await counts_of(IntakeWorld(logs), batch_records=5000)
    assert {"predictions:read": 5000, "predictions:waiting": 1, "predictions:duplicate_prediction": 4999} == fates


async def test_bad_records_lie_in_the_dead_letters_before_the_ledger_steps_over_them() -> None:
    world = IntakeWorld({PREDICTIONS: [b"[1]"]})
    async with world.running() as intake:
        await world.read_all(intake)
        assert ({Role.PREDICTIONS: 1}, {Role.PREDICTIONS: 1}) == (intake.tally.records, intake.tally.dead_letters)
    (letter,) = world.publisher.sent
    assert (b"key", b"[1]", ("trace", b"1")) == (letter.key, letter.value, letter.headers[0])
    assert {"latelabel-reason": b"wrong_shape", "latelabel-offset": b"0"}.items() <= dict(letter.headers).items()
    assert {"predictions:read": 1, "predictions:rejected": 1} == await world.fates()


async def test_segments_and_crosses_get_slices_and_missing_ones_a_name() -> None:
    model = MonitoredModel(name="fraud", segments=("country",), cross=(("country", "tier"),))
    logs: dict[Source, Records] = {
        PREDICTIONS: [
            prediction("a", "ok", segment={"country": "DE", "tier": "gold", "other": "x"}),
            prediction("b", "ok", segment={"country": None}),
        ]
    }
    cells, _ = await counts_of(IntakeWorld(logs, models=[model]))
    assert {
        "0000": 2,
        '{"country":"DE"}': 1,
        '{"country":"DE","tier":"gold"}': 1,
        '{"country":"__missing__"}': 1,
        '{"country":"__missing__","tier":"__missing__"}': 1,
    } == {slice_: count for (_, slice_, _, _), count in cells.items()}


async def test_names_beyond_the_limits_fall_into_other() -> None:
    model = MonitoredModel(name="fraud", segments=("country",), class_names=("ok",))
    logs: dict[Source, Records] = {
        PREDICTIONS: [
            prediction(f"{country}-{answer}", answer, segment={"country": country})
            for country in ("DE", "FR", "IT")
            for answer in ("a", "b", "ok")
        ]
        + [prediction("late", "ok", model="second")],
    }
    limits = NameLimits(models=1, classes=2, segment_values=2)
    cells, _ = await counts_of(IntakeWorld(logs, models=[model], limits=limits), batch_records=1)
    by_version_slice: dict[tuple[str, str], int] = {}
    for (version, slice_, _, _), count in cells.items():
        by_version_slice[version, slice_] = by_version_slice.get((version, slice_), 0) + count
    assert {
        ('["fraud",""]', "0000"): 9,
        ('["fraud",""]', '{"country":"DE"}'): 3,
        ('["fraud",""]', '{"country":"FR"}'): 3,
        ('["fraud",""]', '{"country":"__other__"}'): 3,
        ('["__other__","__other__"]', "0000"): 1,
    } == by_version_slice


async def test_declared_classes_are_admitted_before_any_other() -> None:
    model = MonitoredModel(name="fraud", class_names=("ok", "fraud"))
    world = IntakeWorld({PREDICTIONS: [prediction("a", "strange")]}, models=[model], limits=NameLimits(classes=2))
    await counts_of(world)
    group = registry_group("classes", "fraud")
    lists = [shard.name_lists[group] for shard in world.ledger.parts if group in shard.name_lists]
    assert [True] == [names.full for names in lists]


async def test_records_behind_the_watermark_arrive_late_wherever_batches_end() -> None:
    model = MonitoredModel(name="fraud", label_horizon_ms=5 * MINUTE_MS, base_window_ms=MINUTE_MS)
    records = [
        prediction("now", "ok", at_ms=START_MS),
        prediction("in time", "ok", at_ms=START_MS - 15 * MINUTE_MS),
        prediction("too late", "ok", at_ms=START_MS - 15 * MINUTE_MS - 1),
    ]
    for batch_records in (1, 3):
        _, fates = await counts_of(IntakeWorld({PREDICTIONS: records}, models=[model]), batch_records=batch_records)
        assert 1 == fates["predictions:late_prediction"]


async def test_a_shard_that_is_further_is_not_given_its_rows_again() -> None:
    expected = await counts_of(IntakeWorld(logs_of(200)))
    world = IntakeWorld(logs_of(200))
    async with world.running() as intake:
        await world.read_all(intake, batch_records=50)
        ahead = world.ledger.parts[2]
    behind = IntakeWorld(logs_of(200))
    async with behind.running() as intake:
        behind.ledger.parts[2] = ahead
        await behind.read_all(intake, batch_records=70)
    assert expected == (await behind.cells(), await behind.fates())


async def test_a_batch_ahead_of_the_wanted_position_makes_the_intake_seek_back() -> None:
    logs = logs_of(20)
    world = IntakeWorld(logs)
    async with world.running() as intake:
        await intake.put(PREDICTIONS, batch_of(PREDICTIONS, logs[PREDICTIONS][5:], base=5), lambda: None)
        await world.settle(intake)
        assert 0 == world.positions[PREDICTIONS]
        assert {} == await world.fates()


async def test_holes_in_the_log_are_stepped_over() -> None:
    world = IntakeWorld({PREDICTIONS: [None] * 10})
    async with world.running() as intake:
        holed = batch_of(PREDICTIONS, [prediction("a", "ok"), b"bad"], base=0, offsets=[2, 5], end=9)
        await intake.put(PREDICTIONS, holed, lambda: None)
        await intake.put(PREDICTIONS, batch_of(PREDICTIONS, [], base=9, end=10), lambda: None)
        await world.settle(intake)
        assert [10] * 4 == intake.partitions[PREDICTIONS].stored
    assert {"predictions:read": 2, "predictions:waiting": 1, "predictions:rejected": 1} == await world.fates()
